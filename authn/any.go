package authn

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// anonymous is the user of a request without credentials. Shared.
var anonymous = &authenticationv1.UserInfo{Username: AnonymousUser, Groups: []string{UnauthenticatedGroup}}

// AnonymousAllowed reports whether a path may be asked for by nobody where no configuration says it: health and version, nothing else.
func AnonymousAllowed(path string) bool {
	switch path {
	case "/healthz", "/livez", "/readyz", "/version", "/version/":
		return true
	}
	return false
}

// Any asks its members in order; the first who knows the request wins. Without credentials, a path that
// nobody may ask for (AnonymousAllowed, or what a Structured says) is asked for by AnonymousUser. All else is ErrUnauthenticated:
// credentials that are not good never become anonymous.
func Any(nobody func(path string) bool, members ...Authenticator) Authenticator {
	return anyOf{nobody, members}
}

type anyOf struct {
	nobody  func(path string) bool
	members []Authenticator
}

// errNoCredentials is the cause of ErrUnauthenticated where there are none.
var errNoCredentials = errors.New("no credentials")

// Authenticate implements Authenticator; it never returns a nil user without an error.
func (m anyOf) Authenticate(r *http.Request) (*authenticationv1.UserInfo, []string, error) {
	var errs []error
	for _, member := range m.members {
		user, audiences, err := member.Authenticate(r)
		if user != nil && err == nil {
			return user, audiences, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnauthenticated, errors.Join(errs...))
	}
	if m.nobody(r.URL.Path) {
		return anonymous, nil, nil
	}
	return nil, nil, fmt.Errorf("%w: %w", ErrUnauthenticated, errNoCredentials)
}

// authenticated appends the group of all who proved who they are: nobody is who has the name of those who did not. Source: what
// Kubernetes 1.37 does.
func authenticated(name string, groups []string) []string {
	groups = slices.Clip(groups)
	if name == AnonymousUser || slices.Contains(groups, AuthenticatedGroup) || slices.Contains(groups, UnauthenticatedGroup) {
		return groups
	}
	return append(groups, AuthenticatedGroup)
}
