package role_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// harbour is another API server, of boats.
type harbour struct {
	*httptest.Server
	ca   *pki.Authority
	port int32

	second atomic.Bool // it serves other things than at first
	silent atomic.Bool // it does not say where its documents are
}

// openHarbour serves boats to those whom the cluster's front proxy names.
func openHarbour(t *testing.T, p *plane, name string) *harbour {
	t.Helper()
	facts := must(p.typed.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{}))(t).Data
	trust := must(pki.NewTrust([]byte(facts["requestheader-client-ca-file"])))(t)
	callers := authn.NewCertificates(trust.Pool)
	client.ConfigMaps.View(t.Context(), p.Client("system:apiserver", pki.MastersGroup), client.Selection{Namespace: "kube-system", Fields: "metadata.name=extension-apiserver-authentication"}).
		Subscribe(t.Context(), func(_, now *corev1.ConfigMap) { // as those do that are made with Kubernetes' library
			if next, err := pki.NewTrust([]byte(now.Data["requestheader-client-ca-file"])); err == nil {
				trust.Set(next.Trusted()...)
			}
		})
	if facts["requestheader-allowed-names"] != `["front-proxy-client"]` {
		t.Fatalf("how other API servers know whom to believe: %v", facts)
	}
	mux := http.NewServeMux()
	h := &harbour{ca: must(pki.NewAuthority("harbour"))(t)}
	answer := func(v ...any) http.HandlerFunc { // at first, and then
		return func(w http.ResponseWriter, r *http.Request) {
			if h.silent.Load() && r.URL.Path == "/openapi/v3" {
				http.Error(w, "not now", http.StatusInternalServerError)
				return
			}
			now := v[0]
			if h.second.Load() {
				now = v[len(v)-1]
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(now)
		}
	}
	boats := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "sea.example.com/v1",
		APIResources: []metav1.APIResource{{Name: "boats", SingularName: "boat", Namespaced: true, Kind: "Boat", Verbs: metav1.Verbs{"get", "list"}}, {Name: "boats/status", Namespaced: true, Kind: "Boat", Verbs: metav1.Verbs{"get"}}}}
	ships := boats
	ships.APIResources = append([]metav1.APIResource{{Name: "ships", SingularName: "ship", Kind: "Ship", Verbs: metav1.Verbs{"get"}}}, boats.APIResources...)
	mux.Handle("/apis/sea.example.com/v1", answer(boats, ships))
	index := func(hash string) any {
		return map[string]any{"paths": map[string]any{"apis/sea.example.com/v1": map[string]string{"serverRelativeURL": "/openapi/v3/apis/sea.example.com/v1?hash=" + hash}}}
	}
	mux.Handle("/openapi/v3", answer(index("X"), index("Y")))
	document := func(hash, field string) any { // with a boat that has this field in its spec
		return map[string]any{"openapi": "3.0.0", "hash": hash, "components": map[string]any{"schemas": map[string]any{
			"sea.Boat": map[string]any{"type": "object", "x-kubernetes-group-version-kind": []any{map[string]string{"group": "sea.example.com", "version": "v1", "kind": "Boat"}},
				"properties": map[string]any{"metadata": map[string]any{"type": "object"},
					"spec": map[string]any{"description": "what it is", "default": map[string]any{}, "allOf": []any{map[string]string{"$ref": "#/components/schemas/sea.BoatSpec"}}}}},
			"sea.BoatSpec": map[string]any{"type": "object", "properties": map[string]any{field: map[string]string{"type": "integer", "format": "int32"},
				"tender": map[string]string{"$ref": "#/components/schemas/sea.Boat"}}}}}}
	}
	mux.Handle("/openapi/v3/apis/sea.example.com/v1", answer(document("X", "length"), document("Y", "size")))
	mux.Handle("/openapi/v2", answer(map[string]any{"swagger": "2.0", "info": map[string]string{"title": "sea", "version": "1"},
		"paths": map[string]any{"/apis/sea.example.com/v1/boats": map[string]any{"get": map[string]any{"operationId": "listBoats", "responses": map[string]any{}}}}}))
	mux.HandleFunc("/apis/sea.example.com/v1/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.RequestURI(), "user": r.Header.Get("X-Remote-User"), "groups": r.Header.Values("X-Remote-Group"),
			"secret": r.Header.Get("Authorization") + r.Header.Get("Impersonate-User")})
	})
	pair := must(h.ca.Issue(pki.Spec{CommonName: name, DNSNames: []string{name}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))(t)
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, _, err := callers.Authenticate(r); err != nil || u == nil || u.Username != "front-proxy-client" {
			http.Error(w, "whoever you are", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{*pair.TLS()}, ClientAuth: tls.RequireAnyClientCert}
	h.StartTLS()
	t.Cleanup(h.Close)
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	n := must(strconv.Atoi(port))(t)
	h.port = int32(n)
	return h
}

// TestAggregation: another server's group is served through this one, as the user who asks, while that server answers.
func TestAggregation(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	h := openHarbour(t, p, "harbour."+ns+".svc")
	c := p.Client("system:apiserver", pki.MastersGroup)
	object := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.sea.example.com"}, Spec: apiregistrationv1.APIServiceSpec{Group: "sea.example.com", Version: "v1",
		Service: &apiregistrationv1.ServiceReference{Namespace: ns, Name: "harbour", Port: &h.port}, CABundle: h.ca.PEM(), GroupPriorityMinimum: 1500, VersionPriority: 10}}
	object = must(client.APIServices.Create(t.Context(), c, object))(t)
	available := func(want string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			o := must(client.APIServices.Get(t.Context(), c, "", object.Name))(t)
			for _, one := range o.Status.Conditions {
				if got = fmt.Sprint(one.Status, " ", one.Reason, ": ", one.Message); strings.HasPrefix(got, want) {
					return
				}
			}
		}
		t.Fatalf("condition %q, want %q", got, want)
	}
	available(fmt.Sprintf(`False ServiceNotFound: service/harbour in %q is not present`, ns))
	admin := p.as(t, "admin")
	if a := admin.do(t, "GET", "/apis/sea.example.com/v1/namespaces/x/boats", ""); a.code != 503 {
		t.Errorf("while nobody answers: HTTP %d", a.code)
	}
	must(p.typed.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "harbour"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}, metav1.CreateOptions{}))(t)
	available("True Passed: all checks passed")

	boats := func(as caller, headers ...string) map[string]any {
		return into[map[string]any](t, as.do(t, "GET", "/apis/sea.example.com/v1/namespaces/x/boats?limit=1", "", headers...), 200)
	}
	if got := boats(admin, "X-Remote-User: mallory"); got["user"] != pki.AdminUser || got["path"] != "/apis/sea.example.com/v1/namespaces/x/boats?limit=1" || got["secret"] != "" ||
		!strings.Contains(fmt.Sprint(got["groups"]), "system:masters") {
		t.Errorf("passed on: %v", got)
	}
	if got := boats(admin, "Impersonate-User: ann", "Impersonate-Group: system:masters"); got["user"] != "ann" || got["secret"] != "" {
		t.Errorf("as somebody else: %v", got)
	}
	if a := p.as(t, p.token(t, ns)).do(t, "GET", "/apis/sea.example.com/v1/namespaces/x/boats", ""); a.code != 403 {
		t.Errorf("without rights: HTTP %d", a.code)
	}
	list := must(p.typed.Discovery().ServerResourcesForGroupVersion("sea.example.com/v1"))(t)
	if len(list.APIResources) != 2 || list.APIResources[0].Name != "boats" {
		t.Errorf("resources %v", list.APIResources)
	}
	if a := admin.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"); !strings.Contains(string(a.body), `"name":"sea.example.com"`) || !strings.Contains(string(a.body), `"resource":"boats"`) {
		t.Errorf("discovery: %s", a.body)
	}
	if a := admin.do(t, "GET", "/openapi/v2", ""); !strings.Contains(string(a.body), `"listBoats"`) || !strings.Contains(string(a.body), "/api/v1/pods") {
		t.Errorf("OpenAPI v2 of the backend is not merged: HTTP %d, %d bytes", a.code, len(a.body))
	}
	if a := admin.do(t, "GET", "/openapi/v3", ""); !strings.Contains(string(a.body), `/openapi/v3/apis/sea.example.com/v1?hash=X`) {
		t.Errorf("OpenAPI: %s", a.body)
	}
	// again has the server be asked what it serves, without the wait of those who answer.
	again := func(what, want string) {
		t.Helper()
		object = must(client.APIServices.Get(t.Context(), c, "", object.Name))(t).DeepCopy()
		object.Spec.VersionPriority++
		object = must(client.APIServices.Update(t.Context(), c, object))(t)
		within(t, 20*time.Second, what, func() error {
			index, groups := admin.do(t, "GET", "/openapi/v3", ""), admin.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
			_, hash, _ := strings.Cut(string(index.body), "/openapi/v3/apis/sea.example.com/v1?hash=")
			if got := fmt.Sprintf("%.1s %v", hash, strings.Contains(string(groups.body), `"resource":"ships"`)); got != want {
				return fmt.Errorf("hash and ships: %s, want %s", got, want)
			}
			return nil
		})
	}
	h.silent.Store(true)
	h.second.Store(true)
	again("what it serves anew is shown, and the document that nobody spoke of stays", "X true")
	h.silent.Store(false)
	again("the new document is shown", "Y true")
	h.second.Store(false)
	again("what it served at first is shown", "X false")
	if a := admin.do(t, "GET", "/openapi/v3/apis/sea.example.com/v1?hash=X", ""); !strings.Contains(string(a.body), `"hash":"X"`) {
		t.Errorf("OpenAPI document: HTTP %d %s", a.code, a.body)
	}

	h.Close()
	if a := admin.do(t, "GET", "/apis/sea.example.com/v1/namespaces/x/boats", ""); a.code != 503 {
		t.Errorf("of a server that is gone: HTTP %d", a.code)
	}
	available("False FailedDiscoveryCheck: failing or missing response from https://harbour." + ns + ".svc:")
	if a := admin.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"); !strings.Contains(string(a.body), `"freshness":"Stale"`) {
		t.Errorf("discovery of a server that is gone: %s", a.body)
	}
	if err := client.APIServices.Delete(t.Context(), c, "", object.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if a := admin.do(t, "GET", "/apis/sea.example.com/v1/namespaces/x/boats", ""); a.code == 404 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("without the object: HTTP %d", a.code)
		}
	}
}

