package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/lighter-k8s/lighter/api"
)

// LocalSubjectAccessReview asks whether somebody may do something in one namespace.
var LocalSubjectAccessReview = api.Define(api.Resource[*authorizationv1.LocalSubjectAccessReview]{
	Group: group, Version: version, Plural: "localsubjectaccessreviews",
	Scope: api.Namespaced, AnyFinalizer: true, Verbs: createOnly, Virtual: true,
	Validate: validateLocal,
})
