package authz

import (
	"fmt"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/lighter-k8s/lighter/client"
)

// AutoupdateAnnotation set to "false" keeps a default role or binding as it is.
const AutoupdateAnnotation = "rbac.authorization.kubernetes.io/autoupdate"

// Change is what Reconcile wants done.
type Change int

// A binding's role cannot change: it is deleted and created again.
const (
	Keep Change = iota
	Create
	Update
	Recreate
)

// Reconcile compares a default role or binding with the one of that name in the cluster (nil: there is none), both of one
// of the four kinds. What a default has and the cluster's lacks is added; what the cluster's has beside it
// stays. The object is a new one. Source: Using RBAC Authorization, Auto-reconciliation.
func Reconcile(existing, wanted client.Object) (Change, client.Object) {
	if existing == nil {
		return Create, wanted
	}
	if existing.GetAnnotations()[AutoupdateAnnotation] == "false" {
		return Keep, existing
	}
	out := existing.DeepCopyObject().(client.Object)
	out.SetLabels(under(wanted.GetLabels(), out.GetLabels()))
	out.SetAnnotations(under(wanted.GetAnnotations(), out.GetAnnotations()))
	change := Update
	switch w := wanted.(type) {
	case *rbacv1.ClusterRole:
		o := out.(*rbacv1.ClusterRole)
		if w.AggregationRule == nil {
			o.Rules = addRules(o.Rules, w.Rules)
		} else {
			o.AggregationRule = addSelectors(o.AggregationRule, w.AggregationRule)
		}
	case *rbacv1.Role:
		o := out.(*rbacv1.Role)
		o.Rules = addRules(o.Rules, w.Rules)
	case *rbacv1.ClusterRoleBinding:
		o := out.(*rbacv1.ClusterRoleBinding)
		o.Subjects = addSubjects(o.Subjects, w.Subjects)
		if o.RoleRef != w.RoleRef {
			o.RoleRef, change = w.RoleRef, Recreate
		}
	case *rbacv1.RoleBinding:
		o := out.(*rbacv1.RoleBinding)
		o.Subjects = addSubjects(o.Subjects, w.Subjects)
		if o.RoleRef != w.RoleRef {
			o.RoleRef, change = w.RoleRef, Recreate
		}
	default:
		panic(fmt.Sprintf("authz: %T is neither a role nor a binding", wanted))
	}
	if equality.Semantic.DeepEqual(existing, out) {
		return Keep, existing
	}
	if change == Recreate {
		out.SetResourceVersion("")
		out.SetUID("")
	}
	return change, out
}

// under is the union of two maps; theirs wins.
func under(ours, theirs map[string]string) map[string]string {
	out := maps.Clone(ours)
	if out == nil {
		return theirs
	}
	maps.Copy(out, theirs)
	return out
}

func addRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := validation.Covers(have, want)
	return append(have, missing...)
}

func addSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}

func addSelectors(have, want *rbacv1.AggregationRule) *rbacv1.AggregationRule {
	if have == nil {
		have = &rbacv1.AggregationRule{}
	}
	for _, s := range want.ClusterRoleSelectors {
		known := false
		for _, h := range have.ClusterRoleSelectors {
			known = known || equality.Semantic.DeepEqual(s, h)
		}
		if !known {
			have.ClusterRoleSelectors = append(have.ClusterRoleSelectors, s)
		}
	}
	return have
}
