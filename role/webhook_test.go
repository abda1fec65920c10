package role_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/role"
)

// hookServer is a webhook over TLS on this machine. It answers what its function says and remembers what it was asked.
type hookServer struct {
	url string
	ca  []byte

	mu    sync.Mutex
	asked []*admissionv1.AdmissionRequest
}

type decision func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse

func newHook(t testing.TB, decide decision) *hookServer {
	t.Helper()
	s := &hookServer{}
	return s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.asked = append(s.asked, review.Request)
		s.mu.Unlock()
		answer := decide(review.Request)
		answer.UID = review.Request.UID
		if len(answer.Patch) > 0 {
			json := admissionv1.PatchTypeJSONPatch
			answer.PatchType = &json
		}
		review.Request, review.Response = nil, answer
		_ = json.NewEncoder(w).Encode(&review) // who asked sees that it is not whole
	})
}

func (s *hookServer) serve(t testing.TB, h http.HandlerFunc) *hookServer {
	t.Helper()
	web := httptest.NewTLSServer(h)
	t.Cleanup(web.Close)
	s.url, s.ca = web.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	return s
}

// questions shows what was asked since the last call: "CREATE pods/x".
func (s *hookServer) questions() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.asked {
		what := q.Resource.Resource
		if q.SubResource != "" {
			what += "/" + q.SubResource
		}
		out = append(out, string(q.Operation)+" "+what)
	}
	s.asked = nil
	return out
}

func (s *hookServer) last(t testing.TB) *admissionv1.AdmissionRequest {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("the webhook was not asked")
	}
	return s.asked[len(s.asked)-1]
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

func patch(ops string) decision {
	return func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(ops)}
	}
}

func rule(ops string, resources ...string) admissionregistrationv1.RuleWithOperations {
	r := admissionregistrationv1.RuleWithOperations{Rule: admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: resources}}
	for _, op := range strings.Fields(ops) {
		r.Operations = append(r.Operations, admissionregistrationv1.OperationType(op))
	}
	return r
}

// here limits a webhook to one test's namespace.
func here(ns string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}}
}

// validating registers webhooks that validate; change may change the first's registration.
func (p *plane) validating(t testing.TB, ns string, s *hookServer, rules []admissionregistrationv1.RuleWithOperations,
	change ...func(*admissionregistrationv1.ValidatingWebhook)) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	h := admissionregistrationv1.ValidatingWebhook{Name: "check.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &s.url, CABundle: s.ca},
		Rules: rules, NamespaceSelector: here(ns), SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}}
	for _, f := range change {
		f(&h)
	}
	c, err := p.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: ns + "-"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{h}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(context.Background(), c.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return c
}

// mutating registers webhooks that mutate, in the order given.
func (p *plane) mutating(t testing.TB, ns string, rules []admissionregistrationv1.RuleWithOperations, servers []*hookServer, change ...func(int, *admissionregistrationv1.MutatingWebhook)) {
	t.Helper()
	c := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{GenerateName: ns + "-"}}
	for n, s := range servers {
		h := admissionregistrationv1.MutatingWebhook{Name: fmt.Sprintf("m%d.example.com", n), ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &s.url, CABundle: s.ca},
			Rules: rules, NamespaceSelector: here(ns), SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}}
		for _, f := range change {
			f(n, &h)
		}
		c.Webhooks = append(c.Webhooks, h)
	}
	c, err := p.typed.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), c, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.typed.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.Background(), c.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{}}
	for n := 0; n+1 < len(data); n += 2 {
		c.Data[data[n]] = data[n+1]
	}
	return c
}

