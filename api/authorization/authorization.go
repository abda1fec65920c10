// Package authorization holds the records of authorization.k8s.io/v1. Its
// resources are computed by the authorizer; nothing is stored.
package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview}

const group, version = authorizationv1.GroupName, "v1"

var createOnly = []string{"create"}
