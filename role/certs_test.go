package role_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/role"
)

// certificateLife is what certificates live in the test below; with PROVE they live as long as a loaded machine may need.
func certificateLife() time.Duration {
	if os.Getenv("PROVE") != "" {
		return 18 * time.Second
	}
	return 9 * time.Second
}

// workplace is the namespace that they work in.
const workplace = "work"

// working is a control plane at which everybody is at work: users, a node, a part that runs elsewhere, another API server.
type working struct {
	*plane
	t     *testing.T
	ctx   context.Context
	typed *kubernetes.Clientset // a user's who has a token
	calls atomic.Int64
	check func() // that all which was open at the beginning is open still; nobody works on after it
}

// work begins it. Whoever fails is an error.
func work(t *testing.T, change func(*config.Config)) *working {
	t.Helper()
	w := &working{t: t}
	p, err := start(func(c *config.Config, s *role.Server) {
		c.Server.Disable = []string{"scheduler", "cloud-controllers"}
		change(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	cfg := p.Config
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	control := role.NewProgress(role.State{})
	p.Control(control)
	go func() { _ = role.Control(ctx, cfg.DataDir, control, stop, slog.New(slog.DiscardHandler)) }() // ends with ctx
	kubeconfig := role.KubeconfigPath(cfg.DataDir)
	ns, system := workplace, p.Client("system:apiserver", pki.MastersGroup)
	must(p.typed.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}))(t)
	within(t, 10*time.Second, "the service account", func() error {
		_, err := p.typed.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		return err
	})

	// A user who has a token: a watch, an informer and requests over one connection for all the time.
	user := rest.AnonymousClientConfig(p.admin)
	user.BearerToken = p.token(t, ns)
	bind(t, p, ns)
	typed := must(kubernetes.NewForConfig(user))(t)
	within(t, 10*time.Second, "the user's rights", func() error { // which follow the binding by a moment
		_, err := typed.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{})
		return err
	})
	watching := must(typed.CoreV1().ConfigMaps(ns).Watch(ctx, metav1.ListOptions{}))(t)
	informer := informers.NewSharedInformerFactoryWithOptions(typed, 0, informers.WithNamespace(ns)).Core().V1().ConfigMaps().Informer()
	if err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		if ctx.Err() == nil && !errors.Is(err, io.EOF) {
			t.Errorf("informer: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	go informer.Run(ctx.Done())

	// A node, whose certificates the cluster signs, and its kubelet.
	node, joined := joinNode(t, ctx, p, cfg.Node.Name+"-"+ns)
	services := client.Services.View(ctx, joined.Client, client.Selection{})
	// A part that runs elsewhere with the administrator's kubeconfig.
	part, _, err := remote.Follow(ctx, kubeconfig, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	// Another API server behind this one.
	h := openHarbour(t, p, "harbour."+ns+".svc")
	must(client.APIServices.Create(t.Context(), system, &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.sea.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{Group: "sea.example.com", Version: "v1", Service: &apiregistrationv1.ServiceReference{Namespace: ns, Name: "harbour", Port: &h.port},
			CABundle: h.ca.PEM(), GroupPriorityMinimum: 1500, VersionPriority: 10}}))(t)
	must(p.typed.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "harbour"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}, metav1.CreateOptions{}))(t)

	kubectl := func(path string) error { // reads its file anew, as each call of kubectl does
		c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		trust, err := rest.TLSConfigFor(c)
		if err != nil {
			return err
		}
		return get(&http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}, c.Host+path)
	}
	within(t, 10*time.Second, "the aggregated group", func() error { return kubectl("/apis/sea.example.com/v1/namespaces/x/boats") })
	calls := map[string]func() error{
		"kubectl":                func() error { return kubectl("/api/v1/namespaces/" + ns) },
		"another API server":     func() error { return kubectl("/apis/sea.example.com/v1/namespaces/x/boats") },
		"a node's kubelet":       func() error { return kubectl("/api/v1/nodes/" + node + "/proxy/healthz") },
		"the node":               func() error { _, err := client.Nodes.Get(ctx, joined.Client, "", node); return err },
		"a part that runs alone": func() error { _, err := client.Namespaces.Get(ctx, part, "", ns); return err },
		"a token's user":         func() error { _, err := typed.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{}); return err },
	}
	var workers sync.WaitGroup
	for name, do := range calls {
		workers.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
				w.calls.Add(1)
				if err := do(); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", name, err)
					time.Sleep(time.Second)
				}
			}
		})
	}

	w.plane, w.ctx, w.typed = p, ctx, typed
	w.check = func() {
		t.Helper()
		// All that was open is open still.
		must(client.ConfigMaps.Create(t.Context(), system, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "last"}}))(t)
		for last, late := "", time.After(5*time.Second); last != "last"; {
			select {
			case e, ok := <-watching.ResultChan():
				m, isMap := e.Object.(*corev1.ConfigMap)
				if !ok || !isMap {
					t.Fatalf("the watch ends with %v", e)
				}
				last = m.Name
			case <-late:
				t.Fatal("the watch does not say what was made last")
			}
		}
		within(t, 5*time.Second, "the informer", func() error {
			if _, ok, _ := informer.GetStore().GetByKey(ns + "/last"); !ok {
				return errors.New("it does not have the last object")
			}
			return nil
		})
		within(t, 5*time.Second, "the node's view", func() error {
			if _, ok := services.Get(ns, "harbour"); !ok {
				return errors.New("it does not have the Service")
			}
			return nil
		})
		stop()
		workers.Wait()
	}
	return w
}

