package admissionregistration

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Supported values, as complaints list them.
var (
	failurePolicies  = []admissionv1.FailurePolicyType{admissionv1.Fail, admissionv1.Ignore}
	matchPolicies    = []admissionv1.MatchPolicyType{admissionv1.Equivalent, admissionv1.Exact}
	reinvocations    = []admissionv1.ReinvocationPolicyType{admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy}
	sideEffects      = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	scopes           = []admissionv1.ScopeType{admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope}
	operations       = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update}
	reviewVersions   = []string{"v1", "v1beta1"}
	maxConditions    = 64
	noSelectorOption metav1validation.LabelSelectorValidationOptions
)

// supported complains about a value that is set and not in the list.
func supported[T ~string](p *T, list []T, at *field.Path) field.ErrorList {
	if p == nil || slices.Contains(list, *p) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at, *p, list)}
}

func validateMutatingWebhooks(c, old *admissionv1.MutatingWebhookConfiguration) (errs field.ErrorList) {
	path, names := field.NewPath("webhooks"), sets.Set[string]{}
	unknownVersions := old != nil && slices.ContainsFunc(old.Webhooks, func(w admissionv1.MutatingWebhook) bool { return !knowsReview(w.AdmissionReviewVersions) })
	for i := range c.Webhooks {
		w, at := &c.Webhooks[i], path.Index(i)
		errs = append(errs, validateWebhook(webhook{w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions}, !unknownVersions, at)...)
		errs = append(errs, supported(w.ReinvocationPolicy, reinvocations, at.Child("reinvocationPolicy"))...)
		errs = append(errs, unique(names, w.Name, at.Child("name"))...)
	}
	return errs
}

func validateValidatingWebhooks(c, old *admissionv1.ValidatingWebhookConfiguration) (errs field.ErrorList) {
	path, names := field.NewPath("webhooks"), sets.Set[string]{}
	unknownVersions := old != nil && slices.ContainsFunc(old.Webhooks, func(w admissionv1.ValidatingWebhook) bool { return !knowsReview(w.AdmissionReviewVersions) })
	for i := range c.Webhooks {
		w, at := &c.Webhooks[i], path.Index(i)
		errs = append(errs, validateWebhook(webhook{w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions}, !unknownVersions, at)...)
		errs = append(errs, unique(names, w.Name, at.Child("name"))...)
	}
	return errs
}

func unique(seen sets.Set[string], name string, at *field.Path) field.ErrorList {
	if seen.Has(name) {
		return field.ErrorList{field.Duplicate(at, name)}
	}
	seen.Insert(name)
	return nil
}

// webhook is what mutating and validating webhooks share.
type webhook struct {
	name                   string
	client                 admissionv1.WebhookClientConfig
	rules                  []admissionv1.RuleWithOperations
	failure                *admissionv1.FailurePolicyType
	match                  *admissionv1.MatchPolicyType
	namespaces, objects    *metav1.LabelSelector
	sideEffects            *admissionv1.SideEffectClass
	timeout                *int32
	admissionReviewVersion []string
	conditions             []admissionv1.MatchCondition
}

func validateWebhook(w webhook, strictVersions bool, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validation.IsFullyQualifiedName(at.Child("name"), w.name)...)
	for i := range w.rules {
		errs = append(errs, validateRule(&w.rules[i], true, at.Child("rules").Index(i))...)
	}
	errs = append(errs, supported(w.failure, failurePolicies, at.Child("failurePolicy"))...)
	errs = append(errs, supported(w.match, matchPolicies, at.Child("matchPolicy"))...)
	if w.sideEffects == nil {
		errs = append(errs, field.Required(at.Child("sideEffects"), fmt.Sprintf("must specify one of %s, %s", sideEffects[0], sideEffects[1])))
	}
	errs = append(errs, supported(w.sideEffects, sideEffects, at.Child("sideEffects"))...)
	if t := w.timeout; t != nil && (*t > 30 || *t < 1) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	if w.namespaces != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(w.namespaces, noSelectorOption, at.Child("namespaceSelector"))...)
	}
	if w.objects != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(w.objects, noSelectorOption, at.Child("objectSelector"))...)
	}
	errs = append(errs, validateClient(w.client, at.Child("clientConfig"))...)
	errs = append(errs, validateReviewVersions(w.admissionReviewVersion, strictVersions, at.Child("admissionReviewVersions"))...)
	return append(errs, validateConditions(w.conditions, at.Child("matchConditions"))...)
}

func knowsReview(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

func validateReviewVersions(versions []string, mustKnow bool, at *field.Path) (errs field.ErrorList) {
	known := strings.Join(reviewVersions, ", ")
	if len(versions) == 0 {
		return append(errs, field.Required(at, "must specify one of "+known))
	}
	again := api.Again[string]()
	for i, v := range versions {
		if again(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		for _, msg := range validation.IsDNS1035Label(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, msg))
		}
	}
	if mustKnow && !knowsReview(versions) {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+known))
	}
	return errs
}

