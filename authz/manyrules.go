package authz

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// manyRules are so many that an index of them pays.
const manyRules = 24

// index finds those few rules of a role that may speak of a resource.
type index struct {
	rules []rbacv1.PolicyRule // that it was made of
	named map[named][]*rbacv1.PolicyRule
	rest  []*rbacv1.PolicyRule // of paths, with a "*", or of very many resources
}

type named struct{ group, resource, subresource string }

func newIndex(rules []rbacv1.PolicyRule) *index {
	x := &index{rules: rules, named: map[named][]*rbacv1.PolicyRule{}}
	for i := range rules {
		r := &rules[i]
		if len(r.NonResourceURLs) > 0 || len(r.APIGroups)*len(r.Resources) > 100 || starred(r.APIGroups) || starred(r.Resources) {
			x.rest = append(x.rest, r)
			continue
		}
		for _, group := range r.APIGroups {
			for _, s := range r.Resources {
				resource, sub, _ := strings.Cut(s, "/")
				key := named{group, resource, sub}
				x.named[key] = append(x.named[key], r)
			}
		}
	}
	return x
}

func starred(list []string) bool {
	for _, s := range list {
		if strings.HasPrefix(s, "*") {
			return true
		}
	}
	return false
}

func (x *index) allows(a *Attributes) bool {
	if a.ResourceRequest {
		for _, r := range x.named[named{a.Group, a.Resource, a.Subresource}] {
			if allows(r, a) {
				return true
			}
		}
	}
	for _, r := range x.rest {
		if allows(r, a) {
			return true
		}
	}
	return false
}

// anyAllows reports whether one of a role's rules grants what is asked. Many of them are indexed, once for each version of the role.
func (r *RBAC) anyAllows(g grant, rules []rbacv1.PolicyRule, a *Attributes) bool {
	if len(rules) < manyRules {
		for i := range rules {
			if allows(&rules[i], a) {
				return true
			}
		}
		return false
	}
	key := g.roleKey()
	known, _ := r.indexes.Load(key)
	x, _ := known.(*index)
	if x == nil || &x.rules[0] != &rules[0] || len(x.rules) != len(rules) {
		x = newIndex(rules)
		r.indexes.Store(key, x)
	}
	return x.allows(a)
}

// roleKey is where the role of a binding is: a ClusterRole is in no namespace.
func (b *binding) roleKey() objectKey {
	if b.role.Kind == "ClusterRole" {
		return objectKey{name: b.role.Name}
	}
	return objectKey{b.namespace, b.role.Name}
}
