package api_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

	"github.com/lighter-k8s/lighter/api"
)

// sayings are names, good and bad.
func sayings() (out []string) {
	parts := []string{"", "a", "A", "0", "-", "_", ".", "/", "é", "\n", strings.Repeat("a", 63), strings.Repeat("b", 190)}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				out = append(out, a+b+c)
			}
		}
	}
	return out
}

// as compares all rules with apimachinery's, for one name.
func as(t *testing.T, s string) {
	t.Helper()
	for name, rule := range map[string]struct{ ours, theirs func(string) []string }{
		"DNSLabel": {api.DNSLabel, utilvalidation.IsDNS1123Label}, "DNSSubdomain": {api.DNSSubdomain, utilvalidation.IsDNS1123Subdomain},
		"QualifiedName": {api.QualifiedName, utilvalidation.IsQualifiedName}, "PortName": {api.PortName, utilvalidation.IsValidPortName},
		"ConfigMapKey": {api.ConfigMapKey, utilvalidation.IsConfigMapKey},
	} {
		if got, want := rule.ours(s), rule.theirs(s); !slices.Equal(got, want) {
			t.Errorf("%s(%q): %q, want %q", name, s, got, want)
		}
	}
	errs := func(o metav1.Object) string {
		return fmt.Sprint(validation.ValidateObjectMetaAccessor(o, true, validation.NameIsDNSSubdomain, nil))
	}
	for _, list := range [][]string{{s}, {"a/b", s}, {metav1.FinalizerOrphanDependents, s}} {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "n", Finalizers: list}}
		if got, want := errs(api.DoubtfulNew(c)), errs(c); got != want || !slices.Equal(c.Finalizers, list) {
			t.Errorf("finalizers %q: %s, want %s", list, got, want)
		}
	}
	for _, m := range []map[string]string{{s: ""}, {"a": s}, {"a": "", s: "x"}} {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "n", Labels: m, Annotations: m}}
		if got, want := errs(api.Doubtful(c)), errs(c); got != want {
			t.Errorf("metadata with %q: %s, want %s", m, got, want)
		}
		if !maps.Equal(c.Labels, m) || !maps.Equal(c.Annotations, m) {
			t.Error("the object was written to")
		}
	}
}

// TestNames: names are good and bad as apimachinery says.
func TestNames(t *testing.T) {
	for _, s := range sayings() {
		as(t, s)
	}
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": strings.Repeat("x", validation.TotalAnnotationSizeLimitB)}}}
	if api.Doubtful(c).GetAnnotations() == nil {
		t.Error("annotations that are too large were taken for good")
	}
	c.Labels = map[string]string{"app.kubernetes.io/name": "shop"}
	if api.Doubtful(c).GetLabels() != nil {
		t.Error("ordinary labels were doubted")
	}
	c.Finalizers = []string{"example.com/keep"}
	if api.Doubtful(c).GetFinalizers() == nil || api.DoubtfulNew(c).GetFinalizers() != nil {
		t.Error("ordinary finalizers were doubted, or kept from who compares them")
	}
	c.Finalizers = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}
	if api.DoubtfulNew(c).GetFinalizers() == nil {
		t.Error("finalizers that exclude each other were taken for good")
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "a.b/c", "a..b", "-a", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { as(t, s) })
}
