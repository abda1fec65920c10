package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// SubjectAccessReview asks whether somebody may do something.
var SubjectAccessReview = api.Define(api.Resource[*authorizationv1.SubjectAccessReview]{
	Group: group, Version: version, Plural: "subjectaccessreviews",
	Scope: api.Cluster, AnyFinalizer: true, Verbs: createOnly, Virtual: true,
	Validate: func(r, _ *authorizationv1.SubjectAccessReview) field.ErrorList {
		return validateSpec(r.Spec, &r.ObjectMeta)
	},
})
