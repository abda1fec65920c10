package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ValidatingAdmissionPolicy refuses requests with CEL expressions.
var ValidatingAdmissionPolicy = api.Define(api.Resource[*admissionv1.ValidatingAdmissionPolicy]{
	Group: group, Version: version, Plural: "validatingadmissionpolicies", Categories: categories, Scope: api.Cluster, AnyFinalizer: true,
	Default: func(p *admissionv1.ValidatingAdmissionPolicy) {
		defaultPolicy(&p.Spec.FailurePolicy, p.Spec.MatchConstraints)
	},
	Prepare: func(p, old *admissionv1.ValidatingAdmissionPolicy) {
		if old == nil {
			p.Status = admissionv1.ValidatingAdmissionPolicyStatus{}
		}
	},
	Validate:     validateValidatingPolicy,
	GenerationOf: func(p *admissionv1.ValidatingAdmissionPolicy) any { return &p.Spec },
	Status: &api.Status[*admissionv1.ValidatingAdmissionPolicy]{
		Alone:    true,
		Copy:     func(dst, src *admissionv1.ValidatingAdmissionPolicy) { dst.Status = src.Status },
		Validate: validateValidatingPolicyStatus,
	},
	Columns: []api.Column[*admissionv1.ValidatingAdmissionPolicy]{
		{Name: "Validations", Type: "integer", Help: "Validations indicates the number of validation rules defined in this configuration",
			Show: func(p *admissionv1.ValidatingAdmissionPolicy) any { return int64(len(p.Spec.Validations)) }},
		{Name: "ParamKind", Help: "ParamKind specifies the kind of resources used to parameterize this policy",
			Show: func(p *admissionv1.ValidatingAdmissionPolicy) any { return showParamKind(p.Spec.ParamKind) }},
	},
})
