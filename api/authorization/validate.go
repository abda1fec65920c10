package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// validateSpec checks who is asked about and what. Source: type comments of SubjectAccessReviewSpec.
func validateSpec(spec authorizationv1.SubjectAccessReviewSpec, meta *metav1.ObjectMeta) field.ErrorList {
	errs := validateAttributes(spec.ResourceAttributes, spec.NonResourceAttributes)
	if len(spec.User) == 0 && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return append(errs, validateBare(meta)...)
}

// validateAttributes wants exactly one of the two.
func validateAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) (errs field.ErrorList) {
	path := field.NewPath("spec")
	switch {
	case r != nil && n != nil, r == nil && n == nil:
		errs = append(errs, field.Invalid(path, api.GoNames(n), "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if r != nil {
		errs = append(errs, validateSelectors(r, path.Child("resourceAttributes"))...)
	}
	return errs
}

func validateSelectors(r *authorizationv1.ResourceAttributes, path *field.Path) (errs field.ErrorList) {
	if s := r.FieldSelector; s != nil {
		at := path.Child("fieldSelector")
		errs = append(errs, oneSelector(s.RawSelector, len(s.Requirements), at)...)
		for i, req := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(req, metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		at := path.Child("labelSelector")
		errs = append(errs, oneSelector(s.RawSelector, len(s.Requirements), at)...)
		for i, req := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(req, metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at.Child("requirements").Index(i))...)
		}
	}
	return errs
}

// oneSelector wants either a raw selector or requirements.
func oneSelector(raw string, requirements int, at *field.Path) (errs field.ErrorList) {
	switch {
	case raw != "" && requirements > 0:
		errs = append(errs, field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
	case raw == "" && requirements == 0:
		errs = append(errs, field.Required(at.Child("requirements"), "when "+at.String()+" is specified, requirements or rawSelector is required"))
	}
	return errs
}

// validateBare wants no metadata but what the request path and managed fields gave.
func validateBare(meta *metav1.ObjectMeta) field.ErrorList {
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{Namespace: meta.Namespace, ManagedFields: meta.ManagedFields}, *meta) {
		return nil
	}
	if meta.Namespace != "" {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), *meta, "must be empty except for namespace")}
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), *meta, "must be empty")}
}

// validateLocal wants the namespace asked about to be the review's own.
func validateLocal(r, _ *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := validateSpec(r.Spec, &r.ObjectMeta)
	if r.Spec.ResourceAttributes != nil && r.Spec.ResourceAttributes.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Spec.ResourceAttributes.Namespace, "must match metadata.namespace"))
	}
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), api.GoNames(r.Spec.NonResourceAttributes), "disallowed on this kind of request"))
	}
	return errs
}
