package audit

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// ask reads "joe in dev,ops: get pods/log.apps web in shop" or "joe: get /healthz".
func ask(t testing.TB, s string) authz.Attributes {
	t.Helper()
	who, what, ok := strings.Cut(s, ": ")
	if !ok {
		t.Fatalf("no colon in %q", s)
	}
	name, groups, _ := strings.Cut(who, " in ")
	a := authz.Attributes{User: authenticationv1.UserInfo{Username: name}}
	if groups != "" {
		a.User.Groups = strings.Split(groups, ",")
	}
	what, a.Namespace, _ = strings.Cut(what, " in ")
	words := strings.Fields(what)
	if a.Verb = words[0]; strings.HasPrefix(words[1], "/") {
		a.Path = words[1]
		return a
	}
	a.ResourceRequest, a.Version = true, "v1"
	resource, group, _ := strings.Cut(words[1], ".")
	a.Group = group
	a.Resource, a.Subresource, _ = strings.Cut(resource, "/")
	if len(words) > 2 {
		a.Name = words[2]
	}
	return a
}

func TestJudge(t *testing.T) {
	rules := map[string]string{
		"nodes read":     "- {level: Metadata, userGroups: [system:nodes, other], verbs: [get, list]}",
		"joe":            "- {level: Metadata, users: [joe]}",
		"pods":           "- {level: Metadata, resources: [{group: '', resources: [pods]}]}",
		"logs":           "- {level: Metadata, resources: [{group: '', resources: [pods/log]}]}",
		"below pods":     "- {level: Metadata, resources: [{group: '', resources: ['pods/*']}]}",
		"scales":         "- {level: Metadata, resources: [{group: '*', resources: ['*/scale']}]}",
		"all of apps":    "- {level: Metadata, resources: [{group: apps}]}",
		"star of apps":   "- {level: Metadata, resources: [{group: apps, resources: ['*']}]}",
		"one object":     "- {level: Metadata, resources: [{group: '', resources: [configmaps], resourceNames: [a, b]}]}",
		"in shop":        "- {level: Metadata, namespaces: [shop]}",
		"in none":        "- {level: Metadata, namespaces: ['']}",
		"health":         "- {level: Metadata, nonResourceURLs: ['/healthz*', /version]}",
		"any path":       "- {level: Metadata, nonResourceURLs: ['*']}",
		"all":            "- {level: Metadata}",
		"not joe":        "- {level: None, users: [joe]}\n- {level: Metadata}",
		"bodies":         "- {level: RequestResponse}",
		"second of both": "- {level: Metadata, users: [ann], verbs: [get]}\n- {level: Request, users: [ann]}",
	}
	tests := map[string]struct{ rule, request, want string }{
		"a group is enough":                       {"nodes read", "n1 in a,system:nodes: get pods", "Metadata"},
		"a group without the verb":                {"nodes read", "n1 in system:nodes: update pods", "None"},
		"no group":                                {"nodes read", "n1: get pods", "None"},
		"a user":                                  {"joe", "joe: get /metrics", "Metadata"},
		"another user":                            {"joe", "joey: get pods", "None"},
		"a resource":                              {"pods", "joe: list pods in shop", "Metadata"},
		"its subresource is another":              {"pods", "joe: get pods/log web in shop", "None"},
		"its name in another group":               {"pods", "joe: list pods.metrics.k8s.io in shop", "None"},
		"a subresource":                           {"logs", "joe: get pods/log web in shop", "Metadata"},
		"a subresource's parent":                  {"logs", "joe: get pods web in shop", "None"},
		"another subresource":                     {"logs", "joe: create pods/exec web in shop", "None"},
		"any subresource":                         {"below pods", "joe: create pods/exec web in shop", "Metadata"},
		"any subresource, the parent":             {"below pods", "joe: create pods in shop", "None"},
		"a subresource of anything":               {"scales", "joe: update deployments/scale.apps web in shop", "Metadata"},
		"a subresource of anything, another":      {"scales", "joe: update deployments/status.apps web in shop", "None"},
		"a whole group":                           {"all of apps", "joe: update deployments/status.apps web in shop", "Metadata"},
		"a whole group, another":                  {"all of apps", "joe: update pods web in shop", "None"},
		"all resources with their subresources":   {"star of apps", "joe: update deployments/status.apps web in shop", "Metadata"},
		"an object by name":                       {"one object", "joe: get configmaps b in shop", "Metadata"},
		"an object of another name":               {"one object", "joe: get configmaps c in shop", "None"},
		"a list has no name":                      {"one object", "joe: list configmaps in shop", "None"},
		"a namespace":                             {"in shop", "joe: get pods web in shop", "Metadata"},
		"another namespace":                       {"in shop", "joe: get pods web in default", "None"},
		"a namespace, and what is in none":        {"in shop", "joe: get nodes n1", "None"},
		"what is in no namespace":                 {"in none", "joe: get nodes n1", "Metadata"},
		"what is in no namespace: not a path":     {"in none", "joe: get /healthz", "None"},
		"a path":                                  {"health", "joe: get /version", "Metadata"},
		"a path goes on":                          {"health", "joe: get /version/x", "None"},
		"a path's beginning":                      {"health", "joe: get /healthz/etcd", "Metadata"},
		"a path's rule and a resource":            {"health", "joe: get pods", "None"},
		"every path":                              {"any path", "joe: get /x", "Metadata"},
		"every path, but no resource":             {"any path", "joe: get pods", "None"},
		"the last rule takes the rest":            {"all", "joe: get /x", "Metadata"},
		"the first rule counts":                   {"not joe", "joe: get pods", "None"},
		"the first rule does not count":           {"not joe", "ann: get pods", "Metadata"},
		"all conditions of a rule":                {"second of both", "ann: list pods", "Request"},
		"bodies":                                  {"bodies", "joe: get pods web in shop", "RequestResponse"},
		"bodies of secrets are never written":     {"bodies", "joe: get secrets web in shop", "Metadata"},
		"bodies of tokens are never written":      {"bodies", "joe: create serviceaccounts/token web in shop", "Metadata"},
		"service accounts themselves are":         {"bodies", "joe: create serviceaccounts in shop", "RequestResponse"},
		"tokens that are reviewed are not either": {"bodies", "joe: create tokenreviews.authentication.k8s.io", "Metadata"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := ParsePolicy([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + rules[tt.rule]))
			if err != nil {
				t.Fatal(err)
			}
			a := ask(t, tt.request)
			if got := p.judge(&a).level.String(); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.request, got, tt.want)
			}
		})
	}
}

