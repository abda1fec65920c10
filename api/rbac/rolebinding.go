package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// RoleBinding gives a role's rights, within its namespace, to subjects.
var RoleBinding = api.Define(api.Resource[*rbacv1.RoleBinding]{
	Group: group, Version: version, Plural: "rolebindings", Scope: api.Namespaced,
	ValidateName: validateName,
	Default:      func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: func(b, old *rbacv1.RoleBinding) field.ErrorList {
		errs := validateBinding(b.RoleRef, b.Subjects, true)
		if old != nil {
			errs = append(errs, validateSameRole(b.RoleRef, old.RoleRef)...)
		}
		return errs
	},
	Columns: bindingColumns("roleBinding", rbacv1beta1.RoleBinding{}.SwaggerDoc()["roleRef"], func(b *rbacv1.RoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects }),
})
