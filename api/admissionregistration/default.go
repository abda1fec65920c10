package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults. Source: the type comments of admissionregistration.k8s.io/v1.
const (
	defaultTimeout = int32(10) // seconds
	defaultPort    = int32(443)
)

// fill sets *p to value where the user gave none.
func fill[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func defaultPolicy(failure **admissionv1.FailurePolicyType, match *admissionv1.MatchResources) {
	fill(failure, admissionv1.Fail)
	defaultMatch(match)
}

func defaultMatch(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	fill(&m.MatchPolicy, admissionv1.Equivalent)
	fill(&m.NamespaceSelector, metav1.LabelSelector{})
	fill(&m.ObjectSelector, metav1.LabelSelector{})
	for i := range m.ResourceRules {
		fill(&m.ResourceRules[i].Scope, admissionv1.AllScopes)
	}
	for i := range m.ExcludeResourceRules {
		fill(&m.ExcludeResourceRules[i].Scope, admissionv1.AllScopes)
	}
}

func defaultMutatingWebhooks(c *admissionv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		fill(&w.FailurePolicy, admissionv1.Fail)
		fill(&w.MatchPolicy, admissionv1.Equivalent)
		fill(&w.NamespaceSelector, metav1.LabelSelector{})
		fill(&w.ObjectSelector, metav1.LabelSelector{})
		fill(&w.TimeoutSeconds, defaultTimeout)
		fill(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
		defaultHook(&w.ClientConfig, w.Rules)
	}
}

func defaultValidatingWebhooks(c *admissionv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		fill(&w.FailurePolicy, admissionv1.Fail)
		fill(&w.MatchPolicy, admissionv1.Equivalent)
		fill(&w.NamespaceSelector, metav1.LabelSelector{})
		fill(&w.ObjectSelector, metav1.LabelSelector{})
		fill(&w.TimeoutSeconds, defaultTimeout)
		defaultHook(&w.ClientConfig, w.Rules)
	}
}

func defaultHook(c *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations) {
	if c.Service != nil {
		fill(&c.Service.Port, defaultPort)
	}
	for i := range rules {
		fill(&rules[i].Scope, admissionv1.AllScopes)
	}
}
