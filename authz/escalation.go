package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Nobody grants what they do not hold: a role's rules, and the rules of a role that is bound, must be covered by those of the
// writer, unless the writer may "escalate" or "bind" that role. Source: Using RBAC Authorization, Privilege
// escalation prevention.

// CheckRole reports why a user may not write a Role (namespace given) or ClusterRole with these rules; nil: they
// may. a judges the verb "escalate". The error's text is what the Forbidden status of the role says.
func (r *RBAC) CheckRole(ctx context.Context, a Authorizer, user *authenticationv1.UserInfo, namespace, name string, rules []rbacv1.PolicyRule) error {
	if slices.Contains(user.Groups, SuperGroup) || len(rules) == 0 {
		return nil
	}
	if r.may(ctx, a, user, "escalate", namespace, kindOf(namespace), name) {
		return nil
	}
	return r.CheckEscalation(user, namespace, rules)
}

// CheckBinding reports why a user may not write a RoleBinding (namespace given) or ClusterRoleBinding to a role. A role that
// is not there is a *RoleNotFound, which the registry answers with 404.
func (r *RBAC) CheckBinding(ctx context.Context, a Authorizer, user *authenticationv1.UserInfo, namespace string, role rbacv1.RoleRef) error {
	if slices.Contains(user.Groups, SuperGroup) || r.may(ctx, a, user, "bind", namespace, role.Kind, role.Name) {
		return nil
	}
	rules, err := r.rules(role, namespace)
	if err != nil {
		return err
	}
	return r.CheckEscalation(user, namespace, rules)
}

func kindOf(namespace string) string {
	if namespace == "" {
		return "ClusterRole"
	}
	return "Role"
}

// may asks for a verb on one role.
func (r *RBAC) may(ctx context.Context, a Authorizer, user *authenticationv1.UserInfo, verb, namespace, kind, name string) bool {
	d, _, _ := a.Authorize(ctx, Attributes{User: *user, Verb: verb, ResourceRequest: true, Namespace: namespace,
		Group: rbacv1.GroupName, Version: "v1", Resource: strings.ToLower(kind) + "s", Name: name})
	return d == Allow
}

// CheckEscalation reports which of the rules a user does not hold in a namespace, "" being the whole cluster.
func (r *RBAC) CheckEscalation(user *authenticationv1.UserInfo, namespace string, rules []rbacv1.PolicyRule) error {
	held, errs := r.RulesFor(user, namespace)
	ok, missing := validation.Covers(held, rules)
	if ok {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		if line := describe(rule); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s", user.Username, user.Groups, strings.Join(lines, "\n"))
	if len(errs) > 0 {
		message += fmt.Sprintf("; resolution errors: %v", errs)
	}
	return fmt.Errorf("%s", message)
}

// compact joins rules that differ in their verbs only, if each is about one resource.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	at := map[string]int{}
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		if len(r.APIGroups) == 1 && len(r.Resources) == 1 && len(r.NonResourceURLs) == 0 && len(r.ResourceNames) <= 1 {
			key := fmt.Sprintf("%q", [][]string{r.APIGroups, r.Resources, r.ResourceNames})
			if i, ok := at[key]; ok {
				out[i].Verbs = append(slices.Clip(out[i].Verbs), r.Verbs...)
				continue
			}
			at[key] = len(out)
		}
		out = append(out, r)
	}
	return out
}

// describe is a rule on one line.
func describe(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs}, {"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs}} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