func TestOmit(t *testing.T) {
	p, err := ParsePolicy([]byte(`
apiVersion: audit.k8s.io/v1
kind: Policy
metadata: {name: ours}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: Request, users: [joe], omitStages: [ResponseStarted, Panic], omitManagedFields: false}
- {level: Request}
`))
	if err != nil {
		t.Fatal(err)
	}
	joe, ann := ask(t, "joe: get pods"), ask(t, "ann: get pods")
	if v := p.judge(&joe); v != (verdict{Request, RequestReceived | ResponseStarted | Panic, false}) {
		t.Errorf("a rule adds stages and overrides managed fields: got %+v", v)
	}
	if v := p.judge(&ann); v != (verdict{Request, RequestReceived, true}) {
		t.Errorf("what the policy says holds for all rules: got %+v", v)
	}
}

func TestParsePolicy(t *testing.T) {
	const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	tests := map[string]struct{ text, want string }{
		"no YAML":                      {"{", "did not find expected"},
		"another kind":                 {"apiVersion: audit.k8s.io/v1\nkind: Event", "Event of audit.k8s.io/v1: want a Policy"},
		"an older version":             {"apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", "want a Policy of audit.k8s.io/v1"},
		"no rules":                     {head, "without rules"},
		"an unknown field":             {head + "rules: [{level: None, user: [joe]}]", `unknown field "user"`},
		"no level":                     {head + "rules: [{users: [joe]}]", "rules[0]: level"},
		"an unknown level":             {head + "rules: [{level: Body}]", `level "Body"`},
		"an unknown stage":             {head + "rules: [{level: None, omitStages: [Begin]}]", `stage "Begin"`},
		"paths and resources":          {head + "rules: [{level: None, nonResourceURLs: [/x], resources: [{group: apps}]}]", "not for both"},
		"paths and namespaces":         {head + "rules: [{level: None, nonResourceURLs: [/x], namespaces: [a]}]", "not for both"},
		"a star within a path":         {head + "rules: [{level: None, nonResourceURLs: ['/a*b']}]", "at most one * at its end"},
		"a path without its slash":     {head + "rules: [{level: None, nonResourceURLs: [healthz]}]", "want \"*\", or a path"},
		"a group with its version":     {head + "rules: [{level: None, resources: [{group: apps/v1}]}]", "without its version"},
		"names of nothing":             {head + "rules: [{level: None, resources: [{group: apps, resourceNames: [a]}]}]", "resourceNames without resources"},
		"a star beside others":         {head + "rules: [{level: None, resources: [{resources: ['*', pods]}]}]", "beside others"},
		"subresources twice":           {head + "rules: [{level: None, resources: [{resources: ['pods/*', pods/log]}]}]", "beside others"},
		"scales twice":                 {head + "rules: [{level: None, resources: [{resources: ['*/scale', pods/scale]}]}]", "beside others"},
		"subresource of a subresource": {head + "rules: [{level: None, resources: [{resources: [pods/a/b]}]}]", "resource/subresource"},
		"a second rule that is bad":    {head + "rules: [{level: None}, {level: None, nonResourceURLs: [x]}]", "rules[1]"},
		"fine":                         {head + "rules: [{level: Metadata}]", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePolicy([]byte(tt.text))
			if err == nil && tt.want != "" || err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDefaultPolicy(t *testing.T) {
	const node, control, anybody = "system:node:n1 in system:nodes,system:authenticated: ", "system:serviceaccount:kube-system:job-controller in system:serviceaccounts:kube-system,system:authenticated: ", "joe in system:authenticated: "
	written := []string{anybody + "create pods in shop", anybody + "get pods web in shop", anybody + "list secrets in kube-system", anybody + "update leases.coordination.k8s.io kube-scheduler in kube-system",
		anybody + "create pods/exec web in shop", anybody + "get /debug/pprof/heap", anybody + "update pods/status web in shop", "nobody: list pods", "nobody: get /api",
		node + "create serviceaccounts/token web in shop", node + "create pods in kube-system", node + "update nodes n1", node + "delete pods web in shop",
		control + "create pods in shop", control + "get secrets tls in shop", "system:kube-scheduler in system:authenticated: create pods/binding web in shop"}
	left := []string{"system:anonymous: get /readyz", anybody + "get /openapi/v3", anybody + "get /apis/apps/v1", anybody + "get /apis", anybody + "get /api", anybody + "create events in shop", anybody + "create events.events.k8s.io in shop",
		node + "update leases.coordination.k8s.io n1 in kube-node-lease", node + "patch nodes/status n1", node + "patch pods/status web in shop", node + "get secrets tls in shop", node + "watch pods",
		control + "list pods", control + "update leases.coordination.k8s.io a in kube-system", control + "update deployments/status.apps web in shop",
		"system:kube-scheduler in system:authenticated: patch pods/status web in shop", "system:kube-proxy: watch services", "system:kube-controller-manager: update leases.coordination.k8s.io a in kube-system"}
	p := DefaultPolicy()
	for n, s := range slices.Concat(written, left) {
		want := Metadata
		if n >= len(written) {
			want = None
		}
		a := ask(t, s)
		if v := p.judge(&a); v.level != want || want == Metadata && v.omit != RequestReceived {
			t.Errorf("%s: got %v without %v, want %v", s, v.level, v.omit, want)
		}
	}
	for n := range p.Rules {
		if err := p.Rules[n].check(); err != nil {
			t.Errorf("rules[%d]: %v", n, err)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"", "{}", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resources: [{group: '*', resources: ['*/scale', pods/log], resourceNames: [a]}], namespaces: ['']}, {level: None, nonResourceURLs: ['/x*']}]",
		`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"RequestResponse","omitStages":["Panic"]}]}`, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [null]", "a: &a [*a]"} {
		f.Add([]byte(s))
	}
	requests := []string{"joe in a,b: get pods/log web in shop", "joe: get /healthz", "joe: list nodes"}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data)
		if err != nil {
			return
		}
		for _, r := range requests { // what is accepted judges everything
			a := ask(t, r)
			if v := p.judge(&a); v.level > RequestResponse {
				t.Fatalf("level %d", v.level)
			}
		}
	})
}
