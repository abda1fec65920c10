package role_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// handler sends requests straight to the handler with a token that may do all: no TLS, no connection.
type handler struct {
	p     *plane
	token string
}

func (p *plane) direct(b *testing.B) (handler, string) {
	b.Helper()
	ns := p.namespace(b)
	r, err := p.typed.CoreV1().ServiceAccounts(ns).CreateToken(b.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	binding := text("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", ns, `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}`,
		fmt.Sprintf(`"subjects":[{"kind":"ServiceAccount","namespace":%q,"name":"default"}]`, ns))
	if a := p.as(b, "admin").do(b, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding); a.code != 201 {
		b.Fatalf("HTTP %d %s", a.code, a.body)
	}
	return handler{p, r.Status.Token}, ns
}

func (h handler) do(b *testing.B, w http.ResponseWriter, method, path, body, accept string) {
	r := httptest.NewRequestWithContext(b.Context(), method, path, bytes.NewReader([]byte(body)))
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	h.p.API.ServeHTTP(w, r)
}

// create posts an object in protobuf, as client-go does.
func (h handler) create(b *testing.B, path string, obj interface{ Marshal() ([]byte, error) }, kind string) {
	raw, err := obj.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: kind}, Raw: raw}
	body, err := u.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequestWithContext(b.Context(), "POST", path, io.MultiReader(strings.NewReader("k8s\x00"), bytes.NewReader(body)))
	r.ContentLength = int64(4 + len(body))
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("Content-Type", "application/vnd.kubernetes.protobuf")
	r.Header.Set("Accept", "application/vnd.kubernetes.protobuf,application/json")
	w := httptest.NewRecorder()
	if h.p.API.ServeHTTP(w, r); w.Code != 201 {
		b.Fatalf("HTTP %d: %s", w.Code, w.Body)
	}
}

func (h handler) must(b *testing.B, code int, method, path, body, accept string) {
	w := httptest.NewRecorder()
	if h.do(b, w, method, path, body, accept); w.Code != code {
		b.Fatalf("HTTP %d: %s", w.Code, w.Body)
	}
}

func BenchmarkCreateConfigMap(b *testing.B) {
	h, ns := api(b).direct(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		h.must(b, 201, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", fmt.Sprintf("c%d", n), `"data":{"k":"v"}`), "application/json")
	}
}

func BenchmarkPod(b *testing.B) {
	h, ns := api(b).direct(b)
	path := "/api/v1/namespaces/" + ns + "/pods"
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			h.must(b, 201, "POST", path, text("v1", "Pod", fmt.Sprintf("p%d-%d", b.N, n), podSpec), "application/json")
		}
	})
	b.Run("patch of status", func(b *testing.B) {
		name := fmt.Sprintf("u%d", time.Now().UnixNano())
		h.must(b, 201, "POST", path, text("v1", "Pod", name, podSpec), "application/json")
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(b.Context(), "PATCH", path+"/"+name+"/status", bytes.NewReader(fmt.Appendf(nil, `{"status":{"message":"%d"}}`, n)))
			r.Header.Set("Authorization", "Bearer "+h.token)
			r.Header.Set("Content-Type", "application/strategic-merge-patch+json")
			if h.p.API.ServeHTTP(w, r); w.Code != 200 {
				b.Fatalf("HTTP %d: %s", w.Code, w.Body)
			}
		}
	})
}

// BenchmarkApply is a Deployment that is applied again and again, as operators and pipelines do.
func BenchmarkApply(b *testing.B) {
	h, ns := api(b).direct(b)
	path := "/apis/apps/v1/namespaces/" + ns + "/deployments/web?fieldManager=bench"
	config := func(n int) string {
		return text("apps/v1", "Deployment", "web", fmt.Sprintf(deploymentSpec, fmt.Sprint(n), "a"))
	}
	apply := func(b *testing.B, n int) {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(b.Context(), "PATCH", path, bytes.NewReader([]byte(config(n))))
		r.Header.Set("Authorization", "Bearer "+h.token)
		r.Header.Set("Content-Type", "application/apply-patch+yaml")
		if h.p.API.ServeHTTP(w, r); w.Code != 200 && w.Code != 201 {
			b.Fatalf("HTTP %d: %s", w.Code, w.Body)
		}
	}
	apply(b, 1)
	b.Run("nothing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			apply(b, 1)
		}
	})
	b.Run("a field", func(b *testing.B) {
		b.ReportAllocs()
		for n := 2; b.Loop(); n++ {
			apply(b, n)
		}
	})
}

