package authn

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/callout"
)

// Webhook asks another server whose a token is, by a TokenReview. Source: Kubernetes documentation, Authenticating, Webhook Token
// Authentication.
type Webhook struct {
	server  *callout.Server
	version string
	own     []string
	ttl     time.Duration
	log     *slog.Logger
	metrics *Metrics
	answers cache[*hookAnswer]
}

// hookAnswer is what the server said, and until when that counts.
type hookAnswer struct {
	user      *authenticationv1.UserInfo // nil: nobody's
	audiences []string
	err       error
	until     time.Time
}

// hookTimeout bounds a question with all its repetitions. Source: kube-apiserver, webhooks.
const hookTimeout = 30 * time.Second

// NewWebhook asks server with TokenReviews of a version, v1 or v1beta1. own are the API server's audiences; answers count for ttl, 0: never.
func NewWebhook(server *callout.Server, version string, own []string, ttl time.Duration, log *slog.Logger, m *Metrics) *Webhook {
	return &Webhook{server: server, version: version, own: own, ttl: ttl, log: log, metrics: m, answers: cache[*hookAnswer]{limit: 4096}}
}

// AuthenticateToken implements TokenAuthenticator: any token may be of the server's kind. A server that cannot be asked makes the token
// no good, for now.
func (w *Webhook) AuthenticateToken(ctx context.Context, token string, wanted []string) (*authenticationv1.UserInfo, []string, error) {
	if wanted == nil {
		wanted = w.own
	}
	key := questionKey(token, wanted)
	if known, ok := w.answers.get(key); ok && time.Now().Before(known.until) {
		return known.user, known.audiences, known.err
	}
	a, err := w.ask(ctx, token, wanted)
	if err != nil {
		w.log.Warn("token webhook did not answer", "err", err)
		return nil, nil, fmt.Errorf("token webhook: %w", err)
	}
	if w.ttl > 0 {
		a.until = time.Now().Add(w.ttl)
		w.answers.put(key, a)
	}
	return a.user, a.audiences, a.err
}

// questionKey tells questions apart; the token itself is not kept.
func questionKey(token string, wanted []string) [sha256.Size]byte {
	b := make([]byte, 0, 1024)
	for _, part := range append([]string{token}, wanted...) {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return sha256.Sum256(b)
}

func (w *Webhook) ask(ctx context.Context, token string, wanted []string) (*hookAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	kind := metav1.TypeMeta{Kind: "TokenReview", APIVersion: authenticationv1.GroupName + "/" + w.version}
	review := &authenticationv1.TokenReview{TypeMeta: kind, Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: wanted}}
	var answer any = &authenticationv1.TokenReview{}
	if w.version == "v1beta1" { // the same fields
		answer = &authenticationv1beta1.TokenReview{}
	}
	began := time.Now()
	err := w.server.Ask(ctx, review, answer)
	w.metrics.hook(code(err), time.Since(began))
	if status := (*callout.StatusError)(nil); errors.As(err, &status) {
		return nil, fmt.Errorf("HTTP %d", status.Code) // the text may hold the token, and this goes to the log
	}
	if err != nil {
		return nil, err
	}
	var got metav1.TypeMeta
	var status authenticationv1.TokenReviewStatus
	switch r := answer.(type) {
	case *authenticationv1.TokenReview:
		got, status = r.TypeMeta, r.Status
	case *authenticationv1beta1.TokenReview:
		got, status = r.TypeMeta, authenticationv1.TokenReviewStatus{Authenticated: r.Status.Authenticated, Audiences: r.Status.Audiences, Error: r.Status.Error,
			User: authenticationv1.UserInfo{Username: r.Status.User.Username, UID: r.Status.User.UID, Groups: r.Status.User.Groups, Extra: extraOf(r.Status.User.Extra)}}
	}
	if got != kind {
		return nil, fmt.Errorf("the answer is a %q of %q, want a TokenReview of %q", got.Kind, got.APIVersion, kind.APIVersion)
	}
	return judge(status, w.own, wanted), nil
}

// judge reads an answer. One without audiences is of a server that knows nothing of them: it speaks of the API server's own. Source:
// comments of authentication/v1.TokenReviewStatus.
func judge(s authenticationv1.TokenReviewStatus, own, wanted []string) *hookAnswer {
	switch {
	case !s.Authenticated && s.Error != "":
		return &hookAnswer{err: errors.New(s.Error)}
	case !s.Authenticated:
		return &hookAnswer{}
	case s.User.Username == "":
		return &hookAnswer{err: errors.New("the token webhook names no user")}
	}
	of := s.Audiences
	if len(of) == 0 {
		of = own
	}
	audiences, err := agnostic(of, wanted)
	if err != nil {
		return &hookAnswer{err: err}
	}
	user := s.User
	user.Groups = authenticated(user.Username, slices.Clone(user.Groups))
	return &hookAnswer{user: &user, audiences: audiences}
}

func extraOf(in map[string]authenticationv1beta1.ExtraValue) map[string]authenticationv1.ExtraValue {
	if in == nil {
		return nil
	}
	out := map[string]authenticationv1.ExtraValue{}
	for k, v := range in {
		out[k] = authenticationv1.ExtraValue(v)
	}
	return out
}

// code is how an answer is counted.
func code(err error) string {
	var status *callout.StatusError
	switch {
	case err == nil:
		return "200"
	case errors.As(err, &status):
		return strconv.Itoa(status.Code)
	}
	return "<error>"
}