// TestWebhookQuestions: what webhooks are asked about each kind of request, and what they are shown.
func TestWebhookQuestions(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	s := newHook(t, allow)
	p.validating(t, ns, s, []admissionregistrationv1.RuleWithOperations{rule("*", "*/*")})
	core, ctx := p.typed.CoreV1(), t.Context()
	replicas := int32(1)
	labels := map[string]string{"a": "b"}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("x").Spec}}}
	for _, step := range []struct {
		what string
		do   func() error
		want string
		kind string // of the object, or of the old one
	}{
		{"create", func() error { return second(core.ConfigMaps(ns).Create(ctx, configMap("c"), metav1.CreateOptions{})) }, "CREATE configmaps", "ConfigMap"},
		{"update", func() error {
			return second(core.ConfigMaps(ns).Update(ctx, configMap("c", "k", "v"), metav1.UpdateOptions{}))
		}, "UPDATE configmaps", "ConfigMap"},
		{"patch", func() error {
			return second(core.ConfigMaps(ns).Patch(ctx, "c", types.MergePatchType, []byte(`{"data":{"k":"w"}}`), metav1.PatchOptions{}))
		}, "UPDATE configmaps", "ConfigMap"},
		{"apply that creates", func() error {
			return second(core.ConfigMaps(ns).Patch(ctx, "n", types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n"},"data":{"k":"w"}}`), metav1.PatchOptions{FieldManager: "m"}))
		}, "CREATE configmaps", "ConfigMap"},
		{"delete of a collection", func() error {
			return core.ConfigMaps(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		}, "DELETE configmaps,DELETE configmaps", "ConfigMap"},
		{"pod", func() error { return second(core.Pods(ns).Create(ctx, pod("p"), metav1.CreateOptions{})) }, "CREATE pods", "Pod"},
		{"binding", func() error {
			return core.Pods(ns).Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{})
		}, "CREATE pods/binding", "Binding"},
		{"status", func() error {
			return second(core.Pods(ns).Patch(ctx, "p", types.MergePatchType, []byte(`{"status":{"message":"m"}}`), metav1.PatchOptions{}, "status"))
		}, "UPDATE pods/status", "Pod"},
		{"token", func() error {
			return second(core.ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
		}, "CREATE serviceaccounts/token", "TokenRequest"},
		{"exec", func() error {
			r := core.RESTClient().Post().Namespace(ns).Resource("pods").Name("p").SubResource("exec").Param("command", "ls").Param("stdin", "true")
			if err := r.Do(ctx).Error(); err != nil && !strings.Contains(err.Error(), `nodes "n" not found`) { // which comes after admission
				return err
			}
			return nil
		}, "CONNECT pods/exec", "PodExecOptions"},
		{"eviction", func() error {
			return p.typed.PolicyV1().Evictions(ns).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: ns}})
		}, "CREATE pods/eviction", "Eviction"},
		{"deployment", func() error {
			return second(p.typed.AppsV1().Deployments(ns).Create(ctx, deployment, metav1.CreateOptions{}))
		}, "CREATE deployments", "Deployment"},
		{"scale", func() error {
			return second(p.typed.AppsV1().Deployments(ns).UpdateScale(ctx, "d", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: ns},
				Spec: autoscalingv1.ScaleSpec{Replicas: 3}}, metav1.UpdateOptions{}))
		}, "UPDATE deployments/scale", "Scale"},
		{"a read", func() error { return second(core.Pods(ns).List(ctx, metav1.ListOptions{})) }, "", ""},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		var q *admissionv1.AdmissionRequest
		if step.want != "" {
			q = s.last(t)
		}
		if got := strings.Join(s.questions(), ","); got != step.want {
			t.Errorf("%s: asked %q, want %q", step.what, got, step.want)
			continue
		}
		if q == nil {
			continue
		}
		var object, old metav1.PartialObjectMetadata
		_ = json.Unmarshal(q.Object.Raw, &object) // a DELETE has none
		_ = json.Unmarshal(q.OldObject.Raw, &old)
		if q.Kind.Kind != step.kind || q.RequestKind.Kind != step.kind {
			t.Errorf("%s: kind %v and requestKind %v, want %s", step.what, q.Kind, q.RequestKind, step.kind)
		}
		if hasObject, hasOld := q.Operation != "DELETE", q.Operation == "UPDATE" || q.Operation == "DELETE"; (object.Kind == step.kind) != hasObject || (old.Kind == step.kind) != hasOld {
			t.Errorf("%s: object %s, oldObject %s", step.what, q.Object.Raw, q.OldObject.Raw)
		}
		if q.Namespace != ns || q.UserInfo.Username == "" || q.DryRun == nil || *q.DryRun {
			t.Errorf("%s: namespace %q, user %q, dryRun %v", step.what, q.Namespace, q.UserInfo.Username, q.DryRun)
		}
		if options := string(q.Options.Raw); q.Operation != "CONNECT" && !strings.Contains(strings.ToUpper(options), string(q.Operation)+"OPTIONS") {
			t.Errorf("%s: options %s", step.what, options)
		}
	}
}

