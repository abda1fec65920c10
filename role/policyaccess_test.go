package role_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// TestPolicyParamsAccess: what somebody may make a policy read.
func TestPolicyParamsAccess(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	system := p.Client("system:apiserver", pki.MastersGroup)
	user := "writer-" + ns
	grant(t, p, "", user, rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"*"}},
		rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}},
		rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"mine"}},
		rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"endpoints"}})
	c := p.Client(user)
	policy := func(kind string) *admissionregistrationv1.ValidatingAdmissionPolicy {
		out := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: strings.ToLower(strings.ReplaceAll(kind, "/", "-")) + "." + ns},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "leases"), Validations: []admissionregistrationv1.Validation{{Expression: "true"}}}}
		if at := strings.LastIndex(kind, "/"); kind != "" {
			out.Spec.ParamKind = &admissionregistrationv1.ParamKind{APIVersion: kind[:at], Kind: kind[at+1:]}
		}
		return out
	}
	wrong := func(t *testing.T, err error, want string) {
		t.Helper()
		if want == "" && err != nil || want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for kind, want := range map[string]string{
		"v1/ConfigMap":           "",
		"v1/Secret":              `user "` + user + `" must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`,
		"v1/Endpoints":           `must have "get" permission`,
		"example.com/v1/Unknown": `must have "get" permission`,
		"":                       "",
	} {
		t.Run("a policy with "+kind, func(t *testing.T) {
			o := policy(kind)
			if kind == "" {
				o.Name = "none." + ns
			}
			made, err := client.ValidatingAdmissionPolicies.Create(t.Context(), c, o)
			wrong(t, err, want)
			if err != nil {
				must(client.ValidatingAdmissionPolicies.Create(t.Context(), system, o))(t)
				return
			}
			made = made.DeepCopy()
			made.Spec.ParamKind = policy("v1/Secret").Spec.ParamKind
			_, err = client.ValidatingAdmissionPolicies.Update(t.Context(), c, made)
			wrong(t, err, `must have "get" permission`)
		})
	}
	t.Run("what is not changed is not asked about", func(t *testing.T) {
		_, err := client.ValidatingAdmissionPolicies.Merge(t.Context(), c, "", policy("v1/Secret").Name, "", map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}})
		wrong(t, err, "")
	})
	t.Run("a mutating policy", func(t *testing.T) {
		_, err := client.MutatingAdmissionPolicies.Create(t.Context(), c, &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: ns},
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "leases"), ParamKind: policy("v1/Secret").Spec.ParamKind, ReinvocationPolicy: "Never",
				Mutations: []admissionregistrationv1.Mutation{{PatchType: "JSONPatch", JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[JSONPatch{op: "test", path: "/kind", value: "Lease"}]`}}}}})
		wrong(t, err, `must have "get" permission`)
	})
	type ref = admissionregistrationv1.ParamRef
	for name, tt := range map[string]struct {
		policy string
		ref    *ref
		want   string
	}{
		"a name that may be read":       {policy("v1/Secret").Name, &ref{Name: "mine"}, ""},
		"a name that may not":           {policy("v1/Secret").Name, &ref{Name: "theirs", Namespace: ns}, `must have "get" permission on the object referenced by paramRef`},
		"a selection":                   {policy("v1/Endpoints").Name, &ref{Selector: &metav1.LabelSelector{}}, ""},
		"a selection that may not":      {policy("v1/ConfigMap").Name, &ref{Selector: &metav1.LabelSelector{}}, `must have "list" permission on the objects referenced by paramRef`},
		"of a policy that is not there": {"nobody." + ns, &ref{Name: "mine"}, `must have "get" permission`},
		"without":                       {policy("v1/Secret").Name, nil, ""},
	} {
		t.Run("a binding to "+name, func(t *testing.T) {
			if tt.ref != nil {
				deny := admissionregistrationv1.DenyAction
				tt.ref.ParameterNotFoundAction = &deny
			}
			_, err := client.ValidatingAdmissionPolicyBindings.Create(t.Context(), c, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: ns + "-"},
				Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: tt.policy, ParamRef: tt.ref, ValidationActions: []admissionregistrationv1.ValidationAction{"Deny"},
					MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: here(ns)}}})
			wrong(t, err, tt.want)
		})
	}
}

// TestPolicyMetrics: what is counted of a policy that is asked.
func TestPolicyMetrics(t *testing.T) {
	p := api(t)
	for expression, want := range map[string]string{
		"object.data.k == 'v'": `enforcement_action="allow",error_type="no_error"`,
		"object.data.k == 'w'": `enforcement_action="deny",error_type="no_error"`,
		"object.data.x == 'w'": `enforcement_action="deny",error_type="invalid_error"`,
		"[1,2,3,4,5,6,7,8,9,10].all(a,[1,2,3,4,5,6,7,8,9,10].all(b,[1,2,3,4,5,6,7,8,9,10].all(c,[1,2,3,4,5,6,7,8,9,10].all(d,[1,2,3,4,5,6,7,8,9,10].all(e,[1,2,3,4,5,6,7,8,9,10].all(f,a+b+c+d+e+f>0))))))": `enforcement_action="deny",error_type="out_of_budget"`,
	} {
		t.Run(want, func(t *testing.T) {
			ns := p.namespace(t)
			policy, bound := p.bind(t, ns, admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "configmaps"),
				Validations: []admissionregistrationv1.Validation{{Expression: expression}}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
			p.as(t, "admin").do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", "c", `"data":{"k":"v"}`))
			labels := regexp.QuoteMeta(fmt.Sprintf(`{%s,policy="%s",policy_binding="%s"} 1`, want, policy, bound))
			for _, name := range []string{"check_total", "check_duration_seconds_count"} {
				if got := string(p.as(t, "admin").do(t, "GET", "/metrics", "").body); !regexp.MustCompile("(?m)^apiserver_validating_admission_policy_" + name + labels + "$").MatchString(got) {
					t.Errorf("no %s with %s", name, labels)
				}
			}
		})
	}
}

// TestPolicyBypass: who may, leaves a policy out until a time; it is on record that somebody did.
func TestPolicyBypass(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	name, _ := p.bind(t, ns, admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "configmaps"),
		Validations: []admissionregistrationv1.Validation{{Expression: "false"}}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
	c := p.typed.AdmissionregistrationV1()
	mutating := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: ns}, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints: policyRules("CREATE", "secrets"), ReinvocationPolicy: "Never",
		Mutations: []admissionregistrationv1.Mutation{{PatchType: "JSONPatch", JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[JSONPatch{op: "remove", path: "/nothing"}]`}}}}}
	must(c.MutatingAdmissionPolicies().Create(t.Context(), mutating, metav1.CreateOptions{}))(t)
	must(c.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: ns, MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: here(ns)}}}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() {
		if err := errors.Join(c.MutatingAdmissionPolicyBindings().Delete(context.Background(), ns, metav1.DeleteOptions{}), c.MutatingAdmissionPolicies().Delete(context.Background(), ns, metav1.DeleteOptions{})); err != nil {
			t.Error(err)
		}
	})
	refused := func() string {
		_, first := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap("c", "k", "v"), metav1.CreateOptions{DryRun: []string{"All"}})
		_, second := p.typed.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{DryRun: []string{"All"}})
		return fmt.Sprintf("%v %v", first != nil, second != nil)
	}
	if got := refused(); got != "true true" {
		t.Fatalf("before: refused %s", got)
	}
	set := func(c client.Client, until time.Time) error {
		patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{admission.Bypass: until.UTC().Format(time.RFC3339)}}}
		_, first := client.ValidatingAdmissionPolicies.Merge(t.Context(), c, "", name, "", patch)
		_, second := client.MutatingAdmissionPolicies.Merge(t.Context(), c, "", ns, "", patch)
		if (first == nil) != (second == nil) {
			t.Errorf("got %v and %v", first, second)
		}
		return first
	}
	system := p.Client("system:apiserver", pki.MastersGroup)
	user := "editor-" + ns
	grant(t, p, "", user, rbacv1.PolicyRule{Verbs: []string{"get", "patch", "update"}, APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"*"}})
	if err := set(p.Client(user), time.Now().Add(time.Minute)); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may not bypass policies") {
		t.Errorf("who may only write: %v", err)
	}
	if err := set(system, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := refused(); got != "false false" {
		t.Errorf("bypassed: refused %s", got)
	}
	if err := set(system, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := refused(); got != "true true" {
		t.Errorf("after: refused %s", got)
	}
}
