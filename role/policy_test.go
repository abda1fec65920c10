package role_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func policyRules(ops string, resources ...string) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rule(ops, resources...)}}}
}

// bind puts a validating policy into effect in one namespace, and takes both away at the end of the test.
func (p *plane) bind(t testing.TB, ns string, spec admissionregistrationv1.ValidatingAdmissionPolicySpec, binding admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec) (policy, bound string) {
	t.Helper()
	c := p.typed.AdmissionregistrationV1()
	v, err := c.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: ns + "-"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding.PolicyName = v.Name
	if binding.MatchResources == nil {
		binding.MatchResources = &admissionregistrationv1.MatchResources{NamespaceSelector: here(ns)}
	}
	if binding.ValidationActions == nil {
		binding.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
	}
	b, err := c.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: ns + "-"}, Spec: binding}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.ValidatingAdmissionPolicyBindings().Delete(context.Background(), b.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := c.ValidatingAdmissionPolicies().Delete(context.Background(), v.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return v.Name, b.Name
}

// TestValidatingPolicies: what a ConfigMap c with k: v and the label a: b is told.
func TestValidatingPolicies(t *testing.T) {
	p := api(t)
	type policy = admissionregistrationv1.ValidatingAdmissionPolicySpec
	type binding = admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec
	validation := func(e string) []admissionregistrationv1.Validation {
		return []admissionregistrationv1.Validation{{Expression: e}}
	}
	params := &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	ref := func(name string, nothing admissionregistrationv1.ParameterNotFoundActionType) *admissionregistrationv1.ParamRef {
		return &admissionregistrationv1.ParamRef{Name: name, ParameterNotFoundAction: &nothing}
	}
	all := func(key string) *admissionregistrationv1.ParamRef {
		return &admissionregistrationv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{key: "yes"}}, ParameterNotFoundAction: ptr.To(admissionregistrationv1.DenyAction)}
	}
	fail, ignore := admissionregistrationv1.Fail, admissionregistrationv1.Ignore
	for name, tt := range map[string]struct {
		policy  policy
		binding binding
		want    string // what the refusal says after whose it is; "": the request passes
		reason  metav1.StatusReason
		warning string
	}{
		"what holds":                     {policy: policy{Validations: validation("object.data.k == 'v'")}},
		"what does not hold":             {policy: policy{Validations: validation("object.data.k == 'w'")}, want: "failed expression: object.data.k == 'w'"},
		"with a message":                 {policy: policy{Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "never"}}}, want: "never"},
		"with a message that is made":    {policy: policy{Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "never", MessageExpression: "'k is ' + object.data.k"}}}, want: "k is v"},
		"with a message that fails":      {policy: policy{Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "never", MessageExpression: "string(object.data.x)"}}}, want: "never"},
		"with a reason":                  {policy: policy{Validations: []admissionregistrationv1.Validation{{Expression: "false", Reason: ptr.To(metav1.StatusReasonForbidden)}}}, want: "failed expression: false", reason: metav1.StatusReasonForbidden},
		"variables":                      {policy: policy{Variables: []admissionregistrationv1.Variable{{Name: "k", Expression: "object.data.k"}, {Name: "twice", Expression: "variables.k + variables.k"}}, Validations: validation("variables.twice == 'vw'")}, want: "failed expression: variables.twice == 'vw'"},
		"an error":                       {policy: policy{FailurePolicy: &fail, Validations: validation("object.data.x == 'v'")}, want: "expression 'object.data.x == 'v'' resulted in error: no such key: x"},
		"an error that is ignored":       {policy: policy{FailurePolicy: &ignore, Validations: validation("object.data.x == 'v'")}},
		"a condition that does not hold": {policy: policy{MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "c", Expression: "object.metadata.name != 'c'"}}, Validations: validation("false")}},
		"another operation":              {policy: policy{MatchConstraints: policyRules("UPDATE", "configmaps"), Validations: validation("false")}},
		"a name that is excluded": {policy: policy{MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: policyRules("*", "*").ResourceRules,
			ExcludeResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{ResourceNames: []string{"c"}, RuleWithOperations: rule("*", "configmaps")}}}, Validations: validation("false")}},
		"a binding for other objects": {policy: policy{Validations: validation("false")}, binding: binding{MatchResources: &admissionregistrationv1.MatchResources{ObjectSelector: here("x")}}},
		"the namespace":               {policy: policy{Validations: validation("namespaceObject.metadata.name == object.metadata.namespace && request.namespace == object.metadata.namespace")}},
		"the request":                 {policy: policy{Validations: validation("request.operation == 'CREATE' && request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap' && oldObject == null && !request.dryRun")}},
		"the authorizer":              {policy: policy{Validations: validation("authorizer.group('').resource('secrets').namespace('kube-system').check('delete').allowed()")}},
		"a warning": {policy: policy{Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "hm"}}},
			binding: binding{ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn, admissionregistrationv1.Audit}}, warning: "hm"},
		"params by name":           {policy: policy{ParamKind: params, Validations: validation("params.data.most == '3'")}, binding: binding{ParamRef: ref("p3", admissionregistrationv1.DenyAction)}},
		"params that differ":       {policy: policy{ParamKind: params, Validations: validation("params.data.most == '3'")}, binding: binding{ParamRef: ref("p4", admissionregistrationv1.DenyAction)}, want: "failed expression: params.data.most == '3'"},
		"params by label, one bad": {policy: policy{ParamKind: params, Validations: validation("params.data.most == '3'")}, binding: binding{ParamRef: all("p")}, want: "failed expression: params.data.most == '3'"},
		"no params, denied":        {policy: policy{ParamKind: params, Validations: validation("true")}, binding: binding{ParamRef: ref("none", admissionregistrationv1.DenyAction)}, want: "no params found for policy binding with `Deny` parameterNotFoundAction"},
		"no params, allowed":       {policy: policy{ParamKind: params, Validations: validation("false")}, binding: binding{ParamRef: ref("none", admissionregistrationv1.AllowAction)}},
		"no such kind of params":   {policy: policy{ParamKind: &admissionregistrationv1.ParamKind{APIVersion: "x.example.com/v1", Kind: "X"}, Validations: validation("true")}, want: "failed to find resource referenced by paramKind: 'x.example.com/v1, Kind=X'"},
		"no params asked for":      {policy: policy{ParamKind: params, Validations: validation("params == null")}},
		"too dear":                 {policy: policy{Validations: validation("[1,2,3,4,5,6,7,8,9,10].all(a,[1,2,3,4,5,6,7,8,9,10].all(b,[1,2,3,4,5,6,7,8,9,10].all(c,[1,2,3,4,5,6,7,8,9,10].all(d,[1,2,3,4,5,6,7,8,9,10].all(e,[1,2,3,4,5,6,7,8,9,10].all(f,a+b+c+d+e+f>0))))))")}, want: "cost limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := p.namespace(t)
			for _, n := range []string{"3", "4"} {
				c := configMap("p"+n, "most", n)
				c.Labels = map[string]string{"p": "yes"}
				if _, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.policy.MatchConstraints == nil {
				tt.policy.MatchConstraints = policyRules("CREATE", "configmaps")
			}
			policy, bound := p.bind(t, ns, tt.policy, tt.binding)
			a := p.as(t, "admin").do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", "c", `"data":{"k":"v"}`))
			if tt.warning != "" {
				want := fmt.Sprintf("299 - %q", fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", policy, bound, tt.warning))
				if got := a.header.Values("Warning"); !slices.Contains(got, want) {
					t.Errorf("warnings %v, want %s", got, want)
				}
			}
			if tt.want == "" {
				if a.code != 201 {
					t.Errorf("HTTP %d %s", a.code, a.body)
				}
				return
			}
			want, reason, code := fmt.Sprintf(`configmaps "c" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: `, policy, bound), metav1.StatusReasonInvalid, 422
			if tt.reason != "" {
				reason, code = tt.reason, 403
			}
			got := a.status()
			if a.code != code || got.Reason != reason || !strings.HasPrefix(got.Message, want) || !strings.Contains(got.Message, tt.want) {
				t.Errorf("HTTP %d %s\nwant %d %s: %s%s", a.code, a.body, code, reason, want, tt.want)
			}
		})
	}
}