// TestWebhookRefusals: what a client is told.
func TestWebhookRefusals(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	tests := map[string]struct {
		status *metav1.Status
		code   int32
		reason metav1.StatusReason
		text   string
	}{
		"with a message":   {&metav1.Status{Message: "not like this"}, 400, "", `admission webhook "check.example.com" denied the request: not like this`},
		"without a word":   {nil, 400, "", `admission webhook "check.example.com" denied the request without explanation`},
		"with a reason":    {&metav1.Status{Reason: "Teapot"}, 400, "Teapot", `admission webhook "check.example.com" denied the request: Teapot`},
		"with a code":      {&metav1.Status{Code: 403, Reason: "Forbidden", Message: "no"}, 403, "Forbidden", `admission webhook "check.example.com" denied the request: no`},
		"said to be fine":  {&metav1.Status{Code: 200, Status: "Success"}, 400, "", `admission webhook "check.example.com" denied the request without explanation`},
		"with a wild code": {&metav1.Status{Code: 999}, 400, "", `admission webhook "check.example.com" denied the request without explanation`},
	}
	var status *metav1.Status
	s := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: status}
	})
	p.validating(t, ns, s, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status = tt.status
			_, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap("c"), metav1.CreateOptions{})
			var got metav1.Status
			if e, ok := err.(apierrors.APIStatus); ok {
				got = e.Status()
			}
			if got.Code != tt.code || got.Reason != tt.reason || got.Message != tt.text || got.Status != "Failure" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestWebhookFailures: webhooks that cannot be asked, or answer what cannot be read.
func TestWebhookFailures(t *testing.T) {
	p := api(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "https://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	serve := func(f http.HandlerFunc) *hookServer { return (&hookServer{}).serve(t, f) }
	say := func(text string) *hookServer {
		return serve(func(w http.ResponseWriter, r *http.Request) {
			var q admissionv1.AdmissionReview
			if json.NewDecoder(r.Body).Decode(&q) == nil {
				text := strings.ReplaceAll(text, "UID", string(q.Request.UID))
				_, _ = io.WriteString(w, text)
			}
		})
	}
	const good = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":`
	end := make(chan struct{})
	tests := map[string]struct {
		server *hookServer
		text   string // part of the message
	}{
		"nobody listens": {&hookServer{url: gone}, `failed to call webhook: Post "` + gone + `?timeout=1s": dial tcp`},
		"not trusted":    {&hookServer{url: serve(nil).url}, "failed to call webhook: Post"},
		"says nothing": {serve(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-end:
			}
		}), "context deadline exceeded"},
		"an error":          {serve(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "boom", 500) }), `failed to call webhook: an error on the server ("boom") has prevented the request from succeeding`},
		"not there":         {serve(http.NotFound), "failed to call webhook: the server could not find the requested resource"},
		"leads elsewhere":   {serve(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://127.0.0.1:1/", 307) }), "failed to call webhook: "},
		"hangs up":          {serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "EOF"},
		"garbage":           {say("<html>"), "received invalid webhook response: couldn't get version/kind; json parse error"},
		"another kind":      {say(`{"kind":"Pod","apiVersion":"v1"}`), "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod"},
		"no response":       {say(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`), "received invalid webhook response: webhook response was absent"},
		"another's answer":  {say(good + `{"uid":"x","allowed":true}}`), `received invalid webhook response: expected response.uid="`},
		"patch, no type":    {say(good + `{"uid":"UID","allowed":true,"patch":"W10="}}`), "received invalid webhook response: webhook returned response.patch but not response.patchType"},
		"type, no patch":    {say(good + `{"uid":"UID","allowed":true,"patchType":"JSONPatch"}}`), "received invalid webhook response: webhook returned response.patchType but not response.patch"},
		"unknown patchType": {say(good + `{"uid":"UID","allowed":true,"patch":"W10=","patchType":"X"}}`), `received invalid webhook response: webhook returned invalid response.patchType of "X"`},
	}
	t.Cleanup(func() { close(end) }) // before the servers are closed, which wait for it
	for name, tt := range tests {
		for _, failure := range []admissionregistrationv1.FailurePolicyType{admissionregistrationv1.Fail, admissionregistrationv1.Ignore} {
			t.Run(name+", "+string(failure), func(t *testing.T) {
				ns := p.namespace(t)
				p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}, []*hookServer{tt.server}, func(_ int, h *admissionregistrationv1.MutatingWebhook) {
					h.FailurePolicy, h.TimeoutSeconds = &failure, ptr.To(int32(1))
				})
				_, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap("c"), metav1.CreateOptions{})
				if failure == admissionregistrationv1.Ignore {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if !apierrors.IsInternalError(err) || !strings.HasPrefix(err.Error(), `Internal error occurred: failed calling webhook "m0.example.com": `) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v\nwant %s", err, tt.text)
				}
			})
		}
	}
}

