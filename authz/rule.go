package authz

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// allows reports whether one rule grants what is asked. Source: comments of rbac/v1.PolicyRule.
func allows(r *rbacv1.PolicyRule, a *Attributes) bool {
	if !has(r.Verbs, a.Verb) {
		return false
	}
	if !a.ResourceRequest {
		return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool { return matchesPath(url, a.Path) })
	}
	return has(r.APIGroups, a.Group) && matchesResource(r.Resources, a) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

// has reports whether a list names the value or everything.
func has(list []string, value string) bool {
	for _, s := range list {
		if s == value || s == "*" {
			return true
		}
	}
	return false
}

// matchesResource: "*" is every resource and subresource, "pods/log" one subresource, "*/scale" that one of every resource.
func matchesResource(list []string, a *Attributes) bool {
	for _, s := range list {
		if s == "*" {
			return true
		}
		resource, sub, _ := strings.Cut(s, "/")
		if sub == a.Subresource && (resource == a.Resource || resource == "*" && sub != "") {
			return true
		}
	}
	return false
}

// matchesPath: a "*" at the end stands for any rest.
func matchesPath(url, path string) bool {
	if prefix, ok := strings.CutSuffix(url, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return url == path
}
