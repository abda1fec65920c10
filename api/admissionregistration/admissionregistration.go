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
	api.Renamed[*admissionv1alpha1.MutatingAdmissionPolicyBinding](MutatingAdmissionPolicyBinding, "v1alpha1"),
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
