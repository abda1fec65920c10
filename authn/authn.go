// Package authn finds out who is asking: by client certificate, service account
// token, bootstrap token, or as nobody. What comes in is the HTTP request, what goes
// out a user with its groups. It also issues service account tokens, answers TokenReviews
// and reads impersonation headers. It reads the cluster through client views only.
//
// The API server asks for every request, so that each proof is checked once and then
// remembered for as long as nothing it depends on can have changed.
package authn

import (
	"errors"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// Groups and users that every cluster knows.
const (
	AuthenticatedGroup   = "system:authenticated"
	UnauthenticatedGroup = "system:unauthenticated"
	AnonymousUser        = "system:anonymous"
)

// ErrUnauthenticated is the error of a request whose credentials are missing or not accepted: 401 Unauthorized.
// Errors wrap it with the cause, which is for the log and never for the caller.
var ErrUnauthenticated = errors.New("unauthorized")

// Authenticator finds a request's user. Implementations are safe for concurrent use.
type Authenticator interface {
	// Authenticate returns nil, nil, nil when the request has no credentials of this kind. audiences are
	// those the credentials were made for that are ours; nil for credentials that have none. An error means
	// credentials that are not good. The UserInfo is shared: callers must not write to it.
	Authenticate(r *http.Request) (user *authenticationv1.UserInfo, audiences []string, err error)
}
