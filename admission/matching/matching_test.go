package matching

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
)

// TestTakes: which rules take an update of deployments in apps/v1, of one named d.
func TestTakes(t *testing.T) {
	type rule = admissionv1.NamedRuleWithOperations
	one := func(op admissionv1.OperationType, group, version, resource string) rule {
		return rule{RuleWithOperations: admissionv1.RuleWithOperations{Operations: []admissionv1.OperationType{op},
			Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}}
	}
	scoped := func(s admissionv1.ScopeType) rule {
		r := one("*", "*", "*", "*")
		r.Scope = &s
		return r
	}
	for name, tt := range map[string]struct {
		rule rule
		sub  string
		want bool
	}{
		"exactly":                         {rule: one("UPDATE", "apps", "v1", "deployments"), want: true},
		"everything":                      {rule: one("*", "*", "*", "*/*"), want: true},
		"everything, of a subresource":    {rule: one("*", "*", "*", "*/*"), sub: "scale", want: true},
		"all resources":                   {rule: one("*", "*", "*", "*"), want: true},
		"all resources, of a subresource": {rule: one("*", "*", "*", "*"), sub: "scale"},
		"all subresources":                {rule: one("*", "*", "*", "deployments/*"), sub: "scale", want: true},
		"all subresources, of the object": {rule: one("*", "*", "*", "deployments/*"), want: true},
		"that subresource of all":         {rule: one("*", "*", "*", "*/scale"), sub: "scale", want: true},
		"another subresource":             {rule: one("*", "*", "*", "*/status"), sub: "scale"},
		"the object, of a subresource":    {rule: one("*", "*", "*", "deployments"), sub: "scale"},
		"another operation":               {rule: one("CREATE", "*", "*", "*")},
		"another group":                   {rule: one("*", "", "*", "*")},
		"another version":                 {rule: one("*", "*", "v1beta1", "*")},
		"another resource":                {rule: one("*", "*", "*", "replicasets")},
		"namespaced":                      {rule: scoped(admissionv1.NamespacedScope), want: true},
		"cluster-scoped":                  {rule: scoped(admissionv1.ClusterScope)},
		"any scope":                       {rule: scoped(admissionv1.AllScopes), want: true},
		"the name":                        {rule: rule{ResourceNames: []string{"d"}, RuleWithOperations: one("*", "*", "*", "*").RuleWithOperations}, want: true},
		"another name":                    {rule: rule{ResourceNames: []string{"e"}, RuleWithOperations: one("*", "*", "*", "*").RuleWithOperations}},
	} {
		t.Run(name, func(t *testing.T) {
			i := &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, Namespaced: true}
			if got := Takes(&tt.rule, &admission.Attributes{Operation: admission.Update, Info: i, Name: "d", Subresource: tt.sub}, i); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestObjectSelector: either the object or the old one must be taken; one that is not there is not.
func TestObjectSelector(t *testing.T) {
	with := func(v string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": v}}}
	}
	every := []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{Operations: []admissionv1.OperationType{"*"},
		Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}}}}
	c, err := New(every, nil, nil, nil, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		a    admission.Attributes
		want bool
	}{
		"the object":               {admission.Attributes{Object: with("y")}, true},
		"the old one":              {admission.Attributes{Object: with("x"), Old: with("y")}, true},
		"neither":                  {admission.Attributes{Object: with("x"), Old: with("x")}, false},
		"deleted":                  {admission.Attributes{Old: with("y")}, true},
		"what has none, a CONNECT": {admission.Attributes{Connection: &corev1.PodExecOptions{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tt.a.Info = &api.Info{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}}
			if i, err := (World{}).Match(&c, &tt.a); err != nil || (i != nil) != tt.want {
				t.Errorf("got %v %v", i, err)
			}
		})
	}
}
