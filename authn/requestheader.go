package authn

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// Headers by which a front proxy says who asks. Source: Kubernetes documentation, Authenticating Proxy; the aggregation layer.
const (
	RemoteUser        = "X-Remote-User"
	RemoteUID         = "X-Remote-Uid"
	RemoteGroup       = "X-Remote-Group"
	RemoteExtraPrefix = "X-Remote-Extra-"
)

// RequestHeader believes what headers say about who asks, of those whose client certificate an authority of front proxies has
// signed for one of the names. The headers go, so that nothing further on reads them.
func RequestHeader(roots Roots, names ...string) Authenticator {
	return &requestHeader{certificates: NewCertificates(roots), names: names}
}

type requestHeader struct {
	certificates *Certificates
	names        []string
}

// Authenticate implements Authenticator.
func (h *requestHeader) Authenticate(r *http.Request) (*authenticationv1.UserInfo, []string, error) {
	name := first(r.Header[RemoteUser])
	if name == "" {
		return nil, nil, nil
	}
	proxy, _, err := h.certificates.Authenticate(r)
	if err != nil || proxy == nil || !slices.Contains(h.names, proxy.Username) {
		return nil, nil, nil // anybody may send headers: they say nothing
	}
	user := &authenticationv1.UserInfo{Username: name, UID: r.Header.Get(RemoteUID), Groups: slices.Clone(r.Header.Values(RemoteGroup))}
	for key, values := range r.Header {
		if len(key) <= len(RemoteExtraPrefix) || !strings.EqualFold(key[:len(RemoteExtraPrefix)], RemoteExtraPrefix) {
			continue
		}
		field := strings.ToLower(key[len(RemoteExtraPrefix):])
		if plain, err := url.PathUnescape(field); err == nil {
			field = plain
		}
		if user.Extra == nil {
			user.Extra = map[string]authenticationv1.ExtraValue{}
		}
		user.Extra[field] = append(user.Extra[field], values...)
	}
	for key := range r.Header {
		if strings.HasPrefix(strings.ToLower(key), "x-remote-") {
			delete(r.Header, key)
		}
	}
	user.Groups = authenticated(name, user.Groups)
	return user, nil, nil
}