func validateClient(c admissionv1.WebhookClientConfig, at *field.Path) (errs field.ErrorList) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		errs = append(errs, field.Required(at, "exactly one of url or service is required"))
	case c.URL != nil:
		errs = append(errs, validateURL(*c.URL, at.Child("url"))...)
	default:
		errs = append(errs, validateService(c.Service, at.Child("service"))...)
	}
	return errs
}

func validateURL(s string, at *field.Path) (errs field.ErrorList) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(s)
	if err != nil {
		return append(errs, field.Required(at, "url must be a valid URL: "+err.Error()+form))
	}
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		errs = append(errs, field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		errs = append(errs, field.Invalid(at, u.Fragment, "fragments are not permitted in the URL"))
	}
	if u.RawQuery != "" {
		errs = append(errs, field.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL"))
	}
	return errs
}

func validateService(s *admissionv1.ServiceReference, at *field.Path) (errs field.ErrorList) {
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), ""))
	}
	var port int
	if s.Port != nil {
		port = int(*s.Port)
	}
	if msgs := validation.IsValidPortNum(port); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at.Child("port"), int32(port), "port is not valid: "+strings.Join(msgs, ",")))
	}
	if s.Path == nil {
		return errs
	}
	path := *s.Path
	at = at.Child("path")
	if path == "/" || path == "" {
		return errs
	}
	if path == "//" {
		return append(errs, field.Invalid(at, path, "segment[0] may not be empty"))
	}
	if !strings.HasPrefix(path, "/") {
		errs = append(errs, field.Invalid(at, path, "must start with a '/'"))
	}
	steps := strings.Split(strings.TrimSuffix(path[1:], "/"), "/") // the first letter is not looked at again
	for i, step := range steps {
		if step == "" {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("segment[%d] may not be empty", i)))
			continue
		}
		for _, msg := range validation.IsDNS1123Subdomain(step) {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("segment[%d]: %v", i, msg)))
		}
	}
	return errs
}

// validateConditions checks matchConditions: named once each, with an expression.
func validateConditions(list []admissionv1.MatchCondition, at *field.Path) (errs field.ErrorList) {
	names := sets.Set[string]{}
	if len(list) > maxConditions {
		errs = append(errs, field.TooMany(at, len(list), maxConditions))
	}
	for i, c := range list {
		at := at.Index(i)
		if strings.TrimSpace(c.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		}
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		}
		for _, msg := range validation.IsQualifiedName(c.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, msg))
		}
		errs = append(errs, unique(names, c.Name, at.Child("name"))...)
	}
	return errs
}

// validateRule checks which requests are meant. Source: type comments of Rule.
func validateRule(r *admissionv1.RuleWithOperations, subresources bool, at *field.Path) (errs field.ErrorList) {
	ops := at.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(ops, ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(ops, r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i := range r.Operations {
		if api.Enough(errs) {
			break
		}
		errs = append(errs, supported(&r.Operations[i], operations, ops.Index(i))...)
	}
	errs = append(errs, oneOrMany(r.APIGroups, "API groups", true, at.Child("apiGroups"))...)
	errs = append(errs, oneOrMany(r.APIVersions, "API versions", false, at.Child("apiVersions"))...)
	errs = append(errs, validateResources(r.Resources, subresources, at.Child("resources"))...)
	errs = append(errs, supported(r.Scope, scopes, at.Child("scope"))...)
	return errs
}

// oneOrMany wants "*" alone, or one value or more.
func oneOrMany(list []string, what string, allowEmpty bool, at *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if len(list) > 1 && slices.Contains(list, "*") {
		errs = append(errs, field.Invalid(at, list, "if '*' is present, must not specify other "+what))
	}
	for i, v := range list {
		if v == "" && !allowEmpty {
			errs = append(errs, field.Required(at.Index(i), ""))
		}
	}
	return errs
}

func validateResources(list []string, subresources bool, at *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		errs = append(errs, field.Invalid(at, list, "if '*/*' is present, must not specify other resources"))
	}
	whole, everywhere := sets.Set[string]{}, sets.Set[string]{} // resources with all, subresources of all
	for i, r := range list {
		if r == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		}
		name, sub, isSub := strings.Cut(r, "/")
		if isSub && !subresources {
			errs = append(errs, field.Invalid(at.Index(i), list, "must not specify subresources"))
			continue
		}
		switch {
		case !isSub && r == "*" && !subresources && len(list) > 1:
			errs = append(errs, field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
		case !isSub || r == "*/*":
		case whole.Has(name):
			errs = append(errs, field.Invalid(at.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, r)))
		case everywhere.Has(sub):
			errs = append(errs, field.Invalid(at.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		if isSub && sub == "*" {
			whole.Insert(name)
		}
		if isSub && name == "*" {
			everywhere.Insert(sub)
		}
	}
	if subresources && len(list) > 1 && slices.Contains(list, "*") && slices.ContainsFunc(list, func(r string) bool { return r != "*" && !strings.Contains(r, "/") }) {
		errs = append(errs, field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}