// BenchmarkCreate is a create as client-go sends it, of objects such as charts make.
func BenchmarkCreate(b *testing.B) {
	h, ns := api(b).direct(b)
	b.Run("ConfigMap", func(b *testing.B) {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Labels: map[string]string{"app.kubernetes.io/name": "shop", "app.kubernetes.io/part-of": "bench"}},
			Data: map[string]string{"application.properties": strings.Repeat("a.b=c\n", 150), "logging.conf": strings.Repeat("x", 300), "mode": "production"}}
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			c.Name = fmt.Sprintf("c%d-%d", b.N, n)
			h.create(b, "/api/v1/namespaces/"+ns+"/configmaps", c, "ConfigMap")
		}
	})
	b.Run("Pod", func(b *testing.B) {
		some := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Labels: map[string]string{"app": "write"}}, Spec: corev1.PodSpec{
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "app", Image: "registry.example.com/shop/app:v1.27.3", Args: []string{"--listen=:8080", "--log-level=info"},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env: []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
					{Name: "REGION", Value: "eu-north-1"}},
				Resources: corev1.ResourceRequirements{Requests: some, Limits: some},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready",
					Port: intstr.FromString("http")}}}}}}}
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			p.Name = fmt.Sprintf("p%d-%d", b.N, n)
			h.create(b, "/api/v1/namespaces/"+ns+"/pods", p, "Pod")
		}
	})
}

// nowhere takes an answer and forgets it.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

func BenchmarkList1000Pods(b *testing.B) {
	h, ns := api(b).direct(b)
	path := "/api/v1/namespaces/" + ns + "/pods"
	for n := range 1000 {
		h.must(b, 201, "POST", path, text("v1", "Pod", fmt.Sprintf("p%d", n), podSpec), "application/json")
	}
	for name, accept := range map[string]string{"protobuf": "application/vnd.kubernetes.protobuf", "JSON": "application/json",
		"table": "application/json;as=Table;g=meta.k8s.io;v=v1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.do(b, nowhere{http.Header{}}, "GET", path, "", accept)
			}
		})
	}
}

// counter counts the events that a watcher is sent: one line each.
type counter struct {
	header http.Header
	mu     sync.Mutex
	cond   *sync.Cond
	lines  int
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Flush()              {}
func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.lines += bytes.Count(p, []byte("\n"))
	c.mu.Unlock()
	c.cond.Broadcast()
	return len(p), nil
}

// BenchmarkWatch100 is one write that 100 watchers are told of, until the last of them has it.
func BenchmarkWatch100(b *testing.B) {
	h, ns := api(b).direct(b)
	path := "/api/v1/namespaces/" + ns + "/configmaps"
	h.must(b, 201, "POST", path, text("v1", "ConfigMap", "c"), "application/json")
	ctx, cancel := context.WithCancel(b.Context())
	var g sync.WaitGroup
	all := make([]*counter, 100)
	for n := range all {
		c := &counter{header: http.Header{}}
		c.cond = sync.NewCond(&c.mu)
		all[n] = c
		g.Go(func() {
			r := httptest.NewRequestWithContext(ctx, "GET", path+"?watch=1", nil)
			r.Header.Set("Authorization", "Bearer "+h.token)
			h.p.API.ServeHTTP(c, r)
		})
	}
	wait := func(lines int) {
		for _, c := range all {
			c.mu.Lock()
			for c.lines < lines {
				c.cond.Wait()
			}
			c.mu.Unlock()
		}
	}
	wait(1)
	b.ReportAllocs()
	seen := 1
	for b.Loop() {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, "PATCH", path+"/c", bytes.NewReader(fmt.Appendf(nil, `{"data":{"k":"%d"}}`, seen)))
		r.Header.Set("Authorization", "Bearer "+h.token)
		r.Header.Set("Content-Type", "application/merge-patch+json")
		if h.p.API.ServeHTTP(w, r); w.Code != 200 {
			b.Fatalf("HTTP %d: %s", w.Code, w.Body)
		}
		seen++
		wait(seen)
	}
	cancel()
	g.Wait()
}