// TestWebhookPatches: what webhooks change is stored, with defaults and within what the request may change.
func TestWebhookPatches(t *testing.T) {
	p := api(t)
	ctx := t.Context()
	t.Run("one sees what the one before did", func(t *testing.T) {
		ns := p.namespace(t)
		one := newHook(t, patch(`[{"op":"add","path":"/data/one","value":"1"}]`))
		two := newHook(t, func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			if !strings.Contains(string(q.Object.Raw), `"one":"1"`) {
				return allow(q)
			}
			return patch(`[{"op":"add","path":"/data/two","value":"2"}]`)(q)
		})
		p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}, []*hookServer{one, two})
		c, err := p.typed.CoreV1().ConfigMaps(ns).Create(ctx, configMap("c", "k", "v"), metav1.CreateOptions{})
		if err != nil || c.Data["one"] != "1" || c.Data["two"] != "2" {
			t.Errorf("%v %v", c, err)
		}
	})
	t.Run("what is added gets its defaults", func(t *testing.T) {
		ns := p.namespace(t)
		s := newHook(t, patch(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"i","image":"x"}]}]`))
		p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "pods")}, []*hookServer{s})
		got, err := p.typed.CoreV1().Pods(ns).Create(ctx, pod("p"), metav1.CreateOptions{})
		if err != nil || len(got.Spec.InitContainers) != 1 || got.Spec.InitContainers[0].TerminationMessagePolicy != "File" || len(got.Spec.InitContainers[0].VolumeMounts) == 0 {
			t.Errorf("%v %+v", err, got.Spec.InitContainers) // the token's mount: built-in plugins see it too
		}
	})
	t.Run("a scale", func(t *testing.T) {
		ns := p.namespace(t)
		labels := map[string]string{"a": "b"}
		if _, err := p.typed.AppsV1().ReplicaSets(ns).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("x").Spec}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s := newHook(t, patch(`[{"op":"replace","path":"/spec/replicas","value":7}]`))
		p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("UPDATE", "replicasets/scale")}, []*hookServer{s})
		got, err := p.typed.AppsV1().ReplicaSets(ns).UpdateScale(ctx, "r", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: autoscalingv1.ScaleSpec{Replicas: 2}}, metav1.UpdateOptions{})
		if err != nil || got.Spec.Replicas != 7 {
			t.Errorf("%v %v", got, err)
		}
	})
	t.Run("a status update changes no spec", func(t *testing.T) {
		ns := p.namespace(t)
		if _, err := p.typed.CoreV1().Pods(ns).Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s := newHook(t, patch(`[{"op":"add","path":"/spec/priority","value":7},{"op":"add","path":"/status/reason","value":"R"}]`))
		p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("UPDATE", "pods/status")}, []*hookServer{s})
		got, err := p.typed.CoreV1().Pods(ns).Patch(ctx, "p", types.MergePatchType, []byte(`{"status":{"message":"m"}}`), metav1.PatchOptions{}, "status")
		if err != nil || got.Status.Reason != "R" || got.Status.Message != "m" || got.Spec.Priority != nil && *got.Spec.Priority == 7 {
			t.Errorf("%v %v", got, err)
		}
	})
	for name, tt := range map[string]struct{ patch, text string }{
		"a patch that does not fit": {`[{"op":"remove","path":"/data/nothing"}]`, `Internal error occurred: admission webhook "m0.example.com": apply patch`},
		"a patch that is none":      {`{"a":1}`, `Internal error occurred: admission webhook "m0.example.com": decode patch`},
		"another namespace":         {`[{"op":"replace","path":"/metadata/namespace","value":"kube-system"}]`, "the namespace of the provided object does not match the namespace sent on the request"},
		"an object that is invalid": {`[{"op":"add","path":"/data/a~1b","value":"x"}]`, `data[a/b]: Invalid value`},
	} {
		t.Run(name, func(t *testing.T) {
			ns := p.namespace(t)
			p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}, []*hookServer{newHook(t, patch(tt.patch))})
			_, err := p.typed.CoreV1().ConfigMaps(ns).Create(ctx, configMap("c", "k", "v"), metav1.CreateOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s", err, tt.text)
			}
		})
	}
}

// TestWebhookReinvocation: who is asked again when another one changes the object.
func TestWebhookReinvocation(t *testing.T) {
	p := api(t)
	once := `[{"op":"add","path":"/data/x","value":"y"}]`
	never, again := admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.IfNeededReinvocationPolicy
	for name, tt := range map[string]struct {
		policies []admissionregistrationv1.ReinvocationPolicyType
		patches  []string
		asked    []int
	}{
		"nobody changes anything":              {[]admissionregistrationv1.ReinvocationPolicyType{again, again}, []string{"", ""}, []int{1, 1}},
		"the later one changes":                {[]admissionregistrationv1.ReinvocationPolicyType{again, again}, []string{"", once}, []int{2, 1}},
		"the later one changes, nobody minds":  {[]admissionregistrationv1.ReinvocationPolicyType{never, again}, []string{"", once}, []int{1, 1}},
		"the first one changes":                {[]admissionregistrationv1.ReinvocationPolicyType{again, again}, []string{once, ""}, []int{1, 1}},
		"what the patch does is there already": {[]admissionregistrationv1.ReinvocationPolicyType{again, never}, []string{"", `[{"op":"add","path":"/data/k","value":"v"}]`}, []int{1, 1}},
		"the last of three, the second cares":  {[]admissionregistrationv1.ReinvocationPolicyType{never, again, never}, []string{"", "", once}, []int{1, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			ns := p.namespace(t)
			var servers []*hookServer
			for _, ops := range tt.patches {
				if ops == "" {
					servers = append(servers, newHook(t, allow))
					continue
				}
				servers = append(servers, newHook(t, patch(ops)))
			}
			p.mutating(t, ns, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}, servers, func(n int, h *admissionregistrationv1.MutatingWebhook) { h.ReinvocationPolicy = &tt.policies[n] })
			if _, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap("c", "k", "v"), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			for n, s := range servers {
				if got := len(s.questions()); got != tt.asked[n] {
					t.Errorf("webhook %d was asked %d times, want %d", n, got, tt.asked[n])
				}
			}
		})
	}
}

// TestWebhookConditions: selectors, match conditions, dry run, warnings, versions.
func TestWebhookConditions(t *testing.T) {
	p := api(t)
	ctx := t.Context()
	deny := func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Warnings: []string{"beware"}, Result: &metav1.Status{Message: "no"}}
	}
	cond := func(e string) func(*admissionregistrationv1.ValidatingWebhook) {
		return func(h *admissionregistrationv1.ValidatingWebhook) {
			h.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "c", Expression: e}}
		}
	}
	ignore := func(h *admissionregistrationv1.ValidatingWebhook) {
		h.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	}
	for name, tt := range map[string]struct {
		change []func(*admissionregistrationv1.ValidatingWebhook)
		want   string // part of the error; "": the request passes
	}{
		"asked":                           {nil, "denied the request: no"},
		"a condition that holds":          {[]func(*admissionregistrationv1.ValidatingWebhook){cond("object.metadata.name == 'c'")}, "denied the request: no"},
		"a condition that does not hold":  {[]func(*admissionregistrationv1.ValidatingWebhook){cond("object.metadata.name != 'c'")}, ""},
		"the authorizer says yes":         {[]func(*admissionregistrationv1.ValidatingWebhook){cond("!authorizer.group('').resource('pods').check('get').allowed()")}, ""},
		"by user":                         {[]func(*admissionregistrationv1.ValidatingWebhook){cond("request.userInfo.username == 'nobody'")}, ""},
		"a condition that fails":          {[]func(*admissionregistrationv1.ValidatingWebhook){cond("object.data.missing == 'x'")}, "no such key"},
		"a condition that fails, ignored": {[]func(*admissionregistrationv1.ValidatingWebhook){cond("object.data.missing == 'x'"), ignore}, ""},
		"another object":                  {[]func(*admissionregistrationv1.ValidatingWebhook){func(h *admissionregistrationv1.ValidatingWebhook) { h.ObjectSelector = here("x") }}, ""},
		"another namespace":               {[]func(*admissionregistrationv1.ValidatingWebhook){func(h *admissionregistrationv1.ValidatingWebhook) { h.NamespaceSelector = here("x") }}, ""},
		"cluster scope only": {[]func(*admissionregistrationv1.ValidatingWebhook){func(h *admissionregistrationv1.ValidatingWebhook) {
			h.Rules[0].Scope = ptr.To(admissionregistrationv1.ClusterScope)
		}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ns := p.namespace(t)
			p.validating(t, ns, newHook(t, deny), []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}, tt.change...)
			_, err := p.typed.CoreV1().ConfigMaps(ns).Create(ctx, configMap("c", "k", "v"), metav1.CreateOptions{})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("what is counted", func(t *testing.T) {
		ns := p.namespace(t)
		named := func(h *admissionregistrationv1.ValidatingWebhook) { h.Name = ns + ".example.com" }
		p.validating(t, ns, newHook(t, deny), []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")}, cond("object.metadata.name != 'c'"), named)
		if _, err := p.typed.CoreV1().ConfigMaps(ns).Create(ctx, configMap("c", "k", "v"), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
		got := string(p.as(t, "admin").do(t, "GET", "/metrics", "").body)
		for _, name := range []string{"exclusions_total", "evaluation_seconds_count"} {
			want := "apiserver_admission_match_condition_" + name + `{kind="webhook",name="` + ns + `.example.com",operation="CREATE",type="validating"} 1`
			if !strings.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
	})
	t.Run("conditions that do not compile", func(t *testing.T) {
		c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "a.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1")}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}}}}
		cond("... [}")(&c.Webhooks[0])
		_, err := p.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, c, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "webhooks[0].matchConditions[0].expression") || !strings.Contains(err.Error(), "compilation failed") {
			t.Error(err)
		}
	})
	t.Run("warnings", func(t *testing.T) {
		ns := p.namespace(t)
		p.validating(t, ns, newHook(t, deny), []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")})
		a := p.as(t, "admin").do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", "c"))
		if a.code != 400 || !slices.Contains(a.header.Values("Warning"), `299 - "beware"`) {
			t.Errorf("HTTP %d, %v", a.code, a.header.Values("Warning"))
		}
	})
	t.Run("dry run", func(t *testing.T) {
		ns := p.namespace(t)
		s := newHook(t, allow)
		p.validating(t, ns, s, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")})
		if _, err := p.typed.CoreV1().ConfigMaps(ns).Create(ctx, configMap("c"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
			t.Fatal(err)
		}
		if q := s.last(t); q.DryRun == nil || !*q.DryRun || !strings.Contains(string(q.Options.Raw), `"dryRun":["All"]`) {
			t.Errorf("%+v", q)
		}
	})
	t.Run("the version that is asked for", func(t *testing.T) {
		ns := p.namespace(t)
		s := newHook(t, allow)
		r := rule("CREATE", "events")
		r.APIGroups, r.APIVersions = []string{"events.k8s.io"}, []string{"v1"}
		exact := newHook(t, allow)
		p.validating(t, ns, s, []admissionregistrationv1.RuleWithOperations{r})
		p.validating(t, ns, exact, []admissionregistrationv1.RuleWithOperations{r}, func(h *admissionregistrationv1.ValidatingWebhook) {
			h.MatchPolicy = ptr.To(admissionregistrationv1.Exact)
		})
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: ns, Name: "p"}, Message: "hello"}
		if _, err := p.typed.CoreV1().Events(ns).Create(ctx, e, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		q := s.last(t)
		if q.Kind.Group != "events.k8s.io" || q.RequestKind.Group != "" || q.Resource.Group != "events.k8s.io" || !strings.Contains(string(q.Object.Raw), `"note":"hello"`) {
			t.Errorf("%+v %s", q, q.Object.Raw)
		}
		if got := exact.questions(); len(got) > 0 {
			t.Errorf("Exact was asked: %v", got)
		}
	})
	t.Run("not about configurations themselves", func(t *testing.T) {
		s := newHook(t, deny)
		c := p.validating(t, "any", s, []admissionregistrationv1.RuleWithOperations{{Operations: []admissionregistrationv1.OperationType{"*"}, Rule: admissionregistrationv1.Rule{
			APIGroups: []string{"admissionregistration.k8s.io"}, APIVersions: []string{"*"}, Resources: []string{"*"}}}}, func(h *admissionregistrationv1.ValidatingWebhook) { h.NamespaceSelector = nil })
		if err := p.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, c.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if got := s.questions(); len(got) > 0 {
			t.Errorf("asked: %v", got)
		}
	})
}

// TestWebhookInItsOwnWay: a webhook that refuses its own pods is seen, said and breakable.
func TestWebhookInItsOwnWay(t *testing.T) {
	p := api(t)
	ctx, ns := t.Context(), p.namespace(t)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "hook"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "hook"},
		Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(8443)}}}}
	if _, err := p.typed.CoreV1().Services(ns).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c := p.validating(t, ns, newHook(t, allow), []admissionregistrationv1.RuleWithOperations{rule("CREATE", "pods")}, func(h *admissionregistrationv1.ValidatingWebhook) {
		h.ClientConfig = admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: ns, Name: "hook", Path: ptr.To("/check")}}
	})
	mine := pod("mine")
	mine.Labels = map[string]string{"app": "hook"}
	_, err := p.typed.CoreV1().Pods(ns).Create(ctx, mine, metav1.CreateOptions{})
	want := fmt.Sprintf(`Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://hook.%s.svc:443/check?timeout=10s": no endpoints available for service "hook"`, ns)
	if err == nil || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	said := func(reason string) bool {
		for range 200 {
			all, err := p.typed.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + c.Name + ",reason=" + reason})
			if err != nil {
				t.Fatal(err)
			}
			if len(all.Items) > 0 {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	}
	if !said("WebhookBlocksItself") {
		t.Error("nobody said that the webhook stands in its own way")
	}
	bypass := func(until time.Time) []byte {
		return fmt.Appendf(nil, `{"metadata":{"annotations":{"admission.lighter-k8s.io/bypass-until":%q}}}`, until.UTC().Format(time.RFC3339))
	}
	// Somebody who may write configurations, and no more.
	grant(t, p, "", "system:serviceaccount:"+ns+":default", rbacv1.PolicyRule{Verbs: []string{"get", "patch", "update"},
		APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"validatingwebhookconfigurations"}})
	path := "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/" + c.Name
	other := p.as(t, p.token(t, ns))
	if a := other.do(t, "PATCH", path, string(bypass(time.Now().Add(time.Minute))), "Content-Type: application/merge-patch+json"); a.code != 403 || !strings.Contains(string(a.body), "may not bypass webhooks") {
		t.Errorf("HTTP %d %s", a.code, a.body)
	}
	if a := other.do(t, "PATCH", path, `{"metadata":{"labels":{"a":"b"}}}`, "Content-Type: application/merge-patch+json"); a.code != 200 {
		t.Errorf("HTTP %d %s", a.code, a.body)
	}
	hooks := p.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := hooks.Patch(ctx, c.Name, types.MergePatchType, bypass(time.Now().Add(48*time.Hour)), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("two days: %v", err)
	}
	if _, err := hooks.Patch(ctx, c.Name, types.MergePatchType, bypass(time.Now().Add(time.Minute)), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if !said("Bypassed") {
		t.Error("nobody said that the webhook is left out")
	}
	if _, err := p.typed.CoreV1().Pods(ns).Create(ctx, mine, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := hooks.Patch(ctx, c.Name, types.MergePatchType, bypass(time.Now().Add(-time.Second)), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	mine.Name = "second"
	if _, err := p.typed.CoreV1().Pods(ns).Create(ctx, mine, metav1.CreateOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("after the bypass: %v", err)
	}
}

// TestBlocksNodes: a policy or a webhook that refuses the heartbeats of nodes is said, as an event and in what 'lighter status' shows.
func TestBlocksNodes(t *testing.T) {
	p := api(t)
	beat := func(name string) error {
		_, err := p.typed.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{DryRun: []string{"All"}})
		return err
	}
	said := func(by string) {
		t.Helper()
		within(t, 5*time.Second, "an event about "+by, func() error {
			all, err := p.typed.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=BlocksNodes,involvedObject.name=" + by})
			if err == nil && len(all.Items) == 0 {
				err = errors.New("there is none")
			}
			return err
		})
		control := role.NewProgress(role.State{})
		p.Control(control)
		if wrong := strings.Join(control.State().Wrong, "\n"); !strings.Contains(wrong, "lighter admission bypass "+by+" --for 10m") {
			t.Errorf("the status says %q", wrong)
		}
	}
	leases := rule("*", "leases")
	leases.APIGroups = []string{"coordination.k8s.io"}
	name, _ := p.bind(t, corev1.NamespaceNodeLease, admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: leases}}},
		Validations:      []admissionregistrationv1.Validation{{Expression: "object.metadata.name != 'one'"}}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
	within(t, 5*time.Second, "the policy refuses", func() error {
		if beat("one") == nil {
			return errors.New("it does not")
		}
		return nil
	})
	said(name)
	hook := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "no"}}
	})
	c := p.validating(t, corev1.NamespaceNodeLease, hook, []admissionregistrationv1.RuleWithOperations{leases})
	within(t, 5*time.Second, "the webhook refuses", func() error {
		if beat("two") == nil {
			return errors.New("it does not")
		}
		return nil
	})
	said(c.Name)
}