// TestPolicyExpressionsCompile: what does not is refused when it is written.
func TestPolicyExpressionsCompile(t *testing.T) {
	p := api(t)
	for field, spec := range map[string]admissionregistrationv1.ValidatingAdmissionPolicySpec{
		"spec.validations[0].expression":           {Validations: []admissionregistrationv1.Validation{{Expression: "object.x +"}}},
		"spec.validations[0].messageExpression":    {Validations: []admissionregistrationv1.Validation{{Expression: "true", MessageExpression: "1"}}},
		"spec.variables[0].expression":             {Variables: []admissionregistrationv1.Variable{{Name: "a", Expression: "variables.b"}}, Validations: []admissionregistrationv1.Validation{{Expression: "true"}}},
		"spec.matchConditions[0].expression":       {MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "c", Expression: "'x'"}}, Validations: []admissionregistrationv1.Validation{{Expression: "true"}}},
		"spec.auditAnnotations[0].valueExpression": {AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: "k", ValueExpression: "params.x"}}},
	} {
		t.Run(field, func(t *testing.T) {
			spec.MatchConstraints = policyRules("CREATE", "configmaps")
			_, err := p.typed.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "bad-"}, Spec: spec}, metav1.CreateOptions{})
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), field+": Invalid value") || !strings.Contains(err.Error(), "compilation failed") && !strings.Contains(err.Error(), "must evaluate to") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestMutatingPolicies: what becomes of a pod.
func TestMutatingPolicies(t *testing.T) {
	p := api(t)
	c := p.typed.AdmissionregistrationV1()
	apply := func(e string) admissionregistrationv1.Mutation {
		return admissionregistrationv1.Mutation{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: e}}
	}
	jsonPatch := func(e string) admissionregistrationv1.Mutation {
		return admissionregistrationv1.Mutation{PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{Expression: e}}
	}
	type policies [][]admissionregistrationv1.Mutation
	for name, tt := range map[string]struct {
		policies policies
		again    bool
		wrong    string // part of the refusal
		show     func(*corev1.Pod) string
		want     string
	}{
		"an apply configuration": {policies: policies{{apply(`Object{metadata: Object.metadata{labels: {"x": "y"}}}`)}}, show: func(p *corev1.Pod) string { return p.Labels["x"] }, want: "y"},
		"a list that is a map": {policies: policies{{apply(`Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: "i", image: "x"}]}}`)}},
			show: func(p *corev1.Pod) string {
				return strings.ToLower(fmt.Sprintf("%d %d %s", len(p.Spec.InitContainers), len(p.Spec.Containers), p.Spec.InitContainers[0].TerminationMessagePolicy))
			}, want: "1 1 file"},
		"a JSON patch": {policies: policies{{jsonPatch(`[JSONPatch{op: "add", path: "/metadata/annotations", value: {"a": "b"}}]`)}}, show: func(p *corev1.Pod) string { return p.Annotations["a"] }, want: "b"},
		"one mutation after the other": {policies: policies{{jsonPatch(`[JSONPatch{op: "add", path: "/metadata/annotations", value: {"a": "b"}}]`),
			jsonPatch(`[JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("c/d"), value: object.metadata.annotations.a}]`)}}, show: func(p *corev1.Pod) string { return p.Annotations["c/d"] }, want: "b"},
		"the first sees the second's change": {again: true, policies: policies{
			{apply(`has(object.metadata.labels) && "late" in object.metadata.labels ? Object{metadata: Object.metadata{labels: {"seen": "yes"}}} : Object{}`)},
			{apply(`Object{metadata: Object.metadata{labels: {"late": "yes"}}}`)}}, show: func(p *corev1.Pod) string { return p.Labels["seen"] }, want: "yes"},
		"the first does not look again": {policies: policies{
			{apply(`has(object.metadata.labels) && "late" in object.metadata.labels ? Object{metadata: Object.metadata{labels: {"seen": "yes"}}} : Object{}`)},
			{apply(`Object{metadata: Object.metadata{labels: {"late": "yes"}}}`)}}, show: func(p *corev1.Pod) string { return p.Labels["late"] + p.Labels["seen"] }, want: "yes"},
		"a patch that does not fit": {policies: policies{{jsonPatch(`[JSONPatch{op: "remove", path: "/metadata/nothing"}]`)}}, wrong: "denied request: "},
		"an object that is invalid": {policies: policies{{apply(`Object{spec: Object.spec{restartPolicy: "Sometimes"}}`)}}, wrong: "spec.restartPolicy: Unsupported value"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := p.namespace(t)
			policy := admissionregistrationv1.NeverReinvocationPolicy
			if tt.again {
				policy = admissionregistrationv1.IfNeededReinvocationPolicy
			}
			for n, mutations := range tt.policies {
				name := fmt.Sprintf("%s-%d", ns, n)
				if _, err := c.MutatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name},
					Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "pods"), ReinvocationPolicy: policy, Mutations: mutations}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				if _, err := c.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
					Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name, MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: here(ns)}}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := c.MutatingAdmissionPolicyBindings().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
					if err := c.MutatingAdmissionPolicies().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			got, err := p.typed.CoreV1().Pods(ns).Create(t.Context(), pod("p"), metav1.CreateOptions{})
			switch {
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("got %v, want %s", err, tt.wrong)
			case tt.wrong == "" && err != nil:
				t.Error(err)
			case tt.wrong == "" && tt.show(got) != tt.want:
				t.Errorf("got %s, want %s", tt.show(got), tt.want)
			}
		})
	}
}

