package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// SelfSubjectAccessReview asks whether the caller may do something.
var SelfSubjectAccessReview = api.Define(api.Resource[*authorizationv1.SelfSubjectAccessReview]{
	Group: group, Version: version, Plural: "selfsubjectaccessreviews",
	Scope: api.Cluster, AnyFinalizer: true, Verbs: createOnly, Virtual: true,
	Validate: func(r, _ *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
		errs := validateAttributes(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
		return append(errs, validateBare(&r.ObjectMeta)...)
	},
})
