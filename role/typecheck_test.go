package role_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/role"
)

// TestTypeChecking: what a policy's status says of its expressions.
func TestTypeChecking(t *testing.T) {
	p, err := start(func(c *config.Config, _ *role.Server) { c.Server.Disable = []string{"scheduler", "cloud-controllers"} })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	c := p.typed.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	type spec = admissionregistrationv1.ValidatingAdmissionPolicySpec
	on := func(group, version string, resources ...string) *admissionregistrationv1.MatchResources {
		return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{"CREATE"},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources}}}}}
	}
	that := func(list ...string) (out []admissionregistrationv1.Validation) {
		for _, e := range list {
			out = append(out, admissionregistrationv1.Validation{Expression: e})
		}
		return out
	}
	tests := map[string]struct {
		spec spec
		want string // paragraphs of "<fieldRef>: <warning>"
	}{
		"a field that is not there, as documented": {spec{MatchConstraints: on("apps", "v1", "deployments"), Validations: that("object.replicas > 1")},
			"spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^"},
		"two types, as documented": {spec{MatchConstraints: on("apps", "v1", "replicasets", "deployments"), Validations: that("object.replicas > 1")},
			"spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n" +
				"apps/v1, Kind=ReplicaSet: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^"},
		"an operation of another type": {spec{MatchConstraints: on("apps", "v1", "deployments"), Validations: that("true", "object.spec.replicas > '1'")},
			"spec.validations[1].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^"},
		"a message": {spec{MatchConstraints: on("apps", "v1", "deployments"),
			Validations: []admissionregistrationv1.Validation{{Expression: "true", MessageExpression: "object.spec.replica + ''"}}},
			"spec.validations[0].messageExpression: apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n | object.spec.replica + ''\n | ...........^"},
		"what holds": {spec{MatchConstraints: on("", "v1", "pods"), Variables: []admissionregistrationv1.Variable{{Name: "all", Expression: "object.spec.containers"}},
			Validations: that("variables.all.all(c, c.image.startsWith('a') && quantity(c.resources.limits['cpu']).isLessThan(quantity('1')))",
				"object.metadata.labels['a'] == 'b' && has(object.metadata.annotations) && object.metadata.name != ''",
				"oldObject == null || oldObject.spec.nodeName == object.spec.nodeName",
				"object.spec.containers.all(c, c.ports.all(p, p.containerPort > 1024) && c.livenessProbe.httpGet.port == 'web')",
				"object.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z') && object.metadata.ownerReferences.exists(o, o.controller)",
				"authorizer.group('').resource('pods').namespace(request.namespace).check('get').allowed()", "authorizer.requestResource.check('get').allowed()",
				"namespaceObject.metadata.labels['a'] == request.userInfo.username")}, ""},
		"variables have types": {spec{MatchConstraints: on("", "v1", "pods"), Variables: []admissionregistrationv1.Variable{{Name: "n", Expression: "object.spec.priority"}},
			Validations: that("variables.n == 'one'")},
			"spec.validations[0].expression: /v1, Kind=Pod: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'\n | variables.n == 'one'\n | ............^"},
		"params have types": {spec{MatchConstraints: on("", "v1", "pods"), ParamKind: &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			Validations: that("params.data['a'] == 'b'", "params.dat['a'] == 'b'")},
			"spec.validations[1].expression: /v1, Kind=Pod: ERROR: <input>:1:7: undefined field 'dat'\n | params.dat['a'] == 'b'\n | ......^"},
		"params of the same kind":     {spec{MatchConstraints: on("", "v1", "configmaps"), ParamKind: &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}, Validations: that("params.data == object.data")}, ""},
		"params of an unknown kind":   {spec{MatchConstraints: on("", "v1", "pods"), ParamKind: &admissionregistrationv1.ParamKind{APIVersion: "example.com/v1", Kind: "Unknown"}, Validations: that("params.a.b == 'c'")}, ""},
		"wildcards are not looked at": {spec{MatchConstraints: on("*", "v1", "deployments"), Validations: that("object.replicas > 1")}, ""},
		"nor are subresources":        {spec{MatchConstraints: on("", "v1", "pods/eviction"), Validations: that("object.deleteOptions.dryRun.size() > 1")}, ""},
		"a type within itself":        {spec{MatchConstraints: on("apiextensions.k8s.io", "v1", "customresourcedefinitions"), Validations: that("object.spec.versions.all(v, v.schema.openAPIV3Schema.properties['a'].properties['b'].type == 'string')")}, ""},
		"conditions and annotations":  {spec{MatchConstraints: on("", "v1", "pods"), MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "a", Expression: "object.a == ''"}}, AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: "k", ValueExpression: "'b' + object.b"}}}, "spec.matchConditions[0].expression: /v1, Kind=Pod: ERROR: <input>:1:7: undefined field 'a'\n | object.a == ''\n | ......^\n\nspec.auditAnnotations[0].valueExpression: /v1, Kind=Pod: ERROR: <input>:1:13: undefined field 'b'\n | 'b' + object.b\n | ............^"},
		"not more than ten types":     {spec{MatchConstraints: on("", "v1", strings.Fields("configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods podtemplates secrets services")...), Validations: that("object.kinds == 'x'")}, "10 types"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			made, err := c.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "types-"}, Spec: tt.spec}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Delete(t.Context(), made.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}()
			got := typesOf(t, p, made.Name, 1)
			if tt.want == "10 types" {
				if n := strings.Count(got, "Kind="); n != 10 || strings.Contains(got, "Secret") {
					t.Errorf("%d types: %s", n, got)
				}
				return
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	t.Run("a custom resource", func(t *testing.T) {
		cu := newCustom(t, p)
		cu.define(cu.definition("boats", "Boat", `  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {length: {type: integer}}}}}}
`))
		made, err := c.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "types-"}, Spec: spec{MatchConstraints: on(cu.group, "v1", "boats"),
			Validations: that("object.spec.length > 3 && object.metadata.labels['a'] == 'b'", "object.spec.length == 'long'", "object.spec.name == ''")}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Delete(t.Context(), made.Name, metav1.DeleteOptions{})
		of := cu.group + "/v1, Kind=Boat: ERROR: <input>:"
		want := "spec.validations[1].expression: " + of + "1:20: found no matching overload for '_==_' applied to '(int, string)'\n | object.spec.length == 'long'\n | ...................^\n\n" +
			"spec.validations[2].expression: " + of + "1:12: undefined field 'name'\n | object.spec.name == ''\n | ...........^"
		within(t, 5*time.Second, "what is wrong", func() error { // it is checked again if the type came after it
			if got := typesOf(t, p, made.Name, 1); got != want {
				return fmt.Errorf("got\n%s\nwant\n%s", got, want)
			}
			return nil
		})
	})
	t.Run("again when the types change", func(t *testing.T) { typesChange(t, p) })
	t.Run("of another server", func(t *testing.T) { typesOfOthers(t, p) })
	t.Run("again when the policy changes", func(t *testing.T) {
		made, err := c.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "types-"},
			Spec: spec{MatchConstraints: on("apps", "v1", "deployments"), Validations: that("object.replicas > 1")}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Delete(t.Context(), made.Name, metav1.DeleteOptions{})
		if typesOf(t, p, made.Name, 1) == "" {
			t.Error("want a warning")
		}
		if _, err := c.Patch(t.Context(), made.Name, "application/json-patch+json", []byte(`[{"op":"replace","path":"/spec/validations/0/expression","value":"object.spec.replicas > 1"}]`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := typesOf(t, p, made.Name, 2); got != "" {
			t.Errorf("the warning is still there: %s", got)
		}
	})
}

