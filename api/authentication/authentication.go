// Package authentication holds the records of authentication.k8s.io/v1. Its
// resources are computed by the part that knows who is asking; nothing is stored.
package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{SelfSubjectReview, TokenReview}

const group, version = authenticationv1.GroupName, "v1"

var createOnly = []string{"create"}
