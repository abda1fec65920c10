package authz

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// policyLine is a line of a file of policies.
func policyLine(spec string) string {
	return `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{` + spec + "}}\n"
}

func TestPolicies(t *testing.T) {
	// The examples of the documentation, and what they leave open.
	file := "# who may what\n\n" +
		policyLine(`"user":"alice","namespace":"*","resource":"*","apiGroup":"*"`) +
		policyLine(`"user":"kubelet","namespace":"*","resource":"pods","readonly":true`) +
		policyLine(`"user":"kubelet","namespace":"*","resource":"events"`) +
		policyLine(`"user":"bob","namespace":"projectCaribou","resource":"pods","readonly":true`) +
		policyLine(`"group":"system:authenticated","readonly":true,"nonResourcePath":"*"`) +
		policyLine(`"group":"system:unauthenticated","readonly":true,"nonResourcePath":"/public/*"`) +
		policyLine(`"user":"carol","group":"ops","nonResourcePath":"/reset"`) +
		policyLine(`"namespace":"*","resource":"*","apiGroup":"*","nonResourcePath":"*"`) // nobody's
	policies, err := parsePolicies([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		who, do string // user and groups; verb and [namespace:]resource.group or path
		want    bool
	}{
		"all of alice":                          {"alice", "delete default:deployments.apps", true},
		"of the whole cluster":                  {"alice", "create nodes.", true},
		"but no other path, without a group":    {"alice", "get /metrics", false},
		"the kubelet reads pods":                {"kubelet", "watch default:pods.", true},
		"and writes none":                       {"kubelet", "update default:pods.", false},
		"pods of another group are others":      {"kubelet", "get default:pods.metrics.k8s.io", false},
		"and writes events":                     {"kubelet", "create default:events.", true},
		"bob reads pods in his project":         {"bob", "get projectCaribou:pods.", true},
		"and nowhere else":                      {"bob", "get other:pods.", false},
		"and nothing else":                      {"bob", "get projectCaribou:secrets.", false},
		"not the pods of all namespaces":        {"bob", "list pods.", false},
		"whoever is somebody reads other paths": {"dave system:authenticated", "get /healthz/etcd", true},
		"and does no more there":                {"dave system:authenticated", "post /healthz", false},
		"who is nobody reads below a path":      {"system:anonymous system:unauthenticated", "get /public/a/b", true},
		"and not beside it":                     {"system:anonymous system:unauthenticated", "get /publicity", false},
		"a user and a group":                    {"carol ops", "post /reset", true},
		"a user who is not in the group":        {"carol dev", "post /reset", false},
		"another one of the group":              {"eve ops", "post /reset", false},
		"a policy that names nobody":            {"eve", "get default:pods.", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			who, verb := strings.Fields(tt.who), strings.Fields(tt.do)
			a := Attributes{User: authenticationv1.UserInfo{Username: who[0], Groups: who[1:]}, Verb: verb[0]}
			if strings.HasPrefix(verb[1], "/") {
				a.Path = verb[1]
			} else {
				a.ResourceRequest = true
				rest := verb[1]
				if namespace, resource, ok := strings.Cut(rest, ":"); ok {
					a.Namespace, rest = namespace, resource
				}
				a.Resource, a.Group, _ = strings.Cut(rest, ".")
			}
			if d, _, err := policies.Authorize(t.Context(), a); (d == Allow) != tt.want || err != nil {
				t.Errorf("got %v, %v", d, err)
			}
		})
	}
	for name, line := range map[string]string{
		"not JSON":        "{",
		"a list":          "[" + policyLine(`"user":"a"`) + "]",
		"a field unknown": policyLine(`"user":"a","verbs":["get"]`),
		"a field twice":   policyLine(`"user":"a","user":"b"`),
		"another kind":    strings.Replace(policyLine(`"user":"a"`), "Policy", "Role", 1),
		"no version":      `{"user":"a"}`,
		"two in a line":   strings.TrimSpace(policyLine(`"user":"a"`)) + policyLine(`"user":"b"`),
		"longer than any": policyLine(`"user":"` + strings.Repeat("a", maxPolicy) + `"`),
	} {
		if _, err := parsePolicies([]byte(policyLine(`"user":"a"`) + line)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPolicies(f *testing.F) {
	f.Add([]byte(policyLine(`"user":"a","readonly":true`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, err := parsePolicies(data)
		if d, _, _ := policies.Authorize(t.Context(), Attributes{Verb: "get", Path: "/"}); err != nil && d == Allow {
			t.Error("what cannot be read allows")
		}
	})
}

func TestModes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies")
	if err := os.WriteFile(file, []byte(policyLine(`"user":"bob","namespace":"*","resource":"secrets"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		modes      string
		ann, bob   string // for ann's role (get pods) and bob's policy (secrets)
		annSecrets string
	}{
		"roles":                    {"RBAC", "allow", "no opinion", "no opinion"},
		"policies":                 {"ABAC", "no opinion", "allow", "no opinion"},
		"both":                     {"ABAC RBAC", "allow", "allow", "no opinion"},
		"everything":               {"AlwaysAllow", "allow", "allow", "allow"},
		"nothing":                  {"AlwaysDeny", "no opinion", "no opinion", "no opinion"},
		"everything after nothing": {"AlwaysDeny AlwaysAllow", "allow", "allow", "allow"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &Structured{Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(), Node: NewNode(NodeViews{}), Policies: file,
				RBAC: newCluster(t, clusterRole("r", rule("get", "core", "pods")), clusterBinding("b", "r", user("ann"))).RBAC}
			if err := s.UseModes(strings.Fields(tt.modes), Hook{}); err != nil {
				t.Fatal(err)
			}
			entries := ""
			for _, mode := range strings.Fields(tt.modes) {
				entries += "- {type: " + mode + ", name: " + strings.ToLower(mode) + "}\n"
			}
			for _, use := range []func() error{func() error { return nil }, func() error { return s.Use([]byte(header + entries)) }} { // the same by a file
				if err := use(); err != nil {
					t.Fatal(err)
				}
				for _, one := range []struct{ who, resource, want string }{{"ann", "pods", tt.ann}, {"bob", "secrets", tt.bob}, {"ann", "secrets", tt.annSecrets}} {
					u := authenticationv1.UserInfo{Username: one.who}
					d, _, err := s.Authorize(t.Context(), Attributes{User: u, Verb: "get", ResourceRequest: true, Namespace: "n", Resource: one.resource, Version: "v1"})
					if d.String() != one.want || err != nil {
						t.Errorf("%s, %s: got %s, %v", one.who, one.resource, d, err)
					}
					found := false // what a user is told of his rules says the same
					for _, r := range s.Rules(&u, "n").ResourceRules {
						found = found || has(r.Verbs, "get") && has(r.Resources, one.resource)
					}
					if found != (one.want == "allow") {
						t.Errorf("%s, %s: rules %v", one.who, one.resource, s.Rules(&u, "n").ResourceRules)
					}
				}
				boss := authenticationv1.UserInfo{Username: "boss", Groups: []string{SuperGroup}}
				if d, _, _ := s.Authorize(t.Context(), Attributes{User: boss, Verb: "get", Path: "/"}); d != Allow {
					t.Error("the administrator is shut out")
				}
			}
		})
	}
	if err := (&Structured{Policies: file + "x"}).UseModes([]string{"ABAC"}, Hook{}); err == nil {
		t.Error("a file that is not there is taken")
	}
	if err := (&Structured{}).Use([]byte(header + "- {type: ABAC, name: abac}\n")); err == nil || !strings.Contains(err.Error(), "--authorization-policy-file") {
		t.Errorf("policies of no file: %v", err)
	}
}
