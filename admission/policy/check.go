package policy

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/api"
)

// checker compiles a policy's variables for the expressions that use them.
func checker(list []admissionv1.Variable, o cel.OptionalVariableDeclarations, at *field.Path, b *expression.Budget) (*cel.CompositedCompiler, field.ErrorList) {
	c, err := cel.NewCompositedCompiler(expression.Environment())
	if err != nil {
		return nil, field.ErrorList{field.InternalError(at, err)}
	}
	var errs field.ErrorList
	for n, v := range variables(list) {
		if strings.TrimSpace(v.GetExpression()) == "" {
			continue // which the record's own rules say
		}
		at := at.Child("variables").Index(n).Child("expression")
		ok, said := b.Spend(v.GetExpression(), at)
		if ok {
			said = expression.Complain(c.CompileAndStoreVariable(v, o, environment.NewExpressions).Error, v.GetExpression(), at)
		}
		errs = append(errs, said...)
	}
	return c, errs
}

// CheckValidating complains about a ValidatingAdmissionPolicy whose expressions do not compile; one whose spec does not change is not looked at.
func CheckValidating(obj, old api.Object) (errs field.ErrorList) {
	p, at := obj.(*admissionv1.ValidatingAdmissionPolicy), field.NewPath("spec")
	if old != nil && old.GetGeneration() == obj.GetGeneration() {
		return nil
	}
	o := cel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	b := &expression.Budget{}
	c, errs := checker(p.Spec.Variables, o, at, b)
	if c == nil {
		return errs
	}
	errs = append(errs, expression.CheckConditions(p.Spec.MatchConditions, nil, o, at.Child("matchConditions"), b)...)
	for n, v := range p.Spec.Validations {
		at := at.Child("validations").Index(n)
		errs = append(errs, expression.Check(c, &expression.Says{Expression: v.Expression, Types: yesOrNo}, o, at.Child("expression"), b)...)
		errs = append(errs, expression.Check(c, &expression.Says{Expression: v.MessageExpression, Types: words}, cel.OptionalVariableDeclarations{HasParams: o.HasParams},
			at.Child("messageExpression"), b)...)
	}
	for n, v := range p.Spec.AuditAnnotations {
		errs = append(errs, expression.Check(c, &expression.Says{Expression: v.ValueExpression, Types: noted}, o, at.Child("auditAnnotations").Index(n).Child("valueExpression"), b)...)
	}
	return errs
}

// CheckMutating is CheckValidating for a MutatingAdmissionPolicy.
func CheckMutating(obj, old api.Object) (errs field.ErrorList) {
	p, at := obj.(*admissionv1.MutatingAdmissionPolicy), field.NewPath("spec")
	if old != nil && old.GetGeneration() == obj.GetGeneration() {
		return nil
	}
	o := cel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	b := &expression.Budget{}
	c, errs := checker(p.Spec.Variables, o, at, b)
	if c == nil {
		return errs
	}
	errs = append(errs, expression.CheckConditions(p.Spec.MatchConditions, nil, o, at.Child("matchConditions"), b)...)
	o.HasPatchTypes = true
	for n, m := range p.Spec.Mutations {
		at := at.Child("mutations").Index(n)
		if m.ApplyConfiguration != nil && m.PatchType == admissionv1.PatchTypeApplyConfiguration {
			errs = append(errs, expression.Check(c, &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, o, at.Child("applyConfiguration", "expression"), b)...)
		}
		if m.JSONPatch != nil && m.PatchType == admissionv1.PatchTypeJSONPatch {
			errs = append(errs, expression.Check(c, &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, o, at.Child("jsonPatch", "expression"), b)...)
		}
	}
	return errs
}
