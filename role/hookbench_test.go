package role_test

import (
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// BenchmarkAdmitted is the create of a ConfigMap with nothing that users added to admission, with what means others, and with what means it.
func BenchmarkAdmitted(b *testing.B) {
	p := api(b)
	h, ns := p.direct(b)
	n := 0
	create := func(b *testing.B) {
		b.ReportAllocs()
		for ; b.Loop(); n++ {
			h.must(b, 201, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", fmt.Sprintf("c%d", n), `"data":{"k":"v"}`), "application/json")
		}
	}
	rules := []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}
	policy := admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "configmaps"),
		Validations: []admissionregistrationv1.Validation{{Expression: "object.data.k == 'v'"}}}
	b.Run("none", create)
	b.Run("another namespace's webhook", func(b *testing.B) {
		p.validating(b, "elsewhere", newHook(b, allow), rules)
		create(b)
	})
	b.Run("webhook", func(b *testing.B) {
		p.validating(b, ns, newHook(b, allow), rules)
		create(b)
	})
	b.Run("policy", func(b *testing.B) {
		p.bind(b, ns, policy, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
		create(b)
	})
}
