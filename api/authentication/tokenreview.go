package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lighter-k8s/lighter/api"
)

// TokenReview asks whether a bearer token is good and whose it is.
var TokenReview = api.Define(api.Resource[*authenticationv1.TokenReview]{
	Group: group, Version: version, Plural: "tokenreviews",
	Scope: api.Cluster, AnyFinalizer: true, Verbs: createOnly, Virtual: true,
})
