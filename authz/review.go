package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Review answers a SubjectAccessReview's spec; for a SelfSubjectAccessReview the caller fills in user, groups, UID and extra
// from the request's own user (SelfSpec).
func Review(ctx context.Context, a Authorizer, s authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	d, reason, err := a.Authorize(ctx, attributesOf(s))
	out := authorizationv1.SubjectAccessReviewStatus{Allowed: d == Allow, Denied: d == Deny, Reason: reason}
	if err != nil {
		out.EvaluationError = err.Error()
	}
	if r := s.ResourceAttributes; r != nil { // a selector that cannot be read narrows nothing
		for _, bad := range []struct {
			name string
			is   bool
		}{{"fieldSelector", badFields(r.FieldSelector)}, {"labelSelector", badLabels(r.LabelSelector)}} {
			if bad.is {
				out.EvaluationError = strings.TrimPrefix(out.EvaluationError+"; spec.resourceAttributes."+bad.name+" ignored due to parse error", "; ")
			}
		}
	}
	return out
}

// SelfSpec is a SelfSubjectAccessReview's spec as that of a review of this user.
func SelfSpec(user *authenticationv1.UserInfo, s authorizationv1.SelfSubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewSpec {
	out := authorizationv1.SubjectAccessReviewSpec{User: user.Username, Groups: user.Groups, UID: user.UID,
		ResourceAttributes: s.ResourceAttributes, NonResourceAttributes: s.NonResourceAttributes}
	if len(user.Extra) > 0 {
		out.Extra = map[string]authorizationv1.ExtraValue{}
		for k, v := range user.Extra {
			out.Extra[k] = authorizationv1.ExtraValue(v)
		}
	}
	return out
}

func attributesOf(s authorizationv1.SubjectAccessReviewSpec) Attributes {
	a := Attributes{User: authenticationv1.UserInfo{Username: s.User, Groups: s.Groups, UID: s.UID}}
	if len(s.Extra) > 0 {
		a.User.Extra = map[string]authenticationv1.ExtraValue{}
		for k, v := range s.Extra {
			a.User.Extra[k] = authenticationv1.ExtraValue(v)
		}
	}
	if r := s.ResourceAttributes; r != nil {
		a.ResourceRequest = true
		a.Verb, a.Namespace, a.Group, a.Version = r.Verb, r.Namespace, r.Group, r.Version
		a.Resource, a.Subresource, a.Name = r.Resource, r.Subresource, r.Name
		a.FieldSelector, a.LabelSelector = fieldSelector(r.FieldSelector), labelSelector(r.LabelSelector)
	} else if r := s.NonResourceAttributes; r != nil {
		a.Verb, a.Path = r.Verb, r.Path
	}
	return a
}

// fieldSelector writes the requirements that one field equals one value as a selector; the others only narrow, and
// leaving them out asks for more than was asked.
func fieldSelector(s *authorizationv1.FieldSelectorAttributes) string {
	if s == nil {
		return ""
	}
	if s.RawSelector != "" {
		if badFields(s) {
			return ""
		}
		return s.RawSelector
	}
	var parts []string
	for _, r := range s.Requirements {
		if r.Operator == v1.FieldSelectorOpIn && len(r.Values) == 1 {
			parts = append(parts, r.Key+"="+escape.Replace(r.Values[0]))
		}
	}
	return strings.Join(parts, ",")
}

func badFields(s *authorizationv1.FieldSelectorAttributes) bool {
	if s == nil || s.RawSelector == "" {
		return false
	}
	_, err := fields.ParseSelector(s.RawSelector)
	return err != nil
}

func badLabels(s *authorizationv1.LabelSelectorAttributes) bool {
	if s == nil || s.RawSelector == "" {
		return false
	}
	_, err := labels.Parse(s.RawSelector)
	return err != nil
}

var escape = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `=`, `\=`)

func labelSelector(s *authorizationv1.LabelSelectorAttributes) string {
	if s == nil {
		return ""
	}
	if s.RawSelector != "" {
		if badLabels(s) {
			return ""
		}
		return s.RawSelector
	}
	var all []v1.LabelSelectorRequirement
	for _, r := range s.Requirements {
		all = append(all, v1.LabelSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: r.Values})
	}
	return v1.FormatLabelSelector(&v1.LabelSelector{MatchExpressions: all})
}

// Rules answers a SelfSubjectRulesReview: what the user may do in a namespace, as far as roles say it.
func (r *RBAC) Rules(user *authenticationv1.UserInfo, namespace string) authorizationv1.SubjectRulesReviewStatus {
	rules, errs := r.RulesFor(user, namespace)
	out := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, rule := range append(superRules(user), rules...) {
		if len(rule.Resources) > 0 {
			out.ResourceRules = append(out.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			out.NonResourceRules = append(out.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	if _, isNode := nodeName(user); isNode {
		errs = append(errs, errors.New("node authorizer does not support user rule resolution"))
	}
	if len(errs) > 0 {
		out.Incomplete = true
		out.EvaluationError = fmt.Sprint(errors.Join(errs...))
	}
	return out
}

// superRules are what membership of SuperGroup grants beside all roles.
func superRules(user *authenticationv1.UserInfo) []rbacv1.PolicyRule {
	if !slices.Contains(user.Groups, SuperGroup) {
		return nil
	}
	return []rbacv1.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
	}
}
