package authz

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// judgeServer is an authorization webhook over TLS on this machine.
type judgeServer struct {
	kubeconfig string

	mu     sync.Mutex
	asked  []string // the questions' specs
	answer func(w http.ResponseWriter, q map[string]any)
}

// asked is what a judge answers to.
type asked struct {
	http.ResponseWriter
	r *http.Request
}

// never answers, until nobody waits for it any more.
func never(w http.ResponseWriter, _ map[string]any) { <-w.(asked).r.Context().Done() }

// says answers with a status, in the version that was asked in.
func says(status string) func(http.ResponseWriter, map[string]any) {
	return func(w http.ResponseWriter, q map[string]any) {
		fmt.Fprintf(w, `{"kind":"SubjectAccessReview","apiVersion":%q,"status":%s}`, q["apiVersion"], status)
	}
}

func newJudge(t testing.TB, answer func(http.ResponseWriter, map[string]any)) *judgeServer {
	t.Helper()
	s := &judgeServer{answer: answer, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q map[string]any
		data, err := io.ReadAll(r.Body) // to its end: only then the server hears that the other side has gone
		if err == nil {
			err = json.Unmarshal(data, &q)
		}
		if err != nil {
			t.Error(err)
		}
		spec, _ := json.Marshal(q["spec"])
		s.mu.Lock()
		s.asked = append(s.asked, string(spec))
		answer := s.answer
		s.mu.Unlock()
		answer(asked{w, r}, q)
	}))
	t.Cleanup(web.Close)
	data, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{map[string]any{"name": "s", "cluster": map[string]any{"server": web.URL,
			"certificate-authority-data": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "s"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.kubeconfig, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// questions are what was asked since the last call.
func (s *judgeServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

const header = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"

// hook is a Webhook entry; more is YAML in the webhook's fields, which win over those here.
func (s *judgeServer) hook(name, more string) string {
	fields := map[string]any{"timeout": "3s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
		"connectionInfo": map[string]any{"type": "KubeConfigFile", "kubeConfigFile": s.kubeconfig}}
	if err := yaml.Unmarshal([]byte("{"+more+"}"), &fields); err != nil {
		panic(err)
	}
	data, err := json.Marshal(map[string]any{"type": "Webhook", "name": name, "webhook": fields})
	if err != nil {
		panic(err)
	}
	return "- " + string(data) + "\n"
}

func structured(t testing.TB, entries string) *Structured {
	t.Helper()
	s := &Structured{Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(), Node: NewNode(NodeViews{}),
		RBAC: newCluster(t, clusterRole("r", rule("get", "core", "pods")), clusterBinding("b", "r", user("ann"))).RBAC}
	if err := s.Use([]byte(header + entries)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWebhook(t *testing.T) {
	const denyConfigMaps = `matchConditions: [{expression: 'has(request.resourceAttributes) && request.resourceAttributes.resource == "configmaps"'}]`
	ann := ann()
	tests := map[string]struct {
		answer func(http.ResponseWriter, map[string]any)
		more   string
		do     string
		want   string // decision, the reason and part of the error; "asked" if the server was
	}{
		"it allows":                      {says(`{"allowed":true,"reason":"friend"}`), "", "list pods x/-", `allow "friend" asked`},
		"it denies":                      {says(`{"allowed":false,"denied":true,"reason":"foe"}`), "", "list pods x/-", `deny "foe" asked`},
		"it does not say":                {says(`{"allowed":false,"reason":"who?"}`), "", "list pods x/-", `no opinion "who?" asked`},
		"it says both":                   {says(`{"allowed":true,"denied":true}`), "", "list pods x/-", `no opinion "" both allowed and denied asked`},
		"it says both, and must not err": {says(`{"allowed":true,"denied":true}`), "failurePolicy: Deny", "list pods x/-", `deny "" both allowed and denied asked`},
		"it answers something else": {func(w http.ResponseWriter, _ map[string]any) {
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":{"allowed":true}}`)
		}, "", "list pods x/-", `no opinion "" want a SubjectAccessReview asked`},
		"it answers in another version": {func(w http.ResponseWriter, _ map[string]any) {
			fmt.Fprint(w, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1beta1","status":{"allowed":true}}`)
		}, "", "list pods x/-", `no opinion "" want a SubjectAccessReview asked`},
		"it answers what is no JSON":     {func(w http.ResponseWriter, _ map[string]any) { fmt.Fprint(w, `allowed`) }, "", "list pods x/-", `no opinion "" not an answer asked`},
		"it refuses to answer":           {func(w http.ResponseWriter, _ map[string]any) { http.Error(w, "no", 403) }, "failurePolicy: Deny", "list pods x/-", `deny "" HTTP 403 asked`},
		"it takes its time":              {never, "timeout: 500ms, failurePolicy: Deny", "list pods x/-", `deny "" deadline exceeded asked`},
		"conditions that hold":           {says(`{"allowed":true}`), denyConfigMaps, "get configmaps x/c", `allow "" asked`},
		"conditions that do not":         {says(`{"allowed":true}`), denyConfigMaps, "get pods x/c", `no opinion ""`},
		"conditions about a path":        {says(`{"allowed":true}`), denyConfigMaps, "get /metrics", `no opinion ""`},
		"conditions that fail":           {says(`{"allowed":true}`), `matchConditions: [{expression: 'request.resourceAttributes.name == "x"'}]`, "get /metrics", `no opinion "" match conditions`},
		"conditions that fail, and deny": {says(`{"allowed":true}`), `failurePolicy: Deny, matchConditions: [{expression: 'request.resourceAttributes.name == "x"'}]`, "get /metrics", `deny "" match conditions`},
		"one fails, one says no":         {says(`{"allowed":true}`), `failurePolicy: Deny, matchConditions: [{expression: 'request.resourceAttributes.name == "x"'}, {expression: 'request.user != "ann"'}]`, "get /metrics", `no opinion ""`},
		"conditions about who":           {says(`{"allowed":true}`), `matchConditions: [{expression: 'request.user == "ann" && "system:authenticated" in request.groups'}]`, "get pods x/p", `allow "" asked`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := newJudge(t, tt.answer)
			s := structured(t, server.hook("one", tt.more))
			d, reason, err := s.Authorize(t.Context(), ask(ann, tt.do))
			got := fmt.Sprintf("%v %q", d, reason)
			want := tt.want
			if part, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(want, " asked"), got), " "); ok && part == "" {
				if err == nil || !strings.Contains(err.Error(), rest) {
					t.Errorf("got error %v, want %q", err, rest)
				}
				got += " " + rest
			} else if err != nil {
				t.Errorf("got error %v", err)
			}
			if len(server.questions()) > 0 {
				got += " asked"
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestWhatAWebhookIsAsked(t *testing.T) {
	u := authenticationv1.UserInfo{Username: "ann", UID: "7", Groups: []string{"dev"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v", "w"}}}
	const who = `"extra":{"k":["v","w"]},"groups":["dev"]`
	selecting := ask(u, "list pods x/-")
	selecting.FieldSelector, selecting.LabelSelector = "spec.nodeName=n1,status.phase!=Failed", "app in (a),tier!=b,!old,new,n>3"
	odd := ask(u, "list pods x/-")
	odd.FieldSelector, odd.LabelSelector = "=,=", "a in ("
	tests := map[string]struct {
		a       Attributes
		version string
		want    string
	}{
		"a resource":        {ask(u, "delete deployments x/web in apps"), "v1", `{` + who + `,"resourceAttributes":{"group":"apps","name":"web","namespace":"x","resource":"deployments","verb":"delete","version":"v1"},"uid":"7","user":"ann"}`},
		"a path":            {ask(u, "get /metrics"), "v1", `{` + who + `,"nonResourceAttributes":{"path":"/metrics","verb":"get"},"uid":"7","user":"ann"}`},
		"the older version": {ask(u, "get /metrics"), "v1beta1", `{"extra":{"k":["v","w"]},"group":["dev"],"nonResourceAttributes":{"path":"/metrics","verb":"get"},"uid":"7","user":"ann"}`},
		"selectors": {selecting, "v1", `{` + who + `,"resourceAttributes":{"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]},{"key":"status.phase","operator":"NotIn","values":["Failed"]}]},` +
			`"labelSelector":{"requirements":[{"key":"app","operator":"In","values":["a"]},{"key":"new","operator":"Exists"},{"key":"old","operator":"DoesNotExist"},{"key":"tier","operator":"NotIn","values":["b"]}]},` +
			`"namespace":"x","resource":"pods","verb":"list","version":"v1"},"uid":"7","user":"ann"}`},
		"selectors that are none": {odd, "v1", `{` + who + `,"resourceAttributes":{"namespace":"x","resource":"pods","verb":"list","version":"v1"},"uid":"7","user":"ann"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := newJudge(t, says(`{"allowed":true}`))
			s := structured(t, server.hook("one", "subjectAccessReviewVersion: "+tt.version))
			if d, _, err := s.Authorize(t.Context(), tt.a); d != Allow {
				t.Fatal(d, err)
			}
			if got := strings.Join(server.questions(), ""); got != tt.want {
				t.Errorf("asked %s\nwant  %s", got, tt.want)
			}
		})
	}
}

func TestOrderOfAConfiguration(t *testing.T) {
	allow, deny, dunno := newJudge(t, says(`{"allowed":true}`)), newJudge(t, says(`{"denied":true}`)), newJudge(t, says(`{}`))
	const rbac, node = "- {type: RBAC, name: rbac}\n", "- {type: Node, name: node}\n"
	super := authenticationv1.UserInfo{Username: "root", Groups: []string{SuperGroup}}
	tests := map[string]struct {
		entries string
		a       Attributes
		want    Decision
	}{
		"a role allows before the webhook denies": {node + rbac + deny.hook("no", ""), ask(ann(), "get pods x/p"), Allow},
		"the webhook denies before the role":      {deny.hook("no", "") + rbac, ask(ann(), "get pods x/p"), Deny},
		"the webhook has no opinion":              {dunno.hook("dunno", "") + rbac, ask(ann(), "get pods x/p"), Allow},
		"what no role allows":                     {rbac + allow.hook("yes", ""), ask(ann(), "delete pods x/p"), Allow},
		"the second webhook allows":               {dunno.hook("dunno", "") + allow.hook("yes", ""), ask(ann(), "delete pods x/p"), Allow},
		"the first webhook denies":                {deny.hook("no", "") + allow.hook("yes", ""), ask(ann(), "delete pods x/p"), Deny},
		"the super group is never asked about":    {deny.hook("no", ""), ask(super, "delete pods x/p"), Allow},
		"roles that are not in it count not":      {dunno.hook("dunno", ""), ask(ann(), "get pods x/p"), NoOpinion},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if d, _, err := structured(t, tt.entries).Authorize(t.Context(), tt.a); d != tt.want || err != nil {
				t.Errorf("got %v, %v, want %v", d, err, tt.want)
			}
		})
	}
}

func TestConfigurations(t *testing.T) {
	server := newJudge(t, says(`{}`))
	const rbac = "- {type: RBAC, name: rbac}\n"
	tests := map[string]struct{ file, want string }{
		"a list in order":          {header + "- {type: Node, name: node}\n" + rbac + server.hook("one", "") + server.hook("two", ""), ""},
		"the version before":       {strings.Replace(header, "/v1", "/v1beta1", 1) + rbac, ""},
		"no file at all":           {"", "'Kind' is missing"},
		"nobody to ask":            {header, "authorizers"},
		"another kind":             {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n", "AuthorizationConfiguration"},
		"a field that is none":     {header + "- {type: RBAC, name: rbac, color: red}\n", "color"},
		"a type that is none":      {header + "- {type: Dice, name: dice}\n", "authorizers[0].type"},
		"ABAC":                     {header + "- {type: ABAC, name: abac}\n", "--authorization-policy-file"},
		"roles twice":              {header + rbac + "- {type: RBAC, name: again}\n", "authorizers[1].type"},
		"one name twice":           {header + server.hook("one", "") + server.hook("one", ""), "authorizers[1].name"},
		"a name that is none":      {header + server.hook("One!", ""), "authorizers[0].name"},
		"a webhook that is none":   {header + "- {type: Webhook, name: one}\n", "authorizers[0].webhook"},
		"roles with a webhook":     {header + strings.Replace(server.hook("one", ""), `"Webhook"`, `"RBAC"`, 1), "authorizers[0].webhook"},
		"a timeout of a minute":    {header + server.hook("one", "timeout: 60s"), "authorizers[0].timeout"},
		"a failure nobody knows":   {header + server.hook("one", "failurePolicy: Ignore"), "authorizers[0].failurePolicy"},
		"a version nobody knows":   {header + server.hook("one", "subjectAccessReviewVersion: v2"), "subjectAccessReviewVersion"},
		"the cluster itself":       {header + server.hook("one", "connectionInfo: {type: InClusterConfig}"), "authorizers[0].webhook.connectionInfo.type"},
		"a kubeconfig that is not": {header + server.hook("one", "connectionInfo: {type: KubeConfigFile, kubeConfigFile: /none}"), "/none"},
		"CEL that is none":         {header + server.hook("one", "matchConditions: [{expression: 'request.'}]"), "matchConditions[0].expression"},
		"CEL of a number":          {header + server.hook("one", "matchConditions: [{expression: '1'}]"), "matchConditions[0].expression"},
		"CEL about selectors":      {header + server.hook("one", "matchConditions: [{expression: 'request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == \"a\")'}]"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := structured(t, rbac)
			before := s.current.Load()
			err := s.Use([]byte(tt.file))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && s.current.Load() != before {
				t.Error("a bad configuration is in use")
			}
		})
	}
}

func TestWebhookRemembers(t *testing.T) {
	tests := map[string]struct {
		answer, more string
		asked        int // of three times
	}{
		"that it allowed":              {`{"allowed":true}`, "", 1},
		"that it did not":              {`{"allowed":false}`, "", 1},
		"that it denied":               {`{"denied":true}`, "", 1},
		"not that it allowed":          {`{"allowed":true}`, "cacheAuthorizedRequests: false", 3},
		"not that it did not":          {`{"allowed":false}`, "cacheUnauthorizedRequests: false", 3},
		"that it allowed, not else":    {`{"allowed":true}`, "cacheUnauthorizedRequests: false", 1},
		"that it allowed, for no time": {`{"allowed":true}`, "authorizedTTL: 1ns", 3},
		"no answer that is none":       {`{"allowed":true,"denied":true}`, "", 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := newJudge(t, says(tt.answer))
			s := structured(t, server.hook("one", tt.more))
			for range 3 {
				_, _, _ = s.Authorize(t.Context(), ask(ann(), "get pods x/p")) // the count matters
			}
			if n := len(server.questions()); n != tt.asked {
				t.Errorf("asked %d times, want %d", n, tt.asked)
			}
		})
	}
	t.Run("never one question for another", func(t *testing.T) {
		server := newJudge(t, says(`{"allowed":true}`))
		s := structured(t, server.hook("one", ""))
		base := ask(authenticationv1.UserInfo{Username: "ann", Groups: []string{"a", "b"}}, "get pods x/p")
		var all []Attributes
		for _, change := range []func(a *Attributes){
			func(*Attributes) {}, func(a *Attributes) { a.User.Username = "anna" }, func(a *Attributes) { a.User.UID = "1" },
			func(a *Attributes) { a.User.Groups = []string{"ab"} }, func(a *Attributes) { a.User.Groups = []string{"b", "a"} }, func(a *Attributes) { a.User.Groups = nil },
			func(a *Attributes) { a.User.Extra = map[string]authenticationv1.ExtraValue{"k": {"v"}} }, func(a *Attributes) { a.User.Extra = map[string]authenticationv1.ExtraValue{"k": {"v", "w"}} },
			func(a *Attributes) { a.Verb = "list" }, func(a *Attributes) { a.Namespace = "y" }, func(a *Attributes) { a.Group = "apps" }, func(a *Attributes) { a.Version = "v2" },
			func(a *Attributes) { a.Resource = "pod" }, func(a *Attributes) { a.Subresource = "log" }, func(a *Attributes) { a.Name = "" },
			func(a *Attributes) { a.FieldSelector = "a=b" }, func(a *Attributes) { a.LabelSelector = "a=b" },
			func(a *Attributes) { a.ResourceRequest, a.Path = false, "/x" }, func(a *Attributes) { a.ResourceRequest, a.Path = false, "/y" },
		} {
			a := base
			change(&a)
			all = append(all, a)
		}
		for range 2 {
			for _, a := range all {
				if d, _, err := s.Authorize(t.Context(), a); d != Allow {
					t.Fatal(d, err)
				}
			}
		}
		if n := len(server.questions()); n != len(all) {
			t.Errorf("asked %d times, want %d", n, len(all))
		}
	})
	t.Run("not without bound", func(t *testing.T) {
		var k memory
		for n := range 3 * mostKept {
			k.put(fmt.Appendf(nil, "%d", n), &kept{})
		}
		if k.put(make([]byte, longestKey+1), &kept{}); len(k.m) > mostKept {
			t.Errorf("%d are kept", len(k.m))
		}
	})
}

func TestRulesWithAWebhook(t *testing.T) {
	server := newJudge(t, says(`{}`))
	u := ann()
	got := structured(t, "- {type: RBAC, name: rbac}\n"+server.hook("one", "")).Rules(&u, "x")
	if !got.Incomplete || got.EvaluationError != "webhook authorizer does not support user rule resolution" || len(got.ResourceRules) != 1 {
		t.Errorf("got %+v", got)
	}
	if got = structured(t, server.hook("one", "")).Rules(&u, "x"); len(got.ResourceRules) != 0 || !got.Incomplete {
		t.Errorf("without roles: %+v", got)
	}
}

func TestCounts(t *testing.T) {
	server := newJudge(t, says(`{"allowed":true}`))
	s := structured(t, "- {type: RBAC, name: rbac}\n"+server.hook("one", `matchConditions: [{expression: 'request.user != "bob"'}]`))
	measured := s.Metrics.Measured(s)
	bob := authenticationv1.UserInfo{Username: "bob"}
	for _, a := range []Attributes{ask(ann(), "get pods x/p"), ask(ann(), "delete pods x/p"), ask(ann(), "delete pods x/p"), ask(bob, "get pods x/p"), ask(bob, "get pods x/p")} {
		_, _, _ = measured.Authorize(t.Context(), a) // counted
	}
	r := prometheus.NewRegistry()
	r.MustRegister(s.Metrics.All()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"apiserver_authorization_decisions_total allowed rbac RBAC": 1, "apiserver_authorization_decisions_total allowed one Webhook": 2,
		"apiserver_authorization_webhook_evaluations_total one success": 1, "apiserver_authorization_match_condition_exclusions_total one Webhook": 2,
		"authorization_attempts_total allowed": 3, "authorization_attempts_total no-opinion": 2,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
}

// FuzzSelectors: what a webhook is told of a selector is never narrower than the selector itself.
func FuzzSelectors(f *testing.F) {
	f.Add("spec.nodeName=n1,a!=b", "app in (a,b),!c,d>3,e notin (f)")
	f.Add(`a=\,b`, "x")
	f.Fuzz(func(t *testing.T, field, label string) {
		if r := fieldRequirements(field); r != nil {
			parsed, err := fields.ParseSelector(field)
			if err != nil || len(r.Requirements) != len(parsed.Requirements()) {
				t.Errorf("%q: told %+v, %v", field, r, err)
			}
		}
		if r := labelRequirements(label); r != nil {
			parsed, err := labels.Parse(label)
			if err != nil {
				t.Fatal(err)
			}
			if all, _ := parsed.Requirements(); len(r.Requirements) > len(all) {
				t.Errorf("%q: told %+v", label, r)
			}
		}
	})
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte(header + "- {type: RBAC, name: rbac}\n"))
	f.Add([]byte(header + `- {"type":"Webhook","name":"a","webhook":{"timeout":"3s","subjectAccessReviewVersion":"v1","matchConditionSubjectAccessReviewVersion":"v1","failurePolicy":"Deny","connectionInfo":{"type":"KubeConfigFile","kubeConfigFile":"/none"},"matchConditions":[{"expression":"true"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseConfiguration(data); err == nil && len(c.Authorizers) == 0 {
			t.Errorf("nobody is asked: %q", data)
		}
	})
}

// BenchmarkWebhook is a question that a webhook has answered before.
func BenchmarkWebhook(b *testing.B) {
	server := newJudge(b, says(`{"allowed":true}`))
	s := structured(b, "- {type: RBAC, name: rbac}\n"+server.hook("one", `matchConditions: [{expression: 'request.user != "bob"'}]`))
	u := authenticationv1.UserInfo{Username: "ann", Groups: []string{"dev", "ops", "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}
	a := ask(u, "update deployments team-500/web in apps")
	b.ReportAllocs()
	for b.Loop() {
		if d, _, err := s.Authorize(b.Context(), a); d != Allow {
			b.Fatal(err)
		}
	}
}
