package flowcontrol

import (
	"fmt"
	"math"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// verbs that rules can name beside "*".
var (
	resourceVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}
	urlVerbs      = []string{"delete", "get", "head", "options", "patch", "post", "put"}
)

func validateFlowSchema(s, _ *flowcontrolv1.FlowSchema) (errs field.ErrorList) {
	spec, at := &s.Spec, field.NewPath("spec")
	// The two that every cluster has may not be turned into something else.
	switch s.Name {
	case flowcontrolv1.FlowSchemaNameExempt:
		if spec.PriorityLevelConfiguration.Name != flowcontrolv1.PriorityLevelConfigurationNameExempt || spec.MatchingPrecedence != 1 {
			errs = append(errs, field.Invalid(at, *spec, "spec of 'exempt' must equal the fixed value"))
		}
	case flowcontrolv1.FlowSchemaNameCatchAll:
		if spec.PriorityLevelConfiguration.Name != flowcontrolv1.PriorityLevelConfigurationNameCatchAll || spec.MatchingPrecedence != flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
			errs = append(errs, field.Invalid(at, *spec, "spec of 'catch-all' must equal the fixed value"))
		}
	}
	precedence := at.Child("matchingPrecedence")
	switch {
	case spec.MatchingPrecedence <= 0:
		errs = append(errs, field.Invalid(precedence, spec.MatchingPrecedence, "must be a positive value"))
	case spec.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		errs = append(errs, field.Invalid(precedence, spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	case spec.MatchingPrecedence == 1 && s.Name != flowcontrolv1.FlowSchemaNameExempt:
		errs = append(errs, field.Invalid(precedence, spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := spec.DistinguisherMethod; m != nil && m.Type != flowcontrolv1.FlowDistinguisherMethodByUserType && m.Type != flowcontrolv1.FlowDistinguisherMethodByNamespaceType {
		errs = append(errs, field.NotSupported(at.Child("distinguisherMethod", "type"), m,
			[]flowcontrolv1.FlowDistinguisherMethodType{flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}))
	}
	level := at.Child("priorityLevelConfiguration", "name")
	if name := spec.PriorityLevelConfiguration.Name; name == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	} else {
		for _, msg := range apivalidation.NameIsDNSSubdomain(name, false) {
			errs = append(errs, field.Invalid(level, name, msg))
		}
	}
	for i := range spec.Rules {
		errs = append(errs, validateRule(&spec.Rules[i], at.Child("rules").Index(i))...)
	}
	return errs
}

func validateRule(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) (errs field.ErrorList) {
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, validateSubject(&r.Subjects[i], at.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range r.ResourceRules {
		errs = append(errs, validateResourceRule(&r.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range r.NonResourceRules {
		errs = append(errs, validateURLRule(&r.NonResourceRules[i], at.Child("nonResourceRules").Index(i))...)
	}
	return errs
}

func validateSubject(s *flowcontrolv1.Subject, at *field.Path) (errs field.ErrorList) {
	want := func(present bool, name string, kind flowcontrolv1.SubjectKind) {
		switch {
		case s.Kind == kind && !present:
			errs = append(errs, field.Required(at.Child(name), fmt.Sprintf("%s is required when subject kind is '%s'", name, kind)))
		case s.Kind != kind && present:
			errs = append(errs, field.Forbidden(at.Child(name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", name, kind)))
		}
	}
	switch s.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		if a := s.ServiceAccount; a != nil {
			at := at.Child("serviceAccount")
			if a.Name == "" {
				errs = append(errs, field.Required(at.Child("name"), ""))
			} else if a.Name != flowcontrolv1.NameAll {
				for _, msg := range apivalidation.ValidateServiceAccountName(a.Name, false) {
					errs = append(errs, field.Invalid(at.Child("name"), a.Name, msg))
				}
			}
			if a.Namespace == "" {
				errs = append(errs, field.Required(at.Child("namespace"), "must specify namespace for service account"))
			} else {
				for _, msg := range apivalidation.ValidateNamespaceName(a.Namespace, false) {
					errs = append(errs, field.Invalid(at.Child("namespace"), a.Namespace, msg))
				}
			}
		}
	case flowcontrolv1.SubjectKindUser:
		if s.User != nil && s.User.Name == "" {
			errs = append(errs, field.Required(at.Child("user", "name"), ""))
		}
	case flowcontrolv1.SubjectKindGroup:
		if s.Group != nil && s.Group.Name == "" {
			errs = append(errs, field.Required(at.Child("group", "name"), ""))
		}
	default:
		return append(errs, field.NotSupported(at.Child("kind"), s.Kind,
			[]flowcontrolv1.SubjectKind{flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser}))
	}
	want(s.ServiceAccount != nil, "serviceAccount", flowcontrolv1.SubjectKindServiceAccount)
	want(s.User != nil, "user", flowcontrolv1.SubjectKindUser)
	want(s.Group != nil, "group", flowcontrolv1.SubjectKindGroup)
	return errs
}

// validateVerbs wants verbs of the list, or "*" alone.
func validateVerbs(verbs, known []string, at *field.Path) (errs field.ErrorList) {
	switch {
	case len(verbs) == 0:
		errs = append(errs, field.Required(at, "verbs must contain at least one value"))
	case slices.Contains(verbs, flowcontrolv1.VerbAll):
		errs = append(errs, alone(verbs, "verbs", at)...)
	case slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(known, v) }):
		errs = append(errs, field.NotSupported(at, verbs, resourceVerbs)) // of both kinds of rules: so upstream says it
	}
	return errs
}

// alone complains about a "*" with others beside it.
func alone(list []string, what string, at *field.Path) field.ErrorList {
	if len(list) > 1 && slices.Contains(list, "*") {
		return field.ErrorList{field.Invalid(at, list, fmt.Sprintf("if '*' is present, must not specify other %s", what))}
	}
	return nil
}

func validateResourceRule(r *flowcontrolv1.ResourcePolicyRule, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateVerbs(r.Verbs, resourceVerbs, at.Child("verbs"))...)
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	errs = append(errs, alone(r.APIGroups, "api groups", at.Child("apiGroups"))...)
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
	errs = append(errs, alone(r.Resources, "resources", at.Child("resources"))...)
	namespaces := at.Child("namespaces")
	if len(r.Namespaces) == 0 && !r.ClusterScope {
		errs = append(errs, field.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace"))
	}
	if slices.Contains(r.Namespaces, flowcontrolv1.NamespaceEvery) {
		return append(errs, alone(r.Namespaces, "namespaces", namespaces)...)
	}
	for i, n := range r.Namespaces {
		if api.Enough(errs) {
			break
		}
		for _, msg := range apivalidation.ValidateNamespaceName(n, false) {
			errs = append(errs, field.Invalid(namespaces.Index(i), n, "each member of this list must be '*' or a DNS-1123 label; "+msg))
		}
	}
	return errs
}

func validateURLRule(r *flowcontrolv1.NonResourcePolicyRule, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateVerbs(r.Verbs, urlVerbs, at.Child("verbs"))...)
	at = at.Child("nonResourceURLs")
	if len(r.NonResourceURLs) == 0 {
		errs = append(errs, field.Required(at, "nonResourceURLs must contain at least one value"))
	}
	if slices.Contains(r.NonResourceURLs, flowcontrolv1.NonResourceAll) {
		return append(errs, alone(r.NonResourceURLs, "non-resource URLs", at)...)
	}
	for i, url := range r.NonResourceURLs {
		if api.Enough(errs) {
			break
		}
		if msg := badURL(url); msg != "" {
			errs = append(errs, field.Invalid(at.Index(i), url, msg))
		}
	}
	return errs
}

func badURL(url string) string {
	switch {
	case url == "":
		return "must not be empty"
	case url == "/":
		return ""
	case !strings.HasPrefix(url, "/"):
		return "must start with slash"
	case strings.Contains(url, " "):
		return "must not contain white-space"
	case strings.Contains(url, "//"):
		return "must not contain double slash"
	case strings.Contains(strings.TrimSuffix(url, "/*"), "*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}

func validateFlowSchemaStatus(s, _ *flowcontrolv1.FlowSchema) (errs field.ErrorList) {
	at := field.NewPath("status", "conditions")
	seen := map[string]bool{}
	for i, c := range s.Status.Conditions {
		errs = append(errs, validateCondition(string(c.Type), seen, at.Index(i))...)
	}
	return errs
}

func validatePriorityLevelStatus(l, _ *flowcontrolv1.PriorityLevelConfiguration) (errs field.ErrorList) {
	at := field.NewPath("status", "conditions")
	seen := map[string]bool{}
	for i, c := range l.Status.Conditions {
		errs = append(errs, validateCondition(string(c.Type), seen, at.Index(i))...)
	}
	return errs
}

func validateCondition(kind string, seen map[string]bool, at *field.Path) (errs field.ErrorList) {
	if seen[kind] {
		errs = append(errs, field.Duplicate(at.Child("type"), kind))
	}
	seen[kind] = true
	if kind == "" {
		return append(errs, field.Required(at.Child("type"), ""))
	}
	return errs
}

func validatePriorityLevel(l, _ *flowcontrolv1.PriorityLevelConfiguration) (errs field.ErrorList) {
	spec, at := &l.Spec, field.NewPath("spec")
	errs = append(errs, validateMandatoryLevel(l, at)...)
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if spec.Limited != nil {
			errs = append(errs, field.Forbidden(at.Child("limited"), ""))
		}
		if e := spec.Exempt; e != nil {
			at := at.Child("exempt")
			if n := e.NominalConcurrencyShares; n != nil && *n < 0 {
				errs = append(errs, field.Invalid(at.Child("nominalConcurrencyShares"), *n, "must be a non-negative integer"))
			}
			errs = append(errs, percent(e.LendablePercent, 100, "must be between 0 and 100, inclusive", at.Child("lendablePercent"))...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Exempt != nil {
			errs = append(errs, field.Forbidden(at.Child("exempt"), ""))
		}
		if spec.Limited == nil {
			errs = append(errs, field.Required(at.Child("limited"), ""))
		} else {
			errs = append(errs, validateLimited(spec.Limited, at.Child("limited"))...)
		}
	case "":
		if spec.Limited != nil {
			errs = append(errs, field.Forbidden(at.Child("limited"), ""))
		}
		errs = append(errs, field.Required(at.Child("type"), ""))
	default:
		if spec.Limited != nil {
			defer func() { errs = append(errs, field.Forbidden(at.Child("limited"), "")) }()
		}
		errs = append(errs, field.NotSupported(at.Child("type"), spec.Type,
			[]flowcontrolv1.PriorityLevelEnablement{flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited}))
	}
	return errs
}

// validateMandatoryLevel keeps the two levels that every cluster has what they must be.
func validateMandatoryLevel(l *flowcontrolv1.PriorityLevelConfiguration, at *field.Path) (errs field.ErrorList) {
	switch l.Name {
	case flowcontrolv1.PriorityLevelConfigurationNameExempt:
		if l.Spec.Type != flowcontrolv1.PriorityLevelEnablementExempt {
			errs = append(errs, field.Invalid(at.Child("type"), l.Spec.Type, "must be \"Exempt\" if and only if name is \"exempt\""))
		}
	case flowcontrolv1.PriorityLevelConfigurationNameCatchAll:
		want := flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: new(int32), LendablePercent: new(int32),
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		}
		*want.Limited.NominalConcurrencyShares = 5
		if !equality.Semantic.DeepEqual(l.Spec, want) {
			errs = append(errs, field.Invalid(at, l.Spec, "spec of 'catch-all' must equal the fixed value"))
		}
	default:
		if l.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt {
			errs = append(errs, field.Invalid(at.Child("type"), l.Spec.Type, "must be \"Exempt\" if and only if name is \"exempt\""))
		}
	}
	return errs
}

func percent(p *int32, most int32, msg string, at *field.Path) field.ErrorList {
	if p != nil && (*p < 0 || most > 0 && *p > most) {
		return field.ErrorList{field.Invalid(at, *p, msg)}
	}
	return nil
}

func validateLimited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) (errs field.ErrorList) {
	if n := l.NominalConcurrencyShares; n == nil || *n < 0 {
		var value int32
		if n != nil {
			value = *n
		}
		errs = append(errs, field.Invalid(at.Child("nominalConcurrencyShares"), value, "must be a non-negative integer"))
	}
	errs = append(errs, percent(l.LendablePercent, 100, "must be between 0 and 100, inclusive", at.Child("lendablePercent"))...)
	errs = append(errs, percent(l.BorrowingLimitPercent, 0, "if specified, must be a non-negative integer", at.Child("borrowingLimitPercent"))...)
	at = at.Child("limitResponse")
	switch l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if l.LimitResponse.Queuing != nil {
			errs = append(errs, field.Forbidden(at.Child("queuing"), ""))
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if l.LimitResponse.Queuing == nil {
			return append(errs, field.Required(at.Child("queuing"), ""))
		}
		errs = append(errs, validateQueuing(l.LimitResponse.Queuing, at.Child("queuing"))...)
	default:
		if l.LimitResponse.Type != "" {
			errs = append(errs, field.NotSupported(at.Child("type"), l.LimitResponse.Type,
				[]flowcontrolv1.LimitResponseType{flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject}))
		}
		if l.LimitResponse.Queuing != nil {
			errs = append(errs, field.Forbidden(at.Child("queuing"), ""))
		}
		if l.LimitResponse.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
	}
	return errs
}

const maxQueues = 10_000_000

func validateQueuing(q *flowcontrolv1.QueuingConfiguration, at *field.Path) (errs field.ErrorList) {
	if q.QueueLengthLimit <= 0 {
		errs = append(errs, field.Invalid(at.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive"))
	}
	switch {
	case q.Queues <= 0:
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, "must be positive"))
	case q.Queues > maxQueues:
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues)))
	}
	switch {
	case q.HandSize <= 0:
		errs = append(errs, field.Invalid(at.Child("handSize"), q.HandSize, "must be positive"))
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(at.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	case entropyBits(int(q.Queues), int(q.HandSize)) > 60:
		errs = append(errs, field.Invalid(at.Child("handSize"), q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than 60", q.Queues, q.HandSize)))
	}
	return errs
}

// entropyBits is how many random bits it takes to deal a hand from a deck; 61 when it is more than 60.
func entropyBits(deck, hand int) (bits int) {
	n := 1.0
	for i := range hand {
		if n *= float64(deck - i); n > 1<<60 {
			return 61
		}
	}
	return int(math.Ceil(math.Log2(n)))
}
