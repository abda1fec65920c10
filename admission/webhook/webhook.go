// Package webhook asks the webhooks that users add to admission. Requests come in as admission.Attributes; AdmissionReviews go out to
// the webhooks of the cluster's configurations, and what they answer changes or refuses the request. Role makes one Webhooks in each
// server and puts its two plugins at the end of the chain.
//
//	webhook.go  which webhooks there are     review.go  what is asked, what is answered (pure)
//	mutate.go   in series, and once more     call.go    the way to a webhook
//	validate.go all at once                  ask.go     one webhook, and what becomes of the request
//	own.go      those that stand in their own way
package webhook

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/callout"
	"github.com/lighter-k8s/lighter/client"
)

// Webhooks are those of one server. Set the exported fields before the first request.
type Webhooks struct {
	Mutating   client.TypedView[*admissionv1.MutatingWebhookConfiguration]
	Validating client.TypedView[*admissionv1.ValidatingWebhookConfiguration]
	Services   client.TypedView[*corev1.Service]
	Pods       client.TypedView[*corev1.Pod]
	World      matching.World
	Authz      authz.Authorizer
	Callout    *callout.Named
	Obstacles  *admission.Obstacles
	Log        *slog.Logger
	Now        func() time.Time
	Metrics    *Metrics

	mutating, validating set
}

// hook is one webhook of a configuration, ready to be asked.
type hook struct {
	configuration client.Object
	kind          string // of the configuration
	name          string
	mutating      bool

	criteria   matching.Criteria
	broken     error // why it cannot be asked
	conditions func() matchconditions.Matcher
	client     admissionv1.WebhookClientConfig
	version    string // of AdmissionReview
	timeout    time.Duration
	ignore     bool      // what is wrong with the webhook
	dry        bool      // it may be asked about dry runs
	again      bool      // it wants to see what others change after it
	bypass     time.Time // until then it is not asked
}

// set are the webhooks of all configurations of one kind.
type set struct {
	mu  sync.Mutex
	now atomic.Pointer[compiled]
}

type compiled struct {
	of    []client.Object
	hooks []*hook
}

// current makes hooks of the configurations that there are, unless it did already. Webhooks are asked in the order of their
// configurations' names.
func (s *set) current(all []client.Object, add func(client.Object) []*hook) []*hook {
	if len(all) == 0 {
		return nil
	}
	if c := s.now.Load(); c != nil && c.same(all) {
		return c.hooks
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now.Load()
	if before != nil && before.same(all) {
		return before.hooks
	}
	next := &compiled{of: all}
	for _, o := range all {
		if kept := before.find(o); kept != nil {
			next.hooks = append(next.hooks, kept...)
			continue
		}
		next.hooks = append(next.hooks, add(o)...)
	}
	s.now.Store(next)
	return next.hooks
}

func same(a, b client.Object) bool {
	return a == b || a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion()
}

func (c *compiled) same(all []client.Object) bool {
	if len(c.of) != len(all) {
		return false
	}
	for n := range all {
		if !same(c.of[n], all[n]) {
			return false
		}
	}
	return true
}

// find gives the hooks of a configuration that did not change; nil: it did, or has none.
func (c *compiled) find(o client.Object) (out []*hook) {
	if c == nil {
		return nil
	}
	for _, h := range c.hooks {
		if same(h.configuration, o) {
			out = append(out, h)
		}
	}
	return out
}

func (w *Webhooks) mutators() []*hook {
	return w.mutating.current(w.Mutating.View.List(""), func(o client.Object) (out []*hook) {
		for _, h := range o.(*admissionv1.MutatingWebhookConfiguration).Webhooks {
			m := newHook(o, "MutatingWebhookConfiguration", h.Name, &h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.NamespaceSelector, h.ObjectSelector,
				h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions)
			m.mutating, m.again = true, h.ReinvocationPolicy != nil && *h.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy
			out = append(out, m)
		}
		return out
	})
}

func (w *Webhooks) validators() []*hook {
	return w.validating.current(w.Validating.View.List(""), func(o client.Object) (out []*hook) {
		for _, h := range o.(*admissionv1.ValidatingWebhookConfiguration).Webhooks {
			out = append(out, newHook(o, "ValidatingWebhookConfiguration", h.Name, &h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.NamespaceSelector,
				h.ObjectSelector, h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions))
		}
		return out
	})
}

func newHook(o client.Object, kind, name string, c *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations, failure *admissionv1.FailurePolicyType,
	policy *admissionv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector, effects *admissionv1.SideEffectClass, timeout *int32, versions []string,
	conditions []admissionv1.MatchCondition) *hook {
	h := &hook{configuration: o, kind: kind, name: name, client: *c, timeout: 10 * time.Second,
		ignore: failure != nil && *failure == admissionv1.Ignore,
		dry:    effects != nil && (*effects == admissionv1.SideEffectClassNone || *effects == admissionv1.SideEffectClassNoneOnDryRun),
		bypass: admission.BypassedUntil(o)}
	named := make([]admissionv1.NamedRuleWithOperations, len(rules))
	for n := range rules {
		named[n].RuleWithOperations = rules[n]
	}
	h.criteria, h.broken = matching.New(named, nil, policy, namespaces, objects)
	if timeout != nil {
		h.timeout = time.Duration(*timeout) * time.Second
	}
	for _, v := range versions {
		if h.version == "" && (v == "v1" || v == "v1beta1") {
			h.version = v
		}
	}
	if len(conditions) > 0 {
		sort := "validating"
		if kind == "MutatingWebhookConfiguration" {
			sort = "mutating"
		}
		h.conditions = sync.OnceValue(func() matchconditions.Matcher { // at the first request that the rules take
			return expression.Matcher(conditions, expression.OfWebhook, failure, "webhook", sort, name)
		})
	}
	return h
}

// Mutators is the plugin of the mutating webhooks.
func (w *Webhooks) Mutators() admission.Plugin {
	return admission.Plugin{Name: "MutatingAdmissionWebhook", Mutate: w.mutate}
}

// Validators is the plugin of the validating webhooks.
func (w *Webhooks) Validators() admission.Plugin {
	return admission.Plugin{Name: "ValidatingAdmissionWebhook", Validate: w.validate}
}
