package admissionregistration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// The structure of CEL policies. That expressions compile is for the part that compiles them.

// Bounds. Source: type comments of Validation and AuditAnnotation.
const (
	maxAuditAnnotations     = 20
	maxMessageExpression    = 5 * 1024
	maxAnnotationExpression = 5 * 1024
)

var (
	reasons   = []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}
	changing  = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update}
	actions   = []admissionv1.ValidationAction{admissionv1.Audit, admissionv1.Deny, admissionv1.Warn}
	notFound  = []admissionv1.ParameterNotFoundActionType{admissionv1.DenyAction, admissionv1.AllowAction}
	celName   = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)
	celWords  = sets.New("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while")
	patchKind = []admissionv1.PatchType{admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch}
)

func validateValidatingPolicy(p, _ *admissionv1.ValidatingAdmissionPolicy) (errs field.ErrorList) {
	spec, at := &p.Spec, field.NewPath("spec")
	errs = append(errs, validatePolicy(spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints, spec.MatchConditions, spec.Variables, at)...)
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		errs = append(errs, field.Required(at.Child("validations"), "validations or auditAnnotations must contain at least one item"),
			field.Required(at.Child("auditAnnotations"), "validations or auditAnnotations must contain at least one item"))
	}
	for i := range spec.Validations {
		errs = append(errs, validateValidation(&spec.Validations[i], at.Child("validations").Index(i))...)
	}
	keys, annotations := sets.Set[string]{}, at.Child("auditAnnotations")
	if len(spec.AuditAnnotations) > maxAuditAnnotations {
		errs = append(errs, field.Invalid(annotations, spec.AuditAnnotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations)))
	}
	for i, a := range spec.AuditAnnotations {
		at := annotations.Index(i)
		key := p.Name + "/" + a.Key // as it is in the audit event
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at.Child("key"), key, msg))
		}
		switch trimmed := strings.TrimSpace(a.ValueExpression); {
		case trimmed == "":
			errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
		case len(trimmed) > maxAnnotationExpression:
			errs = append(errs, field.Invalid(at.Child("valueExpression"), a.ValueExpression, fmt.Sprintf("must not exceed %d bytes in length", maxAnnotationExpression)))
		}
		errs = append(errs, unique(keys, a.Key, at.Child("key"))...)
	}
	return errs
}

// validatePolicy checks what both kinds of policy have.
func validatePolicy(failure *admissionv1.FailurePolicyType, kind *admissionv1.ParamKind, match *admissionv1.MatchResources,
	conditions []admissionv1.MatchCondition, variables []admissionv1.Variable, at *field.Path) (errs field.ErrorList) {
	if failure == nil {
		errs = append(errs, field.Required(at.Child("failurePolicy"), ""))
	}
	errs = append(errs, supported(failure, failurePolicies, at.Child("failurePolicy"))...)
	if kind != nil {
		errs = append(errs, validateParamKind(*kind, at.Child("paramKind"))...)
	}
	if match == nil {
		errs = append(errs, field.Required(at.Child("matchConstraints"), ""))
	} else {
		errs = append(errs, validateMatch(match, at.Child("matchConstraints"))...)
		if len(match.ResourceRules) == 0 {
			errs = append(errs, field.Required(at.Child("matchConstraints", "resourceRules"), ""))
		}
	}
	errs = append(errs, validateConditions(conditions, at.Child("matchConditions"))...)
	for i, v := range variables {
		at := at.Child("variables").Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		case !celName.MatchString(v.Name) || celWords.Has(v.Name):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		}
	}
	return errs
}

func validateParamKind(k admissionv1.ParamKind, at *field.Path) (errs field.ErrorList) {
	if k.APIVersion == "" {
		errs = append(errs, field.Required(at.Child("apiVersion"), ""))
	} else if gv, err := schema.ParseGroupVersion(k.APIVersion); err != nil {
		errs = append(errs, field.Invalid(at.Child("apiVersion"), k.APIVersion, err.Error()))
	} else {
		if gv.Group != "" {
			for _, msg := range validation.IsDNS1123Subdomain(gv.Group) {
				errs = append(errs, field.Invalid(at.Child("apiVersion"), gv.Group, msg))
			}
		}
		for _, msg := range validation.IsDNS1035Label(gv.Version) {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), gv.Version, msg))
		}
	}
	if k.Kind == "" {
		errs = append(errs, field.Required(at.Child("kind"), ""))
	} else {
		for _, msg := range validation.IsDNS1035Label(strings.ToLower(k.Kind)) {
			errs = append(errs, field.Invalid(at.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+msg))
		}
	}
	return errs
}

