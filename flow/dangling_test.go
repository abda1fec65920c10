package flow

import (
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

func TestDangling(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	schema := func(level string) *flowcontrolv1.FlowSchema {
		return &flowcontrolv1.FlowSchema{Spec: flowcontrolv1.FlowSchemaSpec{PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level}}}
	}
	lost := dangling(schema("a"), false, began)
	found := dangling(schema("a"), true, began)
	other := found.DeepCopy()
	other.Spec.PriorityLevelConfiguration.Name = "b"
	tests := map[string]struct {
		have  *flowcontrolv1.FlowSchema
		there bool
		want  string // status and reason; "" is nothing to write
		since time.Duration
	}{
		"a new one whose level is there":      {schema("a"), true, "False Found", time.Minute},
		"a new one whose level is not":        {schema("a"), false, "True NotFound", time.Minute},
		"one that says so":                    {found, true, "", 0},
		"one that says that it is not":        {lost, false, "", 0},
		"a level that came":                   {lost, true, "False Found", time.Minute},
		"a level that went":                   {found, false, "True NotFound", time.Minute},
		"another level that is there as well": {other, true, "False Found", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.have.DeepCopy()
			got := dangling(tt.have, tt.there, began.Add(time.Minute))
			if len(before.Status.Conditions) != len(tt.have.Status.Conditions) {
				t.Error("what was shown has changed")
			}
			if got == nil {
				if tt.want != "" {
					t.Errorf("nothing to write, want %q", tt.want)
				}
				return
			}
			c := got.Status.Conditions[0]
			if s := string(c.Status) + " " + c.Reason; s != tt.want || len(got.Status.Conditions) != 1 || !c.LastTransitionTime.Time.Equal(began.Add(tt.since)) {
				t.Errorf("got %q since %s, want %q", s, c.LastTransitionTime, tt.want)
			}
		})
	}
}
