package role_test

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestGenerateName: what webhooks see of an object that is to get its name from the server, and who is told when a name is taken. The
// answers are those that kube-apiserver 1.37.2 gave to the same requests.
func TestGenerateName(t *testing.T) {
	p := api(t)
	rules := []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}
	tests := map[string]struct {
		name, base, patch string
		mutator           string // the request's name and the object's, as who mutates sees them
		made              string // what the name begins with
		taken             bool   // a second one is refused
	}{
		"generated":                      {base: "gen-", patch: `[]`, mutator: "/", made: "gen-"},
		"named":                          {name: "a", patch: `[]`, mutator: "a/a", made: "a", taken: true},
		"named, with a base beside":      {name: "b", base: "gen-", patch: `[]`, mutator: "b/b", made: "b", taken: true},
		"named by who mutates":           {base: "gen-", patch: `[{"op":"add","path":"/metadata/name","value":"hook"}]`, mutator: "/", made: "hook", taken: true},
		"the base changed by who does":   {base: "gen-", patch: `[{"op":"replace","path":"/metadata/generateName","value":"other-"}]`, mutator: "/", made: "other-"},
		"a base too long for the suffix": {base: strings.Repeat("g", 70), patch: `[]`, mutator: "/", made: strings.Repeat("g", 58)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ns := p.namespace(t)
			change := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(tt.patch)}
			})
			check := newHook(t, allow)
			p.mutating(t, ns, rules, []*hookServer{change})
			p.validating(t, ns, check, rules)
			seen := func(s *hookServer) string {
				var o corev1.ConfigMap
				q := s.last(t)
				if err := json.Unmarshal(q.Object.Raw, &o); err != nil {
					t.Fatal(err)
				}
				return q.Name + "/" + o.Name
			}
			in := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: tt.name, GenerateName: tt.base}}
			made, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), in, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := seen(change); got != tt.mutator {
				t.Errorf("who mutates sees %q, want %q", got, tt.mutator)
			}
			if got, want := seen(check), made.Name+"/"+made.Name; got != want || !strings.HasPrefix(made.Name, tt.made) {
				t.Errorf("who validates sees %q, it is called %q and should begin with %q", got, made.Name, tt.made)
			}
			check.questions()
			again, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), in, metav1.CreateOptions{})
			if !tt.taken {
				if err != nil || again.Name == made.Name {
					t.Errorf("the second is called %v: %v", again.Name, err)
				}
				return
			}
			const text = "the server was not able to generate a unique name for the object"
			if !apierrors.IsAlreadyExists(err) || strings.Contains(err.Error(), text) != (tt.base != "") {
				t.Errorf("the second: %v", err)
			}
			if n := len(check.questions()); n != 1 {
				t.Errorf("the second was tried %d times", n)
			}
		})
	}
}