// TestGeneratedName: who mutates sees no name where the client leaves it to the server, who validates sees the one that is stored. Recorded
// from an upstream server; the type comment of AdmissionRequest's name says the first half.
func TestGeneratedName(t *testing.T) {
	p := api(t)
	c := p.typed.AdmissionregistrationV1()
	ns := p.namespace(t)
	const seen = `(has(object.metadata.name) ? object.metadata.name : "none") + " [" + (has(request.name) ? request.name : "") + "]"`
	p.bind(t, ns, admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "configmaps"),
		Validations: []admissionregistrationv1.Validation{{Expression: "!has(object.data)", MessageExpression: seen}}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
	if _, err := c.MutatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "configmaps"), ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
				Expression: `Object{metadata: Object.metadata{annotations: {"seen": ` + seen + `}}}`}}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: ns, MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: here(ns)}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.MutatingAdmissionPolicyBindings().Delete(context.Background(), ns, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := c.MutatingAdmissionPolicies().Delete(context.Background(), ns, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	var got *corev1.ConfigMap
	within(t, 5*time.Second, "the policy is followed", func() error {
		var err error
		if got, err = p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "g-"}}, metav1.CreateOptions{}); err == nil && got.Annotations["seen"] == "" {
			err = fmt.Errorf("the policy is not followed yet")
		}
		return err
	})
	if got.Annotations["seen"] != "none []" {
		t.Errorf("who mutates saw %q", got.Annotations["seen"])
	}
	within(t, 5*time.Second, "the policy is followed", func() error {
		_, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "g-"}, Data: map[string]string{"a": "b"}}, metav1.CreateOptions{})
		if err == nil {
			return fmt.Errorf("the policy is not followed yet")
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), `configmaps "`), `"`)
		if !strings.HasPrefix(name, "g-") || !strings.HasSuffix(rest, ": "+name+" ["+name+"]") {
			t.Errorf("who validates: %v", err)
		}
		return nil
	})
}
