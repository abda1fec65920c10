package authn

import (
	"context"
	"errors"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// TokenAuthenticator finds the user of a bearer token: Tokens and Bootstrap.
type TokenAuthenticator interface {
	// AuthenticateToken returns nil, nil, nil for tokens of another kind. wanted are the audiences of which the
	// token must be for one; nil: the API server's own. The UserInfo is shared.
	AuthenticateToken(ctx context.Context, token string, wanted []string) (user *authenticationv1.UserInfo, audiences []string, err error)
}

// Bearer authenticates by the Authorization header. Whoever passes the request on to others must take
// that header off.
type Bearer []TokenAuthenticator

var errUnknownToken = errors.New("bearer token of no known kind")

// Authenticate implements Authenticator.
func (b Bearer) Authenticate(r *http.Request) (*authenticationv1.UserInfo, []string, error) {
	token := bearerToken(r.Header.Get("Authorization"))
	if token == "" {
		return nil, nil, nil
	}
	return b.AuthenticateToken(r.Context(), token, nil)
}

// AuthenticateToken asks each; a token that none knows is an error.
func (b Bearer) AuthenticateToken(ctx context.Context, token string, wanted []string) (*authenticationv1.UserInfo, []string, error) {
	for _, member := range b {
		if user, audiences, err := member.AuthenticateToken(ctx, token, wanted); user != nil || err != nil {
			return user, audiences, err
		}
	}
	return nil, nil, errUnknownToken
}

// bearerToken is the token in an Authorization header, or "".
func bearerToken(header string) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
