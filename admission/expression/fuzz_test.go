package expression

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// FuzzExpression: an expression in CEL compiles or is complained about.
func FuzzExpression(f *testing.F) {
	for _, e := range []string{"true", "object.metadata.name.startsWith('a') && !has(object.spec.x)", "request.resource.resource in ['pods', 'secrets']", "[1,2,3].map(x, x * 2).exists(x, x > 3)",
		"authorizer.group('').resource('pods').check('create').allowed()", "'\\u00e9'.matches('^[a-z]+$') || b'x' == b'y'", "object[", "{'a': [1u, 2.5, null]}.a[0]", "quantity('1Gi').isGreaterThan(quantity('1Mi'))", "optional.of(1).orValue(2)", "((((", "a.?b[?0]"} {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		var b Budget
		list := []admissionregistrationv1.MatchCondition{{Name: "a", Expression: expression}}
		for _, e := range CheckConditions(list, nil, OfWebhook, field.NewPath("matchConditions"), &b) {
			if e.Error() == "" {
				t.Error("a complaint that says nothing")
			}
		}
	})
}