// typesChange: a policy is checked again when the custom resources that it means, or takes as params, come, change and go.
func typesChange(t *testing.T, p *plane) {
	cu := newCustom(t, p)
	c := p.typed.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	boats := admissionregistrationv1.RuleWithOperations{Operations: []admissionregistrationv1.OperationType{"CREATE"},
		Rule: admissionregistrationv1.Rule{APIGroups: []string{cu.group}, APIVersions: []string{"v1"}, Resources: []string{"boats"}}}
	pods := boats
	pods.Rule = admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}
	of := func(rule admissionregistrationv1.RuleWithOperations, params *admissionregistrationv1.ParamKind, expression string) string {
		made, err := c.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "types-"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{ParamKind: params, Validations: []admissionregistrationv1.Validation{{Expression: expression}},
				MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rule}}}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(context.Background(), made.Name, metav1.DeleteOptions{}) })
		typesOf(t, p, made.Name, 1)
		return made.Name
	}
	policies := map[string]string{"the object's type": of(boats, nil, "object.spec.length > 3"),
		"the params' type": of(pods, &admissionregistrationv1.ParamKind{APIVersion: cu.group + "/v1", Kind: "Boat"}, "params.spec.length > 3")}
	says := func(when, want string) {
		t.Helper()
		for which, name := range policies {
			var got string
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				if got = typesOf(t, p, name, 1); got == "" && want == "" || want != "" && strings.Contains(got, want) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s, %s: got %q, want %q", when, which, got, want)
				}
			}
		}
	}
	schema := func(field, kind string) string {
		return fmt.Sprintf(`  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {%s: {type: %s}}}}}}
`, field, kind)
	}
	says("before there is a definition", "")
	cu.define(cu.definition("boats", "Boat", schema("length", "string")))
	says("a string", "found no matching overload for '_>_' applied to '(string, int)'")
	patch := func(field, kind string) {
		body := fmt.Sprintf(`[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties","value":{%q:{"type":%q}}}]`, field, kind)
		if a := p.as(t, "admin").do(t, "PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats."+cu.group, body, "Content-Type: application/json-patch+json"); a.code != 200 {
			t.Fatalf("HTTP %d: %s", a.code, a.body)
		}
	}
	patch("length", "integer")
	says("a number", "")
	patch("size", "integer")
	says("another field", "undefined field 'length'")
	if a := p.as(t, "admin").do(t, "DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats."+cu.group, ""); a.code != 200 {
		t.Fatalf("HTTP %d: %s", a.code, a.body)
	}
	says("no definition any more", "")
}

