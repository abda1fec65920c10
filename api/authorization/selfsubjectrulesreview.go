package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/lighter-k8s/lighter/api"
)

// SelfSubjectRulesReview lists what the caller may do in a namespace.
var SelfSubjectRulesReview = api.Define(api.Resource[*authorizationv1.SelfSubjectRulesReview]{
	Group: group, Version: version, Plural: "selfsubjectrulesreviews",
	Scope: api.Cluster, AnyFinalizer: true, Verbs: createOnly, Virtual: true,
})