// TestThreeGenerations: certificates and the key of tokens are replaced twice while everybody is at work, and nobody notices.
func TestThreeGenerations(t *testing.T) {
	t.Parallel()
	life := certificateLife()
	w := work(t, func(c *config.Config) { c.Server.CertificateLife = life.String() })
	cfg, ctx := w.Config, w.ctx
	// Longer than the life: what was there at the beginning is long over at the end.
	generations := map[string][]time.Time{}
	rotated := 0
	for began := time.Now(); time.Since(began) < life*3/2; time.Sleep(life / 40) {
		for _, dir := range []string{cfg.DataDir, filepath.Join(cfg.DataDir, "node")} {
			c := *cfg
			c.DataDir = dir
			for _, e := range must(role.Certificates(&c))(t) {
				if e.Ended(time.Now()) {
					t.Errorf("%s has ended: %+v", e.Name, e)
				}
				if at := e.Begins; e.Kind != "authority" && e.Kind != "retired token key" && !slices.Contains(generations[e.Name], at) {
					generations[e.Name] = append(generations[e.Name], at)
				}
			}
		}
		if rotated < 2 && time.Since(began) > time.Duration(rotated+1)*life/2 { // this one has a longer life, so it is asked for
			rotated++
			if err := role.AskTo(ctx, cfg.DataDir, "/certs/rotate?name="+pki.TokensName, func(string) {}); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range []string{"admin", "admin.kubeconfig", "apiserver", "apiserver-kubelet-client", "front-proxy-client", "agent/kubelet", "agent/kubelet-serving", pki.TokensName} {
		if len(generations[name]) < 3 {
			t.Errorf("%s: generations %v, want three", name, generations[name])
		}
	}
	if keys := string(must(w.typed.RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context()))(t)); strings.Count(keys, `"kid"`) != 3 {
		t.Errorf("keys of tokens: %s", keys)
	}
	w.check()
	t.Logf("%d requests, certificates' life %s, generations of the API server's %v", w.calls.Load(), life, generations["apiserver"])
}

// bind lets the default service account of a namespace read ConfigMaps there.
func bind(t *testing.T, p *plane, ns string) {
	t.Helper()
	p.as(t, "admin").do(t, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/"+ns+"/rolebindings", text("rbac.authorization.k8s.io/v1", "RoleBinding", "view",
		`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`, `"subjects":[{"kind":"ServiceAccount","name":"default","namespace":"`+ns+`"}]`))
}

// joinNode joins as a node, with a kubelet that answers those who show a certificate of the cluster.
func joinNode(t *testing.T, ctx context.Context, p *plane, name string) (string, *role.Joined) {
	t.Helper()
	system := p.Client("system:apiserver", pki.MastersGroup)
	must(client.Secrets.Create(ctx, system, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"), "auth-extra-groups": []byte(role.JoinGroup)}}))(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	must(client.Nodes.Create(ctx, system, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))(t)
	within(t, 10*time.Second, "the node's status", func() error { // controllers write to it meanwhile
		made, err := client.Nodes.Get(ctx, system, "", name)
		if err != nil {
			return err
		}
		made = made.DeepCopy()
		made.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: name}}
		made.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(l.Addr().(*net.TCPAddr).Port)
		_, err = client.Nodes.UpdateStatus(ctx, system, made)
		return err
	})

	c := &config.Config{DataDir: filepath.Join(p.Config.DataDir, "node"), Node: config.Node{Name: name, Server: p.url,
		Token: "abcdef.0123456789abcdef:" + strings.TrimPrefix(p.PKI.CA.Fingerprint(), "sha256:")}}
	if err := os.MkdirAll(filepath.Join(c.DataDir, "agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	joined, err := role.Join(ctx, c, pki.KubeletServing(name, []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	callers := authn.NewCertificates(joined.Node.CAs.Pool)
	kubelet := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, _, err := callers.Authenticate(r); err != nil || u == nil || u.Username != pki.KubeletClientUser {
			http.Error(w, fmt.Sprintf("who are you? %v", err), http.StatusUnauthorized)
		}
	}), TLSConfig: &tls.Config{GetCertificate: joined.Serving.GetCertificate, ClientAuth: tls.RequestClientCert}}
	go func() { _ = kubelet.ServeTLS(l, "", "") }() // until it is closed
	t.Cleanup(func() { _ = kubelet.Close() })
	return name, joined
}

// get is an error unless the answer is good.
func get(c *http.Client, url string) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", resp.StatusCode, data)
	}
	return err
}

// within waits until f is content.
func within(t testing.TB, patience time.Duration, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