// typesOf waits until a policy's types are checked, and shows what was found.
func typesOf(t *testing.T, p *plane, name string, generation int64) string {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, err := p.typed.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.TypeChecking != nil && got.Status.ObservedGeneration == generation {
			var out []string
			for _, w := range got.Status.TypeChecking.ExpressionWarnings {
				out = append(out, w.FieldRef+": "+w.Warning)
			}
			return strings.Join(out, "\n\n")
		}
		if time.Now().After(end) {
			t.Fatalf("not checked: %+v", got.Status)
		}
	}
}

// typesOfOthers: what another server serves has the type that its document says, by which a policy is checked anew when it changes.
func typesOfOthers(t *testing.T, p *plane) {
	const ns = metav1.NamespaceDefault
	c := p.typed.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	rule := func(group, resource string) *admissionregistrationv1.MatchResources {
		return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{"CREATE"}, Rule: admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}}}}}}
	}
	of := func(match *admissionregistrationv1.MatchResources, params *admissionregistrationv1.ParamKind, expressions ...string) string {
		spec := admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: match, ParamKind: params}
		for _, e := range expressions {
			spec.Validations = append(spec.Validations, admissionregistrationv1.Validation{Expression: e})
		}
		made := must(c.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "types-"}, Spec: spec}, metav1.CreateOptions{}))(t)
		t.Cleanup(func() { _ = c.Delete(context.Background(), made.Name, metav1.DeleteOptions{}) })
		typesOf(t, p, made.Name, 1)
		return made.Name
	}
	objects := of(rule("sea.example.com", "boats"), nil, "object.spec.length > 3 && object.metadata.name != ''", "object.spec.tender.spec.length == 2", "object.spec.size > 3", "object.spec.length == 'long'")
	params := of(rule("", "pods"), &admissionregistrationv1.ParamKind{APIVersion: "sea.example.com/v1", Kind: "Boat"}, "params.spec.size > 3")
	says := func(when, name string, want ...string) {
		t.Helper()
		within(t, 20*time.Second, when, func() error {
			got := typesOf(t, p, name, 1)
			for _, w := range want {
				if n := strings.Count(got, "spec.validations["); !strings.Contains(got, w) || n != len(want) {
					return fmt.Errorf("got %s, want %q", got, want)
				}
			}
			if len(want) == 0 && got != "" {
				return fmt.Errorf("got %s, want nothing", got)
			}
			return nil
		})
	}
	says("before anybody serves it", objects)

	h := openHarbour(t, p, "harbour."+ns+".svc")
	must(p.typed.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "harbour"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}, metav1.CreateOptions{}))(t)
	master := p.Client("system:apiserver", pki.MastersGroup)
	object := must(client.APIServices.Create(t.Context(), master, &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.sea.example.com"}, Spec: apiregistrationv1.APIServiceSpec{Group: "sea.example.com", Version: "v1",
		Service: &apiregistrationv1.ServiceReference{Namespace: ns, Name: "harbour", Port: &h.port}, CABundle: h.ca.PEM(), GroupPriorityMinimum: 1500, VersionPriority: 10}}))(t)
	const boat = "expression: sea.example.com/v1, Kind=Boat: ERROR: <input>:"
	says("once it is served", objects, "spec.validations[2]."+boat+"1:12: undefined field 'size'", "spec.validations[3]."+boat+"1:20: found no matching overload for '_==_' applied to '(int, string)'")
	says("params, once they are served", params, "undefined field 'size'")

	h.second.Store(true)
	object = must(client.APIServices.Get(t.Context(), master, "", object.Name))(t).DeepCopy()
	object.Spec.VersionPriority++ // or it is asked again in a while only
	object = must(client.APIServices.Update(t.Context(), master, object))(t)
	anew := []string{"spec.validations[0]." + boat + "1:12: undefined field 'length'", "spec.validations[3]." + boat + "1:12: undefined field 'length'"}
	says("by another document", objects, anew...)
	says("params by another document", params)

	h.Close()
	within(t, 20*time.Second, "that it is gone is noticed", func() error {
		if a := p.as(t, "admin").do(t, "GET", "/apis/sea.example.com/v1/namespaces/x/boats", ""); a.code != 503 {
			return fmt.Errorf("HTTP %d", a.code)
		}
		return nil
	})
	says("while its server is away", objects, anew...)
	if err := client.APIServices.Delete(t.Context(), master, "", object.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	says("when nobody serves it any more", objects)
}
