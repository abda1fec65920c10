package role_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// plane is a control plane that is served over TLS on a random port: the real chain, stack and store, in memory,
// without the parts that act by themselves, so that nothing is written but by the tests.
type plane struct {
	*role.Server
	url   string
	admin *rest.Config
	typed *kubernetes.Clientset
	end   func() error
}

var (
	started sync.Once
	shared  *plane
	failed  error
)

// api gives the control plane that all tests of the package share; each works in a namespace of its own.
func api(t testing.TB) *plane {
	t.Helper()
	started.Do(func() { shared, failed = start() })
	if failed != nil {
		t.Fatal(failed)
	}
	return shared
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// start starts one; change, where given, sees its configuration before and the server before it runs.
func start(change ...func(*config.Config, *role.Server)) (*plane, error) {
	dir, err := os.MkdirTemp("", "lighter-api")
	if err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		return nil, err
	}
	c := config.Config{DataDir: dir, Server: config.Server{Store: "memory", Listen: fmt.Sprintf("localhost:%d", port),
		Advertise: "192.0.2.1", Disable: []string{"scheduler", "controllers", "cloud-controllers"}}} // an address for examples: nobody calls there
	for _, f := range change {
		f(&c, nil)
	}
	if err := c.Complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := role.NewServer(ctx, &c, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		return nil, err
	}
	for _, f := range change {
		f(&c, s)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		return nil, err
	}
	p := &plane{Server: s, end: func() error {
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return errors.Join(err, os.RemoveAll(dir))
	}}
	if err := s.WriteKubeconfig(); err != nil {
		return nil, errors.Join(err, p.end())
	}
	if p.admin, err = clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "server", "admin.kubeconfig")); err != nil {
		return nil, errors.Join(err, p.end())
	}
	p.admin.QPS = -1
	p.url = strings.TrimSuffix(p.admin.Host, "/")
	if p.typed, err = kubernetes.NewForConfig(p.admin); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// namespace makes a namespace with the service account that pods need there.
func (p *plane) namespace(t testing.TB) string {
	t.Helper()
	ns, err := p.typed.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.typed.CoreV1().ServiceAccounts(ns.Name).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// caller sends requests as somebody.
type caller struct {
	url   string
	http  *http.Client
	token string

	patience time.Duration // with each request; 0: ten seconds
}

// as gives a caller with the administrator's certificate, or without any ("anonymous"), or with a token.
func (p *plane) as(t testing.TB, who string) caller {
	t.Helper()
	c := rest.CopyConfig(p.admin)
	out := caller{url: p.url}
	if who != "admin" {
		c = rest.AnonymousClientConfig(c)
		if who != "anonymous" {
			out.token = who
		}
	}
	var err error
	if out.http, err = rest.HTTPClientFor(c); err != nil {
		t.Fatal(err)
	}
	return out
}

// token is a service account's token.
func (p *plane) token(t testing.TB, namespace string) string {
	t.Helper()
	r, err := p.typed.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// status reads the answer as a Status; another kind gives an empty one.
func (a answer) status() (s metav1.Status) {
	if err := yaml.Unmarshal(a.body, &s); err != nil || s.Kind != "Status" {
		return metav1.Status{}
	}
	return s
}

// into reads the answer.
func into[T any](t testing.TB, a answer, code int) (out T) {
	t.Helper()
	if a.code != code {
		t.Fatalf("HTTP %d, want %d: %s", a.code, code, a.body)
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return out
}

// do sends a request. Headers are "Name: value"; without a Content-Type a body is JSON.
func (c caller) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.patience, 10*time.Second))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := reads.Get().(*bytes.Buffer)
	defer reads.Put(b)
	b.Reset()
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, bytes.Clone(b.Bytes())}
}

// reads are what answers are read into: what a request costs is to be the server's.
var reads = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// revision is the newest that the server's memory shows.
func (p *plane) revision() uint64 { return p.Direct.Registry.State.Revision() }

// text makes an object's JSON from a few words: text("v1", "ConfigMap", "a", `"data":{"k":"v"}`).
func text(apiVersion, kind, name string, more ...string) string {
	fields := append([]string{fmt.Sprintf(`"apiVersion":%q,"kind":%q,"metadata":{"name":%q}`, apiVersion, kind, name)}, more...)
	return "{" + strings.Join(fields, ",") + "}"
}
