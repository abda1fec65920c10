package authn

import (
	"context"
	"errors"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// TokenAuthenticator finds the user of a bearer token: Tokens, Bootstrap, Structured and Webhook.
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
	token := bearerToken(first(r.Header["Authorization"]))
	if token == "" {
		return nil, nil, nil
	}
	return b.AuthenticateToken(r.Context(), token, nil)
}

// AuthenticateToken asks each; a token that none takes is an error. What our own service accounts' tokens say of themselves is final: nobody
// else is shown them.
func (b Bearer) AuthenticateToken(ctx context.Context, token string, wanted []string) (*authenticationv1.UserInfo, []string, error) {
	var errs []error
	for _, member := range b {
		user, audiences, err := member.AuthenticateToken(ctx, token, wanted)
		if user != nil && err == nil {
			return user, audiences, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
		if errors.As(err, new(ownTokenError)) {
			break
		}
	}
	if len(errs) == 0 {
		return nil, nil, errUnknownToken
	}
	return nil, nil, errors.Join(errs...)
}

// ownTokenError is why a token is not good that names us as its issuer.
type ownTokenError struct{ error }

func (e ownTokenError) Unwrap() error { return e.error }

// first of a header's values, or "".
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// bearerToken is the token in an Authorization header, or "": the second of the words that single blanks part. Source: what Kubernetes
// 1.37 does.
func bearerToken(header string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, _ := strings.Cut(rest, " ")
	return token
}
