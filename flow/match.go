package flow

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// find is the first schema that has the request.
func (r *rules) find(a *authz.Attributes) *schema {
	for _, s := range r.schemas {
		for n := range s.spec.Rules {
			if matches(&s.spec.Rules[n], a) {
				return s
			}
		}
	}
	return nil
}

// matches: one subject and one rule are enough. Source: flowcontrol/v1, PolicyRulesWithSubjects.
func matches(r *flowcontrolv1.PolicyRulesWithSubjects, a *authz.Attributes) bool {
	return slices.ContainsFunc(r.Subjects, func(s flowcontrolv1.Subject) bool { return isSubject(&s, a) }) && covers(r, a)
}

func covers(r *flowcontrolv1.PolicyRulesWithSubjects, a *authz.Attributes) bool {
	if !a.ResourceRequest {
		for n := range r.NonResourceRules {
			rule := &r.NonResourceRules[n]
			if has(rule.Verbs, a.Verb) && slices.ContainsFunc(rule.NonResourceURLs, func(u string) bool {
				prefix, open := strings.CutSuffix(u, "*")
				return u == a.Path || open && strings.HasPrefix(a.Path, prefix)
			}) {
				return true
			}
		}
		return false
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	for n := range r.ResourceRules {
		rule := &r.ResourceRules[n]
		if has(rule.Verbs, a.Verb) && has(rule.APIGroups, a.Group) && has(rule.Resources, resource) &&
			(a.Namespace == "" && rule.ClusterScope || a.Namespace != "" && has(rule.Namespaces, a.Namespace)) {
			return true
		}
	}
	return false
}

func has(all []string, one string) bool {
	return slices.Contains(all, one) || slices.Contains(all, "*")
}

func isSubject(s *flowcontrolv1.Subject, a *authz.Attributes) bool {
	switch {
	case s.User != nil:
		return s.User.Name == "*" || s.User.Name == a.User.Username
	case s.Group != nil:
		return s.Group.Name == "*" || slices.Contains(a.User.Groups, s.Group.Name)
	case s.ServiceAccount != nil:
		account, ok := strings.CutPrefix(a.User.Username, "system:serviceaccount:")
		if !ok {
			return false
		}
		namespace, name, _ := strings.Cut(account, ":")
		return s.ServiceAccount.Namespace == namespace && (s.ServiceAccount.Name == "*" || s.ServiceAccount.Name == name)
	}
	return false
}
