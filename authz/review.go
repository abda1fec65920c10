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
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
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
		_, fields := fieldSelector(r.FieldSelector)
		_, labels := labelSelector(r.LabelSelector)
		for _, part := range []struct{ name, ignored string }{{"fieldSelector", fields}, {"labelSelector", labels}} {
			if part.ignored != "" {
				out.EvaluationError = strings.TrimPrefix(out.EvaluationError+"; spec.resourceAttributes."+part.name+" "+part.ignored+" due to parse error", "; ")
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
		a.FieldSelector, _ = fieldSelector(r.FieldSelector)
		a.LabelSelector, _ = labelSelector(r.LabelSelector)
	} else if r := s.NonResourceAttributes; r != nil {
		a.Verb, a.Path = r.Verb, r.Path
	}
	return a
}

// fieldSelector is what is asked as a selector: one field equals, or does not, one value. What cannot be read is left out, which asks for
// more than was asked: ignored says so.
func fieldSelector(s *authorizationv1.FieldSelectorAttributes) (selector, ignored string) {
	if s == nil {
		return "", ""
	}
	if s.RawSelector != "" {
		return readable(s.RawSelector, func(text string) error { _, err := fields.ParseSelector(text); return err })
	}
	var parts []string
	for _, r := range s.Requirements {
		equals := map[v1.FieldSelectorOperator]string{v1.FieldSelectorOpIn: "=", v1.FieldSelectorOpNotIn: "!="}[r.Operator]
		if equals != "" && len(r.Values) == 1 {
			parts = append(parts, r.Key+equals+escape.Replace(r.Values[0]))
		}
	}
	return strings.Join(parts, ","), missing(len(s.Requirements), len(parts))
}

// labelSelector is the same of labels.
func labelSelector(s *authorizationv1.LabelSelectorAttributes) (selector, ignored string) {
	if s == nil {
		return "", ""
	}
	if s.RawSelector != "" {
		return readable(s.RawSelector, func(text string) error { _, err := labels.Parse(text); return err })
	}
	var read []v1.LabelSelectorRequirement
	for _, r := range s.Requirements {
		one := v1.LabelSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: r.Values}
		if _, err := v1.LabelSelectorAsSelector(&v1.LabelSelector{MatchExpressions: []v1.LabelSelectorRequirement{one}}); err == nil {
			read = append(read, one)
		}
	}
	if len(read) > 0 {
		selector = v1.FormatLabelSelector(&v1.LabelSelector{MatchExpressions: read})
	}
	return selector, missing(len(s.Requirements), len(read))
}

// mostSelector is how many bytes a selector may have: parsing takes some hundred times as much.
const mostSelector = 32 << 10

func readable(text string, parse func(string) error) (selector, ignored string) {
	if len(text) > mostSelector || parse(text) != nil {
		return "", "ignored"
	}
	return text, ""
}

func missing(asked, read int) string {
	switch {
	case read == asked:
		return ""
	case read == 0:
		return "ignored"
	}
	return "partially ignored"
}

var escape = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `=`, `\=`)

// rulesOf is who can say what a user may do.
type rulesOf struct {
	rbac *RBAC // nil: it is not asked
	node bool
	more []rbacv1.PolicyRule // of others
	errs []error             // of those who cannot say
}

func (o *rulesOf) status(user *authenticationv1.UserInfo, namespace string) authorizationv1.SubjectRulesReviewStatus {
	rules, errs := o.more, o.errs
	if o.rbac != nil {
		more, missing := o.rbac.RulesFor(user, namespace)
		rules, errs = append(rules, more...), append(errs, missing...)
	}
	for _, super := range superRules(user) {
		if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, super) }) {
			rules = append(rules, super)
		}
	}
	out := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			out.ResourceRules = append(out.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			out.NonResourceRules = append(out.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	if _, isNode := nodeName(user); isNode && o.node {
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

// reviewOf is what a webhook is asked: the other way round of attributesOf.
func reviewOf(a *Attributes) *authorizationv1.SubjectAccessReview {
	r := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: a.User.Username, Groups: a.User.Groups, UID: a.User.UID}}
	if len(a.User.Extra) > 0 {
		r.Spec.Extra = map[string]authorizationv1.ExtraValue{}
		for k, v := range a.User.Extra {
			r.Spec.Extra[k] = authorizationv1.ExtraValue(v)
		}
	}
	if !a.ResourceRequest {
		r.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: a.Path, Verb: a.Verb}
		return r
	}
	r.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: a.Version,
		Resource: a.Resource, Subresource: a.Subresource, Name: a.Name,
		FieldSelector: fieldRequirements(a.FieldSelector), LabelSelector: labelRequirements(a.LabelSelector)}
	return r
}

// fieldRequirements reads a selector for those who are asked: they are told its parts, never its text. One that cannot be read narrows
// nothing. Source: comments of authorization/v1.FieldSelectorAttributes.
func fieldRequirements(selector string) *authorizationv1.FieldSelectorAttributes {
	parsed, err := fields.ParseSelector(selector)
	if err != nil || parsed.Empty() {
		return nil
	}
	out := &authorizationv1.FieldSelectorAttributes{}
	for _, r := range parsed.Requirements() {
		one := v1.FieldSelectorRequirement{Key: r.Field, Operator: v1.FieldSelectorOpIn, Values: []string{r.Value}}
		if r.Operator == selection.NotEquals {
			one.Operator = v1.FieldSelectorOpNotIn
		}
		out.Requirements = append(out.Requirements, one)
	}
	return out
}

var labelOperators = map[selection.Operator]v1.LabelSelectorOperator{selection.Equals: v1.LabelSelectorOpIn, selection.DoubleEquals: v1.LabelSelectorOpIn,
	selection.In: v1.LabelSelectorOpIn, selection.NotEquals: v1.LabelSelectorOpNotIn, selection.NotIn: v1.LabelSelectorOpNotIn,
	selection.Exists: v1.LabelSelectorOpExists, selection.DoesNotExist: v1.LabelSelectorOpDoesNotExist}

// labelRequirements is the same for labels. Comparisons of numbers have no word here and are left out.
func labelRequirements(selector string) *authorizationv1.LabelSelectorAttributes {
	parsed, err := labels.Parse(selector)
	if err != nil || parsed.Empty() {
		return nil
	}
	out := &authorizationv1.LabelSelectorAttributes{}
	requirements, _ := parsed.Requirements()
	for _, r := range requirements {
		if operator, ok := labelOperators[r.Operator()]; ok {
			out.Requirements = append(out.Requirements, v1.LabelSelectorRequirement{Key: r.Key(), Operator: operator, Values: r.ValuesUnsorted()})
		}
	}
	if out.Requirements == nil {
		return nil
	}
	return out
}
