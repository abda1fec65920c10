// Package admissionregistration holds the records of
// admissionregistration.k8s.io/v1: what users add to admission.
package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{
	MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
	ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
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
