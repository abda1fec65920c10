package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// MutatingAdmissionPolicyBinding puts a mutating policy into effect.
var MutatingAdmissionPolicyBinding = api.Define(api.Resource[*admissionv1.MutatingAdmissionPolicyBinding]{
	Group: group, Version: version, Plural: "mutatingadmissionpolicybindings", Categories: categories, Scope: api.Cluster, AnyFinalizer: true,
	Default:      func(b *admissionv1.MutatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
	Validate:     validateMutatingBinding,
	GenerationOf: func(b *admissionv1.MutatingAdmissionPolicyBinding) any { return &b.Spec },
	Columns: []api.Column[*admissionv1.MutatingAdmissionPolicyBinding]{
		{Name: "PolicyName", Help: "PolicyName indicates the policy definition which the policy binding binded to",
			Show: func(b *admissionv1.MutatingAdmissionPolicyBinding) any { return b.Spec.PolicyName }},
		{Name: "ParamRef", Help: "ParamRef indicates the param resource which sets the configuration param",
			Show: func(b *admissionv1.MutatingAdmissionPolicyBinding) any { return showParamRef(b.Spec.ParamRef) }},
	},
})
