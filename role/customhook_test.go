package role_test

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// TestWebhooksOfCustomResources: webhooks and policies see custom resources in the version that they ask for, and what they add is pruned
// and checked by the schema.
func TestWebhooksOfCustomResources(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	admin := p.as(t, "admin")
	schema := `{"openAPIV3Schema":{"type":"object","properties":{"data":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}}}}}}`
	crd := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gauges.hooks.example.com"},"spec":{"group":"hooks.example.com","scope":"Namespaced",
		"names":{"plural":"gauges","singular":"gauge","kind":"Gauge","listKind":"GaugeList"},"versions":[{"name":"v1","served":true,"storage":true,"schema":` + schema + `},{"name":"v2","served":true,"storage":false,"schema":` + schema + `}]}}`
	if a := admin.do(t, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd); a.code != 201 {
		t.Fatalf("HTTP %d %s", a.code, a.body)
	}
	s := newHook(t, patch(`[{"op":"add","path":"/data/b","value":"1"},{"op":"add","path":"/data/unknown","value":"1"}]`))
	r := rule("CREATE", "gauges")
	r.APIVersions = []string{"v2"}
	p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{r}, []*hookServer{s})
	p.bind(t, ns, admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "gauges"),
		Validations: []admissionregistrationv1.Validation{{Expression: "object.data.a != object.data.b", Message: "a must not be b"}}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
	gauge := func(name, a string) string {
		return text("hooks.example.com/v1", "Gauge", name, `"data":{"a":"`+a+`"}`)
	}
	path := "/apis/hooks.example.com/v1/namespaces/" + ns + "/gauges"
	a := admin.do(t, "POST", path, gauge("x", "2"))
	if got := string(a.body); a.code != 201 || !strings.Contains(got, `"b":"1"`) || strings.Contains(got, "unknown") || !strings.Contains(got, `"hooks.example.com/v1"`) {
		t.Errorf("HTTP %d %s", a.code, got)
	}
	if q := s.last(t); q.Kind.Version != "v2" || q.RequestKind.Version != "v1" || !strings.Contains(string(q.Object.Raw), "hooks.example.com/v2") {
		t.Errorf("asked about %v %s", q.Kind, q.Object.Raw)
	}
	if a := admin.do(t, "POST", path, gauge("y", "1")); a.code != 422 || !strings.Contains(string(a.body), "a must not be b") {
		t.Errorf("HTTP %d %s", a.code, a.body)
	}
}
