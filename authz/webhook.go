package authz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authorization/cel"

	"github.com/lighter-k8s/lighter/callout"
)

// webhook asks another server, by a SubjectAccessReview. Source: Kubernetes documentation, Webhook Mode; comments of
// apiserver.config.k8s.io/v1.
type webhook struct {
	name    string
	c       *apiserver.WebhookConfiguration
	matcher *cel.CELMatcher // nil: all requests
	server  *callout.Server
	log     *slog.Logger
	metrics *Metrics
	known   memory
}

// newWebhook makes one of a checked configuration.
func newWebhook(name string, c *apiserver.WebhookConfiguration, server *callout.Server, log *slog.Logger, m *Metrics) (*webhook, error) {
	w := &webhook{name: name, c: c, server: server, log: log, metrics: m}
	if len(c.MatchConditions) > 0 {
		matcher, errs := validation.ValidateAndCompileMatchConditions(expressions(), c.MatchConditions)
		if len(errs) > 0 {
			return nil, errs.ToAggregate()
		}
		matcher.Metrics, matcher.AuthorizerType, matcher.AuthorizerName = m, TypeWebhook, name
		w.matcher = matcher
	}
	return w, nil
}

// kept is an answer that counts until then.
type kept struct {
	decision Decision
	reason   string
	excluded bool // by the match conditions, which see nothing that changes
	until    time.Time
}

// Authorize implements Authorizer. A question that was asked before costs a look-up.
func (w *webhook) Authorize(ctx context.Context, a Attributes) (Decision, string, error) {
	buffer := keys.Get().(*[]byte)
	key := appendKey((*buffer)[:0], &a)
	if len(key) <= longestKey {
		*buffer = key
		defer keys.Put(buffer)
	}
	if v := w.known.get(key); v != nil && (v.excluded || time.Now().Before(v.until)) {
		if v.excluded {
			w.metrics.RecordAuthorizationMatchConditionExclusion(ctx, TypeWebhook, w.name)
		}
		return v.decision, v.reason, nil
	}
	review := reviewOf(&a)
	if w.matcher != nil {
		ok, err := w.matcher.Eval(ctx, review)
		if err != nil {
			return w.failed("error", fmt.Errorf("match conditions: %w", err))
		}
		if !ok {
			w.known.put(key, &kept{excluded: true})
			return NoOpinion, "", nil
		}
	}
	status, err := w.ask(ctx, review)
	if err != nil {
		return w.failed(cause(err), err)
	}
	v := &kept{reason: status.Reason}
	keep, ttl := w.c.CacheUnauthorizedRequests, w.c.UnauthorizedTTL.Duration
	switch {
	case status.Allowed:
		v.decision = Allow
		keep, ttl = w.c.CacheAuthorizedRequests, w.c.AuthorizedTTL.Duration
	case status.Denied:
		v.decision = Deny
	}
	if keep {
		v.until = time.Now().Add(ttl)
		w.known.put(key, v)
	}
	return v.decision, v.reason, nil
}

// failed is the verdict where there is none.
func (w *webhook) failed(how string, err error) (Decision, string, error) {
	err = fmt.Errorf("authorizer %s: %w", w.name, err)
	if how != "canceled" {
		w.log.Warn("authorization webhook gave no answer", "err", err)
	}
	if w.c.FailurePolicy == apiserver.FailurePolicyDeny {
		return Deny, "", err
	}
	w.metrics.failedOpen(w.name, how)
	return NoOpinion, "", err
}

func cause(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "error"
}

// question is a review on the wire. Source: authorization/v1 and v1beta1, which differ in the name of one field.
type question struct {
	metav1.TypeMeta `json:",inline"`
	Spec            struct {
		authorizationv1.SubjectAccessReviewSpec
		Group []string `json:"group,omitempty"`
	} `json:"spec"`
}

func (w *webhook) ask(ctx context.Context, review *authorizationv1.SubjectAccessReview) (authorizationv1.SubjectAccessReviewStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, w.c.Timeout.Duration)
	defer cancel()
	q := question{TypeMeta: metav1.TypeMeta{Kind: "SubjectAccessReview", APIVersion: authorizationv1.GroupName + "/" + w.c.SubjectAccessReviewVersion}}
	q.Spec.SubjectAccessReviewSpec = review.Spec
	if w.c.SubjectAccessReviewVersion == "v1beta1" {
		q.Spec.Group, q.Spec.Groups = review.Spec.Groups, nil
	}
	var answer struct {
		metav1.TypeMeta `json:",inline"`
		Status          authorizationv1.SubjectAccessReviewStatus `json:"status"`
	}
	began := time.Now()
	err := w.server.Ask(ctx, q, &answer)
	switch {
	case err != nil:
	case answer.TypeMeta != q.TypeMeta:
		err = fmt.Errorf("the answer is a %q of %q, want a SubjectAccessReview of %q", answer.Kind, answer.APIVersion, q.APIVersion)
	case answer.Status.Allowed && answer.Status.Denied:
		err = errors.New("the answer is both allowed and denied")
	}
	how := "success"
	if err != nil {
		how = cause(err)
	}
	w.metrics.webhook(w.name, how, time.Since(began))
	return answer.Status, err
}

// memory is remembered answers, bounded in number and in size. Safe for concurrent use.
type memory struct {
	mu sync.RWMutex
	m  map[string]*kept
}

const (
	mostKept   = 8192
	longestKey = 10000 // bytes; users choose what is in it
)

func (k *memory) get(key []byte) *kept {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.m[string(key)]
}

func (k *memory) put(key []byte, v *kept) {
	if len(key) > longestKey {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string]*kept{}
	}
	if _, there := k.m[string(key)]; !there && len(k.m) >= mostKept {
		n := 0
		for old := range k.m { // a map's order is as good as any
			if delete(k.m, old); n > mostKept/8 {
				break
			}
			n++
		}
	}
	k.m[string(key)] = v
}

var keys = sync.Pool{New: func() any { return new([]byte) }}

// appendKey writes all that a review says, so that two questions have the same key only if they are the same.
func appendKey(b []byte, a *Attributes) []byte {
	b = appendText(b, a.User.Username, a.User.UID)
	b = binary.AppendUvarint(b, uint64(len(a.User.Groups)))
	b = appendText(b, a.User.Groups...)
	b = binary.AppendUvarint(b, uint64(len(a.User.Extra)))
	var room [8]string
	names := room[:0]
	for name := range a.User.Extra {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := a.User.Extra[name]
		b = appendText(b, name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		b = appendText(b, values...)
	}
	if !a.ResourceRequest {
		return appendText(append(b, 0), a.Verb, a.Path)
	}
	return appendText(append(b, 1), a.Verb, a.Namespace, a.Group, a.Version, a.Resource, a.Subresource, a.Name, a.FieldSelector, a.LabelSelector)
}

func appendText(b []byte, texts ...string) []byte {
	for _, text := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}