// TestLocalAPIServices: what this server serves is listed, as available.
func TestLocalAPIServices(t *testing.T) {
	p := api(t)
	c := p.Client("system:apiserver", pki.MastersGroup)
	for _, name := range []string{"v1.", "v1.apps", "v2.autoscaling"} {
		var o *apiregistrationv1.APIService
		var err error
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if o, err = client.APIServices.Get(t.Context(), c, "", name); err == nil {
				break
			}
		}
		if err != nil || len(o.Status.Conditions) != 1 || o.Status.Conditions[0].Reason != "Local" || o.Labels["kube-aggregator.kubernetes.io/automanaged"] != "onstart" {
			t.Errorf("%s: %v, %v", name, o, err)
		}
	}
}

// TestFrontProxy: who shows a front proxy's certificate is believed about who asks; nobody else is.
func TestFrontProxy(t *testing.T) {
	p := api(t)
	ask := func(a *pki.Authority, s pki.Spec) (int, authenticationv1.UserInfo) {
		pair := must(a.Issue(s))(t)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.PKI.CA.Pool(), Certificates: []tls.Certificate{*pair.TLS()}}}}
		r := must(http.NewRequestWithContext(t.Context(), "POST", p.url+"/apis/authentication.k8s.io/v1/selfsubjectreviews", strings.NewReader(`{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`)))(t)
		r.Header.Set("Content-Type", "application/json")
		for name, value := range map[string]string{"X-Remote-User": "ann", "X-Remote-Group": "crew", "X-Remote-Uid": "7", "X-Remote-Extra-Ship%2fname": "Argo"} {
			r.Header.Set(name, value)
		}
		res := must(c.Do(r))(t)
		defer res.Body.Close()
		var review authenticationv1.SelfSubjectReview
		_ = json.NewDecoder(res.Body).Decode(&review)
		return res.StatusCode, review.Status.UserInfo
	}
	if code, u := ask(p.PKI.Proxy, pki.FrontProxy()); code != 201 || u.Username != "ann" || u.UID != "7" || fmt.Sprint(u.Groups) != "[crew system:authenticated]" || fmt.Sprint(u.Extra) != "map[ship/name:[Argo]]" {
		t.Errorf("of a front proxy: HTTP %d, %+v", code, u)
	}
	if code, u := ask(p.PKI.Proxy, pki.Client("somebody")); code != 401 {
		t.Errorf("of another whom that authority vouches for: HTTP %d, %+v", code, u)
	}
	if code, u := ask(p.PKI.CA, pki.Admin()); code != 201 || u.Username != pki.AdminUser {
		t.Errorf("of a client: HTTP %d, %+v", code, u)
	}
}
