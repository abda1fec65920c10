package policy

import (
	"testing"

	"github.com/lighter-k8s/lighter/api/apitest"
)

func TestValidation(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"a budget":            {"spec: {minAvailable: 50%, selector: {matchLabels: {a: b}}}", ``},
		"both bounds":         {"spec: {minAvailable: 1, maxUnavailable: 1}", `spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set`},
		"less than nothing":   {"spec: {maxUnavailable: -1}", `spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0`},
		"more than all":       {"spec: {minAvailable: 120%}", `spec.minAvailable: Invalid value: "120%": must not be greater than 100%`},
		"a policy of its own": {"spec: {unhealthyPodEvictionPolicy: Never}", `spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"`},
	} {
		if got := apitest.Check(t, PodDisruptionBudget, tt.in, ""); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	if got, want := apitest.Header(PodDisruptionBudget), "Name | Min Available | Max Unavailable | Allowed Disruptions | Age"; got != want {
		t.Error(got)
	}
	o := apitest.Read(t, PodDisruptionBudget, "metadata: {name: p}\nspec: {minAvailable: 50%}\nstatus: {disruptionsAllowed: 2}")
	if got, want := apitest.Row(PodDisruptionBudget, o), "p | 50% | N/A | 2 | <unknown>"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
