package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lighter-k8s/lighter/api"
)

// SelfSubjectReview tells the caller who the server takes it for.
var SelfSubjectReview = api.Define(api.Resource[*authenticationv1.SelfSubjectReview]{
	Group: group, Version: version, Plural: "selfsubjectreviews",
	Scope: api.Cluster, AnyFinalizer: true, Verbs: createOnly, Virtual: true,
})
