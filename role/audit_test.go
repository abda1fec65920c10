package role_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// audited is a control plane with a policy of its own, whose log is read, and which sends the same to a webhook.
type audited struct {
	*plane
	path string

	mu     sync.Mutex
	posted []string // events that the webhook got
}

// entry is what these tests look at of an event of audit.k8s.io/v1.
type entry struct {
	Level, AuditID, Stage, RequestURI, Verb string
	User                                    authenticationv1.UserInfo
	ImpersonatedUser                        *authenticationv1.UserInfo
	SourceIPs                               []string
	UserAgent                               string
	ObjectRef                               *struct{ Resource, Namespace, Name, UID, APIGroup, APIVersion, ResourceVersion, Subresource string }
	ResponseStatus                          *metav1.Status
	RequestObject, ResponseObject           json.RawMessage
	Annotations                             map[string]string
	AuthenticationMetadata                  struct{ ImpersonationConstraint string }
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, nonResourceURLs: [/version]}
- {level: Request, omitManagedFields: true, omitStages: [RequestReceived], resources: [{resources: [configmaps]}]}
- {level: RequestResponse, omitManagedFields: true, omitStages: [RequestReceived], resources: [{resources: [endpoints, secrets, serviceaccounts/token]}]}
- {level: Metadata}
`

func newAudited(t *testing.T) *audited {
	t.Helper()
	p := &audited{}
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list struct{ Items []json.RawMessage }
		if data, err := io.ReadAll(r.Body); err != nil || json.Unmarshal(data, &list) != nil || r.Header.Get("Authorization") != "Bearer hook-token" || r.URL.Path != "/events" {
			http.Error(w, "what is this?", http.StatusBadRequest)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range list.Items {
			p.posted = append(p.posted, string(e))
		}
	}))
	t.Cleanup(hook.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})))
	kubeconfig := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: hook-token}}]\nclusters: [{name: a, cluster: {server: %q, certificate-authority: %q}}]", hook.URL+"/events", ca)
	p.path = filepath.Join(dir, "log", "audit.log")
	var err error
	p.plane, err = start(func(c *config.Config, s *role.Server) {
		if s != nil {
			s.API.Pages = map[string]http.Handler{"/panic": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("on purpose") })}
			return
		}
		c.Server.Audit = config.Audit{PolicyFile: write("policy.yaml", auditPolicy), Log: config.AuditLog{Path: p.path, Mode: "blocking"},
			Webhook: config.AuditTo{ConfigFile: write("webhook.kubeconfig", kubeconfig), BatchWait: "50ms"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// events are a request's, by its ID, once its last is there.
func (p *audited) events(t *testing.T, id string) (out []entry) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		out = nil
		data, err := os.ReadFile(p.path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) { // it is being written
				continue
			}
			var e entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.AuditID == id {
				out = append(out, e)
			}
		}
		if n := len(out); n > 0 && out[n-1].Stage == "ResponseComplete" {
			return out
		}
	}
	t.Fatalf("no ResponseComplete of %s: %+v", id, out)
	return nil
}

// show is an event in a few words.
func (e entry) show() string {
	s := e.Level + " " + e.Stage + " " + e.Verb
	if r := e.ObjectRef; r != nil {
		s += " " + r.Resource
		if r.Subresource != "" {
			s += "/" + r.Subresource
		}
		if r.Name != "" {
			s += " " + r.Name
		}
	}
	if s += " by " + e.User.Username; e.ImpersonatedUser != nil {
		s += " as " + e.ImpersonatedUser.Username
	}
	if r := e.ResponseStatus; r != nil {
		s += fmt.Sprintf(": %d %s", r.Code, r.Reason)
	}
	if d := e.Annotations["authorization.k8s.io/decision"]; d != "" && e.Stage != "RequestReceived" {
		s += " " + d
	}
	if e.RequestObject != nil {
		s += " sent " + string(e.RequestObject)
	}
	if e.ResponseObject != nil {
		s += " answered " + string(e.ResponseObject)
	}
	return s
}

func TestAudit(t *testing.T) {
	p := newAudited(t)
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	ns := p.namespace(t)
	admin, nobody, wrong := p.as(t, "admin"), p.as(t, "anonymous"), p.as(t, "not.a.token")
	weak := p.as(t, p.token(t, ns))
	account := "system:serviceaccount:" + ns + ":default"
	core := "/api/v1/namespaces/" + ns
	const me = " by kubernetes-admin"
	tests := []struct {
		name         string
		who          caller
		method, path string
		headers      []string
		body         string
		want         []string // without the namespace's name
	}{
		{"a create, with its body", admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a", `"data":{"k":"v"}`),
			[]string{`Request ResponseComplete create configmaps a` + me + `: 201  allow sent {"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"name":"a"}}`}},
		{"a create in YAML", admin, "POST", core + "/configmaps", []string{"Content-Type: application/yaml"}, "kind: ConfigMap\nmetadata: {name: b}",
			[]string{`Request ResponseComplete create configmaps b` + me + `: 201  allow sent {"kind":"ConfigMap","metadata":{"name":"b"}}`}},
		{"a name in the body alone", admin, "POST", "/api/v1/namespaces/" + ns + "/events", nil, `{"metadata":{"name":"e.1"},"involvedObject":{"namespace":"` + ns + `"}}`,
			[]string{"Metadata RequestReceived create events" + me, "Metadata ResponseComplete create events e.1" + me + ": 201  allow"}},
		{"a merge patch", admin, "PATCH", core + "/configmaps/a", []string{"Content-Type: application/merge-patch+json"}, `{"data": {"k": null}}`,
			[]string{`Request ResponseComplete patch configmaps a` + me + `: 200  allow sent {"data":{"k":null}}`}},
		{"a JSON patch", admin, "PATCH", core + "/configmaps/a", []string{"Content-Type: application/json-patch+json"}, `[{"op":"test","path":"/data","value":7}]`,
			[]string{`Request ResponseComplete patch configmaps a` + me + `: 422 Invalid allow sent [{"op":"test","path":"/data","value":7}]`}},
		{"a conflict", admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a"),
			[]string{`Request ResponseComplete create configmaps a` + me + `: 409 AlreadyExists allow sent {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`}},
		{"a read", admin, "GET", core + "/pods", nil, "",
			[]string{"Metadata RequestReceived list pods" + me, "Metadata ResponseComplete list pods" + me + ": 200  allow"}},
		{"an object that is not there", admin, "GET", core + "/pods/x", nil, "",
			[]string{"Metadata RequestReceived get pods x" + me, "Metadata ResponseComplete get pods x" + me + ": 404 NotFound allow"}},
		{"bodies both ways", admin, "POST", core + "/endpoints", nil, text("v1", "Endpoints", "e"),
			[]string{`RequestResponse ResponseComplete create endpoints e` + me + `: 201  allow sent {"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"e"}} answered {"apiVersion":"v1","kind":"Endpoints","metadata":{...}}`}},
		{"a list as JSON, whatever is asked for", admin, "GET", core + "/endpoints?fieldSelector=metadata.name=no", []string{"Accept: application/vnd.kubernetes.protobuf"}, "",
			[]string{`RequestResponse ResponseComplete list endpoints no` + me + `: 200  allow answered {"apiVersion":"v1","items":[],"kind":"EndpointsList","metadata":{...}}`}},
		{"a deletion", admin, "DELETE", core + "/endpoints/e", nil, `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}`,
			[]string{`RequestResponse ResponseComplete delete endpoints e` + me + `: 200  allow sent {"apiVersion":"v1","gracePeriodSeconds":0,"kind":"DeleteOptions"} answered {"apiVersion":"v1","details":...,"kind":"Status","metadata":{},"status":"Success"}`}},
		{"a secret has no body", admin, "POST", core + "/secrets", nil, text("v1", "Secret", "s", `"stringData":{"p":"canary-of-the-audit"}`),
			[]string{"Metadata ResponseComplete create secrets s" + me + ": 201  allow"}},
		{"nor when it is read", admin, "GET", core + "/secrets/s", nil, "",
			[]string{"Metadata ResponseComplete get secrets s" + me + ": 200  allow"}},
		{"nor has a token", admin, "POST", core + "/serviceaccounts/default/token", nil, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest"}`,
			[]string{"Metadata ResponseComplete create serviceaccounts/token default" + me + ": 201  allow"}},
		{"what is forbidden", weak, "DELETE", core + "/configmaps/a", nil, "",
			[]string{"Request ResponseComplete delete configmaps a by " + account + ": 403 Forbidden forbid"}},
		{"who is unknown", wrong, "GET", core + "/pods", nil, "",
			[]string{"Metadata RequestReceived list pods by ", "Metadata ResponseComplete list pods by : 401 Unauthorized"}},
		{"who is nobody", nobody, "GET", "/healthz", nil, "",
			[]string{"Metadata RequestReceived get by system:anonymous", "Metadata ResponseComplete get by system:anonymous: 200  allow"}},
		{"as somebody else", admin, "GET", core + "/pods", []string{"Impersonate-User: joe", "Impersonate-Group: g"}, "",
			[]string{"Metadata RequestReceived list pods" + me, "Metadata ResponseComplete list pods" + me + " as joe: 403 Forbidden forbid"}},
		{"as somebody else, which is forbidden", weak, "GET", core + "/pods", []string{"Impersonate-User: joe"}, "",
			[]string{"Metadata RequestReceived list pods by " + account, "Metadata ResponseComplete list pods by " + account + ": 403 Forbidden"}},
		{"a panic", admin, "GET", "/panic", nil, "",
			[]string{"Metadata RequestReceived get" + me, "Metadata Panic get" + me + ": 500 InternalError allow", "Metadata ResponseComplete get" + me + ": 500 InternalError allow"}},
		{"no resource", admin, "GET", "/apis/no.example.com/v1/things/x", nil, "",
			[]string{"Metadata RequestReceived get things x" + me, "Metadata ResponseComplete get things x" + me + ": 404 NotFound allow"}},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := fmt.Sprintf("request-%d", n)
			answer := tt.who.do(t, tt.method, tt.path, tt.body, append(tt.headers, "Audit-ID: "+id)...)
			if got := answer.header.Get("Audit-ID"); got != id {
				t.Errorf("the answer's ID is %q", got)
			}
			var got []string
			for _, e := range p.events(t, id) {
				if len(e.SourceIPs) != 1 || e.SourceIPs[0] != "127.0.0.1" && e.SourceIPs[0] != "::1" || e.UserAgent == "" || e.RequestURI != tt.path {
					t.Errorf("%+v", e)
				}
				for _, body := range []*json.RawMessage{&e.RequestObject, &e.ResponseObject} {
					*body = shape(t, *body)
				}
				got = append(got, e.show())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
	t.Run("nothing of what the policy leaves out", func(t *testing.T) {
		answer := admin.do(t, "GET", "/version", "")
		if id := answer.header.Get("Audit-ID"); len(id) != 36 {
			t.Errorf("the answer's ID is %q", id)
		}
		data, err := os.ReadFile(p.path)
		if err != nil || bytes.Contains(data, []byte(`"/version"`)) || bytes.Contains(data, []byte("canary-of-the-audit")) {
			t.Errorf("%v, or it is in the log", err)
		}
	})
	t.Run("a watch has begun before it ends", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", admin.url+core+"/configmaps?watch=1&timeoutSeconds=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Audit-ID", "watch")
		res, err := admin.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		var got []string
		for _, e := range p.events(t, "watch") {
			got = append(got, e.show())
		}
		if want := []string{"Request ResponseStarted watch configmaps" + me + ": 200  allow", "Request ResponseComplete watch configmaps" + me + ": 200  allow"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("what admission notes", func(t *testing.T) {
		if a := admin.do(t, "PATCH", "/api/v1/namespaces/"+ns, `{"metadata":{"labels":{"pod-security.kubernetes.io/audit":"restricted"}}}`, "Content-Type: application/merge-patch+json"); a.code != 200 {
			t.Fatalf("HTTP %d: %s", a.code, a.body)
		}
		if a := admin.do(t, "POST", core+"/pods", text("v1", "Pod", "loose", podSpec), "Audit-ID: noted"); a.code != 201 {
			t.Fatalf("HTTP %d: %s", a.code, a.body)
		}
		e := p.events(t, "noted")
		if got := e[len(e)-1].Annotations["pod-security.kubernetes.io/audit-violations"]; !strings.Contains(got, "would violate PodSecurity") {
			t.Errorf("%v", e[len(e)-1].Annotations)
		}
	})
	t.Run("parts in the process", func(t *testing.T) {
		joe := p.Client("joe")
		if _, err := joe.Get(t.Context(), client.Pods.Resource, ns, "x"); err == nil {
			t.Error("joe may read pods")
		}
		own := p.Client("system:kube-scheduler", "system:masters")
		if _, err := own.Create(t.Context(), client.ConfigMaps.Resource, ns, "", "", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-", Namespace: ns}}); err != nil {
			t.Fatal(err)
		}
		if err := own.Delete(t.Context(), client.ConfigMaps.Resource, ns, "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(p.path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range bytes.Lines(data) {
			var e entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(e.UserAgent, "lighter/direct") && strings.Contains(e.RequestURI, ns) && e.Stage == "ResponseComplete" {
				e.RequestObject = nil
				show := e.show()
				if _, random, ok := strings.Cut(show, "made-"); ok {
					show = strings.Replace(show, random[:5], "?????", 1)
				}
				got = append(got, e.RequestURI[strings.Index(e.RequestURI, ns)+len(ns):]+" "+show)
			}
		}
		want := []string{"/pods/x Metadata ResponseComplete get pods x by joe: 403 Forbidden forbid",
			"/configmaps Request ResponseComplete create configmaps made-????? by system:kube-scheduler: 201  allow",
			"/configmaps/a Request ResponseComplete delete configmaps a by system:kube-scheduler: 200  allow"}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("who may act as another for some requests alone", func(t *testing.T) {
		const self, review = "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`
		access := "/apis/rbac.authorization.k8s.io/v1/"
		for kind, body := range map[string]string{
			"clusterroles": text("rbac.authorization.k8s.io/v1", "ClusterRole", "some", `"rules":[{"apiGroups":["authentication.k8s.io"],"resources":["users"],"resourceNames":["jane"],"verbs":["impersonate:user-info"]},
				{"apiGroups":["authentication.k8s.io"],"resources":["nodes"],"verbs":["impersonate:arbitrary-node"]},
				{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["impersonate-on:user-info:create","impersonate-on:arbitrary-node:create"]}]`),
			"clusterrolebindings": text("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "some", `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"some"}`, `"subjects":[{"kind":"ServiceAccount","name":"default","namespace":"`+ns+`"}]`),
		} {
			if a := admin.do(t, "POST", access+kind, body); a.code != 201 {
				t.Fatal(string(a.body))
			}
		}
		within(t, 5*time.Second, "the role is in force", func() error {
			if a := weak.do(t, "POST", self, review, "Impersonate-User: jane"); a.code != 201 {
				return errors.New(string(a.body))
			}
			return nil
		})
		for n, tt := range []struct{ method, path, headers, want string }{
			{"POST", self, "Impersonate-User: jane", "201 jane [system:authenticated] by impersonate:user-info"},
			{"POST", self, "Impersonate-User: system:node:n1", "201 system:node:n1 [system:nodes system:authenticated] by impersonate:arbitrary-node"},
			{"GET", "/api/v1/nodes", "Impersonate-User: jane", "403 cannot impersonate-on:user-info:list resource"},
			{"POST", self, "Impersonate-User: joe", "403 cannot impersonate:user-info resource"},
			{"POST", self, "Impersonate-User: jane;Impersonate-Group: system:masters", "403 cannot impersonate:user-info resource"},
			{"POST", self, "Impersonate-User: system:node:n1;Impersonate-Group: system:masters", "403 cannot impersonate resource"},
			{"POST", self, "Impersonate-User: system:serviceaccount:x:y", "403 cannot impersonate-on:serviceaccount:create resource"},
		} {
			id := fmt.Sprint("some-", n)
			a := weak.do(t, tt.method, tt.path, review, append(strings.Split(tt.headers, ";"), "Audit-ID: "+id)...)
			got := fmt.Sprint(a.code, " ")
			if a.code == 201 {
				who := into[authenticationv1.SelfSubjectReview](t, a, 201).Status.UserInfo
				all := p.events(t, id)
				got += fmt.Sprint(who.Username, " ", who.Groups, " by ", all[len(all)-1].AuthenticationMetadata.ImpersonationConstraint)
			} else if _, text, ok := strings.Cut(a.status().Message, "\" cannot "); ok {
				got += "cannot " + strings.Join(strings.Fields(text)[:2], " ")
			}
			if got != tt.want {
				t.Errorf("%s %s as %s: got %s, want %s", tt.method, tt.path, tt.headers, got, tt.want)
			}
		}
	})
	t.Run("commands through the control socket", func(t *testing.T) {
		control, stopped := role.NewProgress(role.State{}), make(chan struct{})
		p.Control(control)
		go func() {
			_ = role.Control(t.Context(), p.Config.DataDir, control, sync.OnceFunc(func() { close(stopped) }), quiet)
		}() // ends with the test
		within(t, 5*time.Second, "the control socket", func() error { _, err := role.Ask(t.Context(), p.Config.DataDir); return err })
		tell := func(err error, fails bool) {
			t.Helper()
			if (err != nil) != fails {
				t.Errorf("got %v", err)
			}
		}
		say := func(string) {}
		tell(role.AskTo(t.Context(), p.Config.DataDir, "/certs/rotate?name=apiserver", say), false)
		tell(role.AskTo(t.Context(), p.Config.DataDir, "/certs/rotate?name=nothing", say), true)
		tell(role.AskTo(t.Context(), p.Config.DataDir, "/nothing", say), true)
		tell(role.AskToUndo(t.Context(), p.Config.DataDir, role.Undo{Object: "configmap/a", Namespace: ns, At: "x"}, say), true)
		tell(role.AskToStop(t.Context(), p.Config.DataDir), false)
		<-stopped
		want := []string{"post /lighter/certs/rotate?name=apiserver 200 false", "post /lighter/certs/rotate?name=nothing 500 true", "post /lighter/nothing 500 true",
			"post /lighter/stop 200 false", "post /lighter/undo 500 true"}
		within(t, 5*time.Second, "the audit trail", func() error { // an answer is there a moment before the last line of it
			data, err := os.ReadFile(p.path)
			if err != nil {
				return err
			}
			var got []string
			for line := range bytes.Lines(data) {
				var e entry
				if json.Unmarshal(line, &e) != nil || e.Stage != "ResponseComplete" || !strings.HasPrefix(e.RequestURI, "/lighter/") {
					continue
				}
				path, what, _ := strings.Cut(e.RequestURI, "?what=")
				if !strings.HasPrefix(e.User.Username, "system:unix:") || e.User.UID != fmt.Sprint(os.Getuid()) || fmt.Sprint(e.User.Extra["lighter-k8s.io/pid"]) != fmt.Sprintf("[%d]", os.Getpid()) {
					t.Errorf("%s: by %+v", e.RequestURI, e.User)
				}
				if path == "/lighter/undo" && !strings.Contains(what, "configmap%2Fa") {
					t.Errorf("undo: of what? %s", e.RequestURI)
				}
				got = append(got, fmt.Sprintf("%s %s %d %t", e.Verb, path, e.ResponseStatus.Code, e.ResponseStatus.Message != ""))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			return nil
		})
	})
	t.Run("each of many requests is there once", func(t *testing.T) {
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				who := []caller{admin, weak, nobody, wrong}[worker%4]
				for n := range 25 {
					who.do(t, []string{"GET", "DELETE"}[n%2], fmt.Sprintf("%s/pods/p%d", core, n), "", fmt.Sprintf("Audit-ID: many-%d-%d", worker, n))
				}
			})
		}
		all.Wait()
		p.events(t, "many-0-24") // time for the last ones
		for worker := range 8 {
			for n := range 25 {
				if e := p.events(t, fmt.Sprintf("many-%d-%d", worker, n)); len(e) != 2 || e[0].Stage != "RequestReceived" {
					t.Fatalf("%+v", e)
				}
			}
		}
	})
	t.Run("the webhook gets the same", func(t *testing.T) {
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			data, err := os.ReadFile(p.path)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			p.mu.Lock()
			posted := slices.Clone(p.posted)
			p.mu.Unlock()
			slices.Sort(lines) // several batches are on their way at once
			slices.Sort(posted)
			if slices.Equal(lines, posted) {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%d lines, %d posted", len(lines), len(posted))
			}
		}
	})
}

// shape is a body without what differs from run to run.
func shape(t *testing.T, body json.RawMessage) json.RawMessage {
	t.Helper()
	var o map[string]json.RawMessage
	if body == nil || json.Unmarshal(body, &o) != nil {
		return body
	}
	if bytes.Contains(o["metadata"], []byte("managedFields")) {
		t.Errorf("managedFields in %s", body)
	}
	if bytes.Contains(o["metadata"], []byte("resourceVersion")) {
		o["metadata"] = json.RawMessage(`"..."`)
	}
	if o["details"] != nil {
		o["details"] = json.RawMessage(`"..."`)
	}
	out, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(out, []byte(`"metadata":"..."`), []byte(`"metadata":{...}`)), []byte(`"details":"..."`), []byte(`"details":...`))
}
