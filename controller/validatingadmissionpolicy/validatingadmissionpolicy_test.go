package validatingadmissionpolicy

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	found := &admissionv1.TypeChecking{ExpressionWarnings: []admissionv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression", Warning: "odd"}}}
	tests := map[string]struct {
		generation, observed int64
		before               *admissionv1.TypeChecking
		deleted, want        bool
	}{
		"new":                             {generation: 1, want: true},
		"checked":                         {generation: 1, observed: 1, before: found.DeepCopy()},
		"checked by other types":          {generation: 1, observed: 1, before: &admissionv1.TypeChecking{}, want: true},
		"changed since":                   {generation: 2, observed: 1, before: found, want: true},
		"observed by somebody, unchecked": {generation: 1, observed: 1, want: true},
		"going":                           {generation: 1, deleted: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: tt.generation},
				Status: admissionv1.ValidatingAdmissionPolicyStatus{ObservedGeneration: tt.observed, TypeChecking: tt.before}}
			if tt.deleted {
				p.DeletionTimestamp = &metav1.Time{}
			}
			todo := Decide(View{p, found})
			if !tt.want {
				if len(todo) > 0 {
					t.Errorf("want nothing, got %v", todo)
				}
				return
			}
			if len(todo) != 1 {
				t.Fatalf("want one write, got %v", todo)
			}
			s := todo[0].Object.(*admissionv1.ValidatingAdmissionPolicy).Status
			if s.ObservedGeneration != tt.generation || s.TypeChecking != found {
				t.Errorf("got generation %d and %v", s.ObservedGeneration, s.TypeChecking)
			}
			if p.Status.ObservedGeneration != tt.observed {
				t.Error("the shared object was written to")
			}
		})
	}
}
