package authn

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lighter-k8s/lighter/pki"
)

// Impersonation is another user that a request asks to be made as. It may be so if its true user may do for one of Modes what that wants,
// or "impersonate" each of Checks, which is the right to do all that the other user may.
type Impersonation struct {
	User   authenticationv1.UserInfo
	Modes  []Mode
	Checks []Impersonated
}

// Mode is a way to impersonate for some requests alone: who may "impersonate:<name>" each of Checks and
// "impersonate-on:<name>:<verb>" what the request is about. Source: KEP-5284, constrained impersonation.
type Mode struct {
	Name   string
	Checks []Impersonated
	Groups []string // that the user has in this mode beside those of Impersonation
}

// Impersonated is one thing to authorize.
type Impersonated struct {
	Group, Resource, Subresource, Namespace, Name string
}

const (
	impersonateUser  = "Impersonate-User"
	impersonateGroup = "Impersonate-Group"
	impersonateUID   = "Impersonate-Uid"
	impersonateExtra = "Impersonate-Extra-"
)

// ErrImpersonation is the error of impersonation headers without a user.
var ErrImpersonation = errors.New("impersonation of groups, a UID or extra fields without impersonating a user")

// ReadImpersonation reads the impersonation headers of a request of a user; nil when it has none. Source: User Impersonation.
func ReadImpersonation(h http.Header, by *authenticationv1.UserInfo) (*Impersonation, error) {
	user, groups, uid := h.Get(impersonateUser), h.Values(impersonateGroup), h.Get(impersonateUID)
	extra := map[string]authenticationv1.ExtraValue{}
	for name, values := range h {
		if len(name) >= len(impersonateExtra) && strings.EqualFold(name[:len(impersonateExtra)], impersonateExtra) {
			key := strings.ToLower(name[len(impersonateExtra):])
			if plain, err := url.PathUnescape(key); err == nil {
				key = plain
			}
			extra[key] = append(extra[key], values...)
		}
	}
	if user == "" {
		if len(groups) > 0 || uid != "" || len(extra) > 0 {
			return nil, ErrImpersonation
		}
		return nil, nil
	}
	i := &Impersonation{User: authenticationv1.UserInfo{Username: user, UID: uid, Groups: slices.Clone(groups)}}
	namespace, name, isAccount := SplitServiceAccount(user)
	if isAccount {
		i.check(Impersonated{Resource: "serviceaccounts", Namespace: namespace, Name: name})
	} else {
		i.check(Impersonated{Resource: "users", Name: user})
	}
	for _, group := range groups {
		i.check(Impersonated{Resource: "groups", Name: group})
	}
	if uid != "" {
		i.check(Impersonated{Group: authenticationv1.GroupName, Resource: "uids", Name: uid})
	}
	for key, values := range extra {
		for _, value := range values {
			i.check(Impersonated{Group: authenticationv1.GroupName, Resource: "userextras", Subresource: key, Name: value})
		}
	}
	if len(extra) > 0 {
		i.User.Extra = extra
	}
	i.constrain(by)
	if isAccount && len(groups) == 0 {
		i.User.Groups = serviceAccountGroups(namespace)
	}
	if user == AnonymousUser {
		if !slices.Contains(i.User.Groups, UnauthenticatedGroup) {
			i.User.Groups = append(i.User.Groups, UnauthenticatedGroup)
		}
	}
	i.User.Groups = authenticated(user, i.User.Groups)
	return i, nil
}

// constrain finds the modes. It is called before groups are added that no header names.
func (i *Impersonation) constrain(by *authenticationv1.UserInfo) {
	alone := len(i.User.Groups) == 0 && i.User.UID == "" && len(i.User.Extra) == 0
	nodes := []string{pki.NodesGroup}
	node, isNode := strings.CutPrefix(i.User.Username, pki.NodePrefix)
	switch first := i.Checks[0]; {
	case first.Resource == "serviceaccounts":
		if alone {
			first.Group = authenticationv1.GroupName
			i.Modes = []Mode{{Name: "serviceaccount", Checks: []Impersonated{first}}}
		}
	case isNode && node != "":
		if !alone {
			break
		}
		if slices.Equal(by.Extra[NodeNameKey], authenticationv1.ExtraValue{node}) {
			i.Modes = []Mode{{"associated-node", []Impersonated{{Group: authenticationv1.GroupName, Resource: "nodes"}}, nodes}}
		}
		i.Modes = append(i.Modes, Mode{"arbitrary-node", []Impersonated{{Group: authenticationv1.GroupName, Resource: "nodes", Name: node}}, nodes})
	default:
		m := Mode{Name: "user-info", Checks: slices.Clone(i.Checks)}
		for n := range m.Checks {
			m.Checks[n].Group = authenticationv1.GroupName
		}
		i.Modes = []Mode{m}
	}
}

func (i *Impersonation) check(c Impersonated) { i.Checks = append(i.Checks, c) }

// DropImpersonation takes the headers off, so that nothing further on reads them.
func DropImpersonation(h http.Header) {
	for name := range h {
		if strings.HasPrefix(strings.ToLower(name), "impersonate-") {
			delete(h, name)
		}
	}
}