// TestWebhooksSeeGeneratedNames: a webhook that validates sees the name that the server made, in the object and as the request's. Source: what a
// kube-apiserver 1.37.2 says to a policy (TestGeneratedName); the type comment of AdmissionRequest's name speaks of who is asked before.
func TestWebhooksSeeGeneratedNames(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	hook := newHook(t, allow)
	p.validating(t, ns, hook, []admissionregistrationv1.RuleWithOperations{rule("CREATE", "configmaps")})
	for _, tt := range []struct{ name, prefix, want string }{{"", "made-", "made-"}, {"given", "", "given"}, {"made-given", "made-", "made-given"}} {
		got, err := p.typed.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: tt.name, GenerateName: tt.prefix}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		asked := hook.last(t)
		var seen corev1.ConfigMap
		if err := json.Unmarshal(asked.Object.Raw, &seen); err != nil {
			t.Fatal(err)
		}
		if asked.Name != got.Name || !strings.HasPrefix(asked.Name, tt.want) || seen.Name != got.Name {
			t.Errorf("%q %q: the request names %q, want %q; the object is %q, stored as %q", tt.name, tt.prefix, asked.Name, tt.want, seen.Name, got.Name)
		}
	}
	policy, bound := p.bind(t, ns, admissionregistrationv1.ValidatingAdmissionPolicySpec{MatchConstraints: policyRules("CREATE", "secrets"),
		Validations: []admissionregistrationv1.Validation{{Expression: "request.name == object.metadata.name && object.metadata.name.startsWith('made-')"}}}, admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{})
	if _, err := p.typed.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}}, metav1.CreateOptions{}); err != nil {
		t.Error(policy, bound, err)
	}
}
