package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// validateRules checks the rules of a role; one in a namespace knows no URLs.
func validateRules(rules []rbacv1.PolicyRule, namespaced bool, path *field.Path) (errs field.ErrorList) {
	for i, r := range rules {
		at := path.Index(i)
		switch {
		case len(r.NonResourceURLs) > 0:
			if namespaced {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
			}
			if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
			}
		default:
			if len(r.APIGroups) == 0 {
				errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
			}
			if len(r.Resources) == 0 {
				errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
			}
		}
		if len(r.Verbs) == 0 {
			errs = append(errs, field.Required(at.Child("verbs"), ""))
		}
	}
	return errs
}

// defaultBinding fills in API groups as the type comments of RoleRef and Subject say.
func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

func validateBinding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool) (errs field.ErrorList) {
	path := field.NewPath("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(path.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	kinds := []string{"ClusterRole"}
	if namespaced {
		kinds = []string{"Role", "ClusterRole"}
	}
	if ref.Kind != "ClusterRole" && !(namespaced && ref.Kind == "Role") {
		errs = append(errs, field.NotSupported(path.Child("kind"), ref.Kind, kinds))
	}
	if ref.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		for _, msg := range validateName(ref.Name, false) {
			errs = append(errs, field.Invalid(path.Child("name"), ref.Name, msg))
		}
	}
	for i, s := range subjects {
		errs = append(errs, validateSubject(s, namespaced, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

func validateSubject(s rbacv1.Subject, namespaced bool, path *field.Path) (errs field.ErrorList) {
	switch s.Kind {
	case rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind:
	default:
		errs = append(errs, field.NotSupported(path.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
	if s.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	group := ""
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			for _, msg := range apivalidation.ValidateServiceAccountName(s.Name, false) {
				errs = append(errs, field.Invalid(path.Child("name"), s.Name, msg))
			}
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		group = rbacv1.GroupName
	default:
		return errs
	}
	if s.APIGroup != group {
		errs = append(errs, field.NotSupported(path.Child("apiGroup"), s.APIGroup, []string{group}))
	}
	// A service account without one is taken to be of the binding's own namespace.
	if s.Kind == rbacv1.ServiceAccountKind && !namespaced && s.Namespace == "" {
		errs = append(errs, field.Required(path.Child("namespace"), ""))
	}
	return errs
}

func validateSameRole(ref, old rbacv1.RoleRef) field.ErrorList {
	if ref == old {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), ref, "field is immutable")}
}

// bindingColumns are Role and, with -o wide, who it is bound to.
func bindingColumns[T api.Object](kind, role string, parts func(T) (rbacv1.RoleRef, []rbacv1.Subject)) []api.Column[T] {
	who := func(kind string) func(T) any {
		return func(o T) any {
			_, subjects := parts(o)
			var names []string
			for _, s := range subjects {
				switch {
				case s.Kind != kind:
				case kind == rbacv1.ServiceAccountKind:
					names = append(names, s.Namespace+"/"+s.Name)
				default:
					names = append(names, s.Name)
				}
			}
			return strings.Join(names, ", ")
		}
	}
	return []api.Column[T]{
		{Name: "Role", Help: role, Show: func(o T) any {
			ref, _ := parts(o)
			return ref.Kind + "/" + ref.Name
		}},
		{Name: "Users", Priority: 1, Help: "Users in the " + kind, Show: who(rbacv1.UserKind)},
		{Name: "Groups", Priority: 1, Help: "Groups in the " + kind, Show: who(rbacv1.GroupKind)},
		{Name: "ServiceAccounts", Priority: 1, Help: "ServiceAccounts in the " + kind, Show: who(rbacv1.ServiceAccountKind)},
	}
}
