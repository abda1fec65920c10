package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ClusterRole says what may be done anywhere, or wherever it is bound.
var ClusterRole = api.Define(api.Resource[*rbacv1.ClusterRole]{
	Group: group, Version: version, Plural: "clusterroles", Scope: api.Cluster,
	ValidateName: validateName,
	Validate:     validateClusterRole,
	Columns: []api.Column[*rbacv1.ClusterRole]{
		{Name: "Name"},
		{Name: "Created At", Type: "date", Help: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
			Show: func(r *rbacv1.ClusterRole) any { return created(r.CreationTimestamp) }},
	},
})

func validateClusterRole(r, _ *rbacv1.ClusterRole) field.ErrorList {
	errs := validateRules(r.Rules, false, field.NewPath("rules"))
	if a := r.AggregationRule; a != nil {
		path := field.NewPath("aggregationRule", "clusterRoleSelectors")
		if len(a.ClusterRoleSelectors) == 0 {
			errs = append(errs, field.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
		}
		for i := range a.ClusterRoleSelectors {
			bad := metav1validation.ValidateLabelSelector(&a.ClusterRoleSelectors[i], metav1validation.LabelSelectorValidationOptions{}, path.Index(i))
			errs = append(errs, bad...)
			if _, err := metav1.LabelSelectorAsSelector(&a.ClusterRoleSelectors[i]); err != nil {
				errs = append(errs, field.Invalid(path.Index(i), nil, "invalid label selector."))
			}
		}
	}
	return errs
}
