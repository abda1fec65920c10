package authn

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// Impersonation is another user that a request asks to be made as. It may be so if its true user may "impersonate"
// each of Checks.
type Impersonation struct {
	User   authenticationv1.UserInfo
	Checks []Impersonated
}

// Impersonated is one thing to authorize with the verb "impersonate".
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

// ReadImpersonation reads a request's impersonation headers; nil when it has none. Source: User Impersonation.
func ReadImpersonation(h http.Header) (*Impersonation, error) {
	user, groups, uid := h.Get(impersonateUser), h.Values(impersonateGroup), h.Get(impersonateUID)
	extra := map[string]authenticationv1.ExtraValue{}
	for name, values := range h {
		if len(name) > len(impersonateExtra) && strings.EqualFold(name[:len(impersonateExtra)], impersonateExtra) {
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
	if isAccount && len(groups) == 0 {
		i.User.Groups = serviceAccountGroups(namespace)
	}
	if user == AnonymousUser {
		if !slices.Contains(i.User.Groups, UnauthenticatedGroup) {
			i.User.Groups = append(i.User.Groups, UnauthenticatedGroup)
		}
	} else {
		i.User.Groups = authenticated(i.User.Groups)
	}
	return i, nil
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
