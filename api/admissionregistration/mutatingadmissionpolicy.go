package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// MutatingAdmissionPolicy changes objects with CEL expressions before they are stored.
var MutatingAdmissionPolicy = api.Define(api.Resource[*admissionv1.MutatingAdmissionPolicy]{
	Group: group, Version: version, Plural: "mutatingadmissionpolicies", Categories: categories, Scope: api.Cluster, AnyFinalizer: true,
	Default: func(p *admissionv1.MutatingAdmissionPolicy) {
		defaultPolicy(&p.Spec.FailurePolicy, p.Spec.MatchConstraints)
	},
	Validate:     validateMutatingPolicy,
	GenerationOf: func(p *admissionv1.MutatingAdmissionPolicy) any { return &p.Spec },
	Columns: []api.Column[*admissionv1.MutatingAdmissionPolicy]{
		{Name: "Mutations", Type: "integer", Help: "Mutation indicates the number of mutations rules defined in this configuration",
			Show: func(p *admissionv1.MutatingAdmissionPolicy) any { return int64(len(p.Spec.Mutations)) }},
		{Name: "ParamKind", Help: "ParamKind specifies the kind of resources used to parameterize this policy",
			Show: func(p *admissionv1.MutatingAdmissionPolicy) any { return showParamKind(p.Spec.ParamKind) }},
	},
})
