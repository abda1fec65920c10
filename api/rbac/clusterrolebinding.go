package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ClusterRoleBinding gives a cluster role's rights, everywhere, to subjects.
var ClusterRoleBinding = api.Define(api.Resource[*rbacv1.ClusterRoleBinding]{
	Group: group, Version: version, Plural: "clusterrolebindings", Scope: api.Cluster,
	ValidateName: validateName,
	Default:      func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
		errs := validateBinding(b.RoleRef, b.Subjects, false)
		if old != nil {
			errs = append(errs, validateSameRole(b.RoleRef, old.RoleRef)...)
		}
		return errs
	},
	Columns: bindingColumns("clusterRoleBinding", rbacv1beta1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"], func(b *rbacv1.ClusterRoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects }),
})
