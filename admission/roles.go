package admission

import (
	"context"
	"errors"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/authz"
)

// Escalation lets nobody write a role, or a binding to one, that grants more than they hold. (Upstream does it in the
// resource's storage; here it stands with the other rules.) Source: RBAC, Privilege escalation prevention.
func Escalation(r *authz.RBAC, a authz.Authorizer) Plugin {
	return Plugin{Name: "Escalation", Validate: func(ctx context.Context, at *Attributes) error {
		if at.Operation == Delete || at.Subresource != "" || at.Info.Group != rbacv1.GroupName {
			return nil
		}
		var err error
		switch o := at.Object.(type) {
		case *rbacv1.Role:
			err = r.CheckRole(ctx, a, &at.User, o.Namespace, o.Name, o.Rules)
		case *rbacv1.ClusterRole:
			if err = r.CheckRole(ctx, a, &at.User, "", o.Name, o.Rules); o.AggregationRule != nil && r.CheckRole(ctx, a, &at.User, "", o.Name, everything) != nil {
				err = errors.New("must have cluster-admin privileges to use the aggregationRule") // they aggregate whatever others will write
			}
		case *rbacv1.RoleBinding:
			err = r.CheckBinding(ctx, a, &at.User, o.Namespace, o.RoleRef)
		case *rbacv1.ClusterRoleBinding:
			err = r.CheckBinding(ctx, a, &at.User, "", o.RoleRef)
		}
		var missing *authz.RoleNotFound
		switch {
		case err == nil:
			return nil
		case errors.As(err, &missing):
			return apierrors.NewNotFound(rbacv1.Resource(strings.ToLower(missing.Kind)+"s"), missing.Name)
		}
		return apierrors.NewForbidden(at.Info.GroupResource(), at.Name, err)
	}}
}

// everything is the rule of those who may do all.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}