func validateMatch(m *admissionv1.MatchResources, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, supported(m.MatchPolicy, matchPolicies, at.Child("matchPolicy"))...)
	if m.MatchPolicy == nil {
		errs = append(errs, field.Required(at.Child("matchPolicy"), ""))
	}
	for _, s := range []struct {
		name string
		sel  *metav1.LabelSelector
	}{{"namespaceSelector", m.NamespaceSelector}, {"objectSelector", m.ObjectSelector}} {
		if s.sel == nil {
			errs = append(errs, field.Required(at.Child(s.name), ""))
		} else {
			errs = append(errs, metav1validation.ValidateLabelSelector(s.sel, noSelectorOption, at.Child(s.name))...)
		}
	}
	for _, l := range []struct {
		name  string
		rules []admissionv1.NamedRuleWithOperations
	}{{"resourceRules", m.ResourceRules}, {"excludeResourceRules", m.ExcludeResourceRules}} {
		for i := range l.rules {
			r, at := &l.rules[i], at.Child(l.name).Index(i)
			names := sets.Set[string]{}
			for j, n := range r.ResourceNames {
				for _, msg := range path.IsValidPathSegmentName(n) {
					errs = append(errs, field.Invalid(at.Child("resourceNames").Index(j), n, msg))
				}
				errs = append(errs, unique(names, n, at.Child("resourceNames").Index(j))...)
			}
			errs = append(errs, validateRule(&r.RuleWithOperations, true, at)...)
		}
	}
	return errs
}

func validateValidation(v *admissionv1.Validation, at *field.Path) (errs field.ErrorList) {
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	}
	message := strings.TrimSpace(v.Message)
	switch {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.ContainsAny(message, "\n"):
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must not contain line breaks"))
	case strings.ContainsAny(v.Expression, "\n") && message == "":
		errs = append(errs, field.Required(at.Child("message"), "message must be specified if expression contains line breaks"))
	}
	if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		errs = append(errs, field.Invalid(at.Child("messageExpression"), v.MessageExpression, "messageExpression must be non-empty if specified"))
	} else if len(v.MessageExpression) > maxMessageExpression {
		errs = append(errs, field.Invalid(at.Child("messageExpression"), v.MessageExpression, fmt.Sprintf("must not exceed %d bytes in length", maxMessageExpression)))
	}
	if v.Reason != nil && *v.Reason != metav1.StatusReasonUnauthorized { // which is taken, though no complaint names it
		errs = append(errs, supported(v.Reason, reasons, at.Child("reason"))...)
	}
	return errs
}

func validateValidatingPolicyStatus(p, _ *admissionv1.ValidatingAdmissionPolicy) (errs field.ErrorList) {
	at := field.NewPath("status")
	if t := p.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			at := at.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				errs = append(errs, field.Required(at.Child("warning"), ""))
			}
			if w.FieldRef == "" {
				errs = append(errs, field.Required(at.Child("fieldRef"), ""))
			}
		}
	}
	return append(errs, metav1validation.ValidateConditions(p.Status.Conditions, at.Child("conditions"))...)
}

