// Package admissionregistration holds the records of
// admissionregistration.k8s.io/v1: what users add to admission.
package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	admissionv1alpha1 "k8s.io/api/admissionregistration/v1alpha1"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{
	MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
	ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
}

// Further are those of other versions, served when they are asked for (--runtime-config).
var Further = []*api.Info{
	api.Renamed[*admissionv1beta1.MutatingAdmissionPolicy](MutatingAdmissionPolicy, "v1beta1"),
	api.Renamed[*admissionv1beta1.MutatingAdmissionPolicyBinding](MutatingAdmissionPolicyBinding, "v1beta1"),
	api.Renamed[*admissionv1alpha1.MutatingAdmissionPolicy](MutatingAdmissionPolicy, "v1alpha1"),
	forgiving(api.Renamed[*admissionv1alpha1.MutatingAdmissionPolicyBinding](MutatingAdmissionPolicyBinding, "v1alpha1")),
}

// forgiving: in the first version whoever said nothing of missing params meant Deny.
func forgiving(i *api.Info) *api.Info {
	all := i.Default
	i.Default = func(o api.Object) {
		if b, ok := o.(*admissionv1alpha1.MutatingAdmissionPolicyBinding); ok && b.Spec.ParamRef != nil {
			fill(&b.Spec.ParamRef.ParameterNotFoundAction, admissionv1alpha1.DenyAction)
		}
		all(o)
	}
	return i
}

const group, version = admissionv1.GroupName, "v1"

var categories = []string{"api-extensions"}

// showParamKind and showParamRef are cells of policies and of bindings.
func showParamKind(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

func showParamRef(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return "<unset>"
	case r.Namespace != "":
		return r.Namespace + "/" + r.Name
	}
	return r.Name
}
