package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ValidatingAdmissionPolicyBinding puts a validating policy into effect.
var ValidatingAdmissionPolicyBinding = api.Define(api.Resource[*admissionv1.ValidatingAdmissionPolicyBinding]{
	Group: group, Version: version, Plural: "validatingadmissionpolicybindings", Categories: categories, Scope: api.Cluster, AnyFinalizer: true,
	Default:      func(b *admissionv1.ValidatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
	Validate:     validateValidatingBinding,
	GenerationOf: func(b *admissionv1.ValidatingAdmissionPolicyBinding) any { return &b.Spec },
	Columns: []api.Column[*admissionv1.ValidatingAdmissionPolicyBinding]{
		{Name: "PolicyName", Help: "PolicyName indicates the policy definition which the policy binding binded to",
			Show: func(b *admissionv1.ValidatingAdmissionPolicyBinding) any { return b.Spec.PolicyName }},
		{Name: "ParamRef", Help: "ParamRef indicates the param resource which sets the configuration param",
			Show: func(b *admissionv1.ValidatingAdmissionPolicyBinding) any { return showParamRef(b.Spec.ParamRef) }},
	},
})
