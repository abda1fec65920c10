package authn

import (
	"context"
	"errors"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// Review fills in the status of a TokenReview: whether its token is good, whose it is and for which of the
// audiences asked for (none: the API server's). A token that is not good is an answer, not an error.
func (b Bearer) Review(ctx context.Context, r *authenticationv1.TokenReview) *authenticationv1.TokenReview {
	out := r.DeepCopy()
	out.Status = authenticationv1.TokenReviewStatus{}
	if r.Spec.Token == "" {
		return out
	}
	user, audiences, err := b.AuthenticateToken(ctx, r.Spec.Token, r.Spec.Audiences)
	if err != nil {
		out.Status.Error = "invalid bearer token"
		if !errors.Is(err, errUnknownToken) {
			out.Status.Error = "[invalid bearer token, " + err.Error() + "]"
		}
		return out
	}
	if audiences == nil && len(r.Spec.Audiences) > 0 {
		out.Status.Error = "the token is for the API server only"
		return out
	}
	out.Status.Authenticated = true
	out.Status.User = *user.DeepCopy()
	out.Status.Audiences = audiences
	return out
}
