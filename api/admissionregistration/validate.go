package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateMutatingPolicy(p, old *admissionv1.MutatingAdmissionPolicy) (errs field.ErrorList) {
	return nil
}
func validateMutatingBinding(p, old *admissionv1.MutatingAdmissionPolicyBinding) (errs field.ErrorList) {
	return nil
}
func validateValidatingPolicy(p, old *admissionv1.ValidatingAdmissionPolicy) (errs field.ErrorList) {
	return nil
}
func validateValidatingPolicyStatus(p, old *admissionv1.ValidatingAdmissionPolicy) (errs field.ErrorList) {
	return nil
}
func validateValidatingBinding(p, old *admissionv1.ValidatingAdmissionPolicyBinding) (errs field.ErrorList) {
	return nil
}
func validateMutatingWebhooks(p, old *admissionv1.MutatingWebhookConfiguration) (errs field.ErrorList) {
	return nil
}
func validateValidatingWebhooks(p, old *admissionv1.ValidatingWebhookConfiguration) (errs field.ErrorList) {
	return nil
}
