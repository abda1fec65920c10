package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Role says what may be done to which resources of its namespace.
var Role = api.Define(api.Resource[*rbacv1.Role]{
	Group: group, Version: version, Plural: "roles", Scope: api.Namespaced,
	ValidateName: validateName,
	Validate: func(r, _ *rbacv1.Role) field.ErrorList {
		return validateRules(r.Rules, true, field.NewPath("rules"))
	},
	Columns: []api.Column[*rbacv1.Role]{
		{Name: "Name"},
		{Name: "Created At", Type: "date", Help: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
			Show: func(r *rbacv1.Role) any { return created(r.CreationTimestamp) }},
	},
})