func validateValidatingBinding(b, _ *admissionv1.ValidatingAdmissionPolicyBinding) (errs field.ErrorList) {
	at := field.NewPath("spec")
	errs = append(errs, validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at)...)
	at = at.Child("validationActions")
	if len(b.Spec.ValidationActions) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	again := api.Again[admissionv1.ValidationAction]()
	for i, a := range b.Spec.ValidationActions {
		errs = append(errs, supported(&a, actions, at.Index(i))...)
		if again(a) {
			errs = append(errs, field.Duplicate(at.Index(i), a))
		}
	}
	if slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) && slices.Contains(b.Spec.ValidationActions, admissionv1.Warn) {
		errs = append(errs, field.Invalid(at, b.Spec.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}

func validateBinding(policy string, ref *admissionv1.ParamRef, match *admissionv1.MatchResources, at *field.Path) (errs field.ErrorList) {
	if policy == "" {
		errs = append(errs, field.Required(at.Child("policyName"), ""))
	} else {
		for _, msg := range apivalidation.NameIsDNSSubdomain(policy, false) {
			errs = append(errs, field.Invalid(at.Child("policyName"), policy, msg))
		}
	}
	if ref != nil {
		errs = append(errs, validateParamRef(ref, at.Child("paramRef"))...)
	}
	if match != nil {
		errs = append(errs, validateMatch(match, at.Child("matchResources"))...)
	}
	return errs
}

func validateParamRef(r *admissionv1.ParamRef, at *field.Path) (errs field.ErrorList) {
	if r.Name != "" {
		for _, msg := range path.IsValidPathSegmentName(r.Name) { // what is named decides how it may be called
			errs = append(errs, field.Invalid(at.Child("name"), r.Name, msg))
		}
		if r.Selector != nil {
			errs = append(errs, field.Forbidden(at.Child("name"), `name and selector are mutually exclusive`))
		}
	}
	if r.Selector != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(r.Selector, noSelectorOption, at.Child("selector"))...)
	}
	if r.Name == "" && r.Selector == nil {
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	if r.ParameterNotFoundAction == nil || *r.ParameterNotFoundAction == "" {
		return append(errs, field.Required(at.Child("parameterNotFoundAction"), ""))
	}
	return append(errs, supported(r.ParameterNotFoundAction, notFound, at.Child("parameterNotFoundAction"))...)
}

func validateMutatingPolicy(p, _ *admissionv1.MutatingAdmissionPolicy) (errs field.ErrorList) {
	spec, at := &p.Spec, field.NewPath("spec")
	errs = append(errs, validatePolicy(spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints, spec.MatchConditions, spec.Variables, at)...)
	if spec.MatchConstraints != nil {
		errs = append(errs, validateMutated(spec.MatchConstraints.ResourceRules, at.Child("matchConstraints"))...)
	}
	if len(spec.Mutations) == 0 {
		errs = append(errs, field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	for i, m := range spec.Mutations {
		errs = append(errs, validateMutation(m, at.Child("mutations").Index(i))...)
	}
	if spec.ReinvocationPolicy == "" {
		errs = append(errs, field.Required(at.Child("reinvocationPolicy"), ""))
	} else {
		errs = append(errs, supported(&spec.ReinvocationPolicy, reinvocations, at.Child("reinvocationPolicy"))...)
	}
	return errs
}

// validateMutation wants exactly the one expression that the patch type names.
func validateMutation(m admissionv1.Mutation, at *field.Path) (errs field.ErrorList) {
	one := func(present bool, expression, name string, kind admissionv1.PatchType) {
		switch {
		case m.PatchType != kind && present:
			errs = append(errs, field.Invalid(at.Child(name), "{"+name+"}", fmt.Sprintf("must not be specified when patchType is %s", m.PatchType)))
		case m.PatchType == kind && !present:
			errs = append(errs, field.Required(at.Child(name), fmt.Sprintf("must be specified when patchType is %s", kind)))
		case present && strings.TrimSpace(expression) == "":
			errs = append(errs, field.Required(at.Child(name, "expression"), ""))
		}
	}
	if m.PatchType == "" {
		return append(errs, field.Required(at.Child("patchType"), ""))
	}
	if bad := supported(&m.PatchType, patchKind, at.Child("patchType")); len(bad) > 0 {
		return append(errs, bad...)
	}
	var apply, patch string
	if m.ApplyConfiguration != nil {
		apply = m.ApplyConfiguration.Expression
	}
	if m.JSONPatch != nil {
		patch = m.JSONPatch.Expression
	}
	one(m.ApplyConfiguration != nil, apply, "applyConfiguration", admissionv1.PatchTypeApplyConfiguration)
	one(m.JSONPatch != nil, patch, "jsonPatch", admissionv1.PatchTypeJSONPatch)
	return errs
}

func validateMutatingBinding(b, _ *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at)
	if b.Spec.MatchResources != nil {
		errs = append(errs, validateMutated(b.Spec.MatchResources.ResourceRules, at.Child("matchResources"))...)
	}
	return errs
}

// validateMutated: what is deleted cannot be changed before.
func validateMutated(rules []admissionv1.NamedRuleWithOperations, at *field.Path) (errs field.ErrorList) {
	said := sets.Set[admissionv1.OperationType]{}
	for i := range rules {
		for _, o := range rules[i].Operations {
			if !said.Has(o) {
				errs = append(errs, supported(&o, changing, at.Child("resourceRules", "operations"))...)
			}
			said.Insert(o)
		}
	}
	return errs
}
