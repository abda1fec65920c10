// Package rbac holds the records of rbac.authorization.k8s.io/v1.
package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{ClusterRoleBinding, ClusterRole, RoleBinding, Role}

const group, version = rbacv1.GroupName, "v1"

// validateName: names of roles and bindings are path segments ("system:node").
func validateName(name string, prefix bool) []string {
	if prefix {
		return path.IsValidPathSegmentPrefix(name)
	}
	return path.IsValidPathSegmentName(name)
}

// created is the cell of the column Created At.
func created(t metav1.Time) any { return t.UTC().Format(time.RFC3339) }
