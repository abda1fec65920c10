package role_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/flow"
	"github.com/lighter-k8s/lighter/role"
)

const flowGroup = "/apis/flowcontrol.apiserver.k8s.io/v1"

// TestFlow: a client that floods a real server is told to come again later, and nobody else notices.
func TestFlow(t *testing.T) {
	p, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	admin := p.as(t, "admin")
	ns, other := p.namespace(t), p.namespace(t)
	flood, user := p.as(t, p.token(t, ns)), p.as(t, p.token(t, other))
	must := func(a answer, code int) answer {
		t.Helper()
		if a.code != code {
			t.Errorf("HTTP %d, want %d: %s", a.code, code, a.body)
		}
		return a
	}
	t.Run("the default objects are there, and requests say of which they were", func(t *testing.T) {
		uids := map[string]string{}
		for _, kind := range []string{"flowschemas", "prioritylevelconfigurations"} {
			list := into[metav1.PartialObjectMetadataList](t, admin.do(t, "GET", flowGroup+"/"+kind, ""), 200)
			var names []string
			for _, o := range list.Items {
				names = append(names, o.Name)
				uids[kind+"/"+o.Name] = string(o.UID)
				if o.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != "true" {
					t.Errorf("%s %s: annotations %v", kind, o.Name, o.Annotations)
				}
			}
			want := []string{"catch-all", "exempt", "global-default", "leader-election", "node-high", "system", "workload-high", "workload-low"}
			if kind == "flowschemas" {
				want = []string{"catch-all", "exempt", "global-default", "kube-controller-manager", "kube-scheduler", "kube-system-service-accounts", "probes", "service-accounts", "system-leader-election", "system-node-high", "system-nodes"}
			}
			if !slices.Equal(names, want) {
				t.Errorf("%s: %q", kind, names)
			}
		}
		for schema, who := range map[string]caller{"exempt exempt": admin, "service-accounts workload-low": user} {
			schema, level, _ := strings.Cut(schema, " ")
			h := who.do(t, "GET", "/api/v1/namespaces/"+other+"/pods", "").header
			if h.Get("X-Kubernetes-PF-FlowSchema-UID") != uids["flowschemas/"+schema] || h.Get("X-Kubernetes-PF-PriorityLevel-UID") != uids["prioritylevelconfigurations/"+level] {
				t.Errorf("%s: got headers %v", schema, h)
			}
		}
	})
	t.Run("who may look sees the levels at work", func(t *testing.T) {
		must(user.do(t, "GET", flow.DebugPath+"dump_requests", ""), 403)
		must(admin.do(t, "GET", flow.DebugPath+"dump_nothing", ""), 404)
		for path, want := range map[string]string{"dump_priority_levels": "\nworkload-low, ", "dump_queues": "\nworkload-low,      127,", "dump_requests?includeRequestDetails=1": ", SubResource\n"} {
			if a := must(admin.do(t, "GET", flow.DebugPath+path, ""), 200); !strings.Contains(string(a.body), want) {
				t.Errorf("%s: %s", path, a.body)
			}
		}
	})
	t.Run("what users changed stays, what is mandatory is put right", func(t *testing.T) {
		change := func(kind, name, patch string) {
			t.Helper()
			must(admin.do(t, "PATCH", flowGroup+"/"+kind+"/"+name, patch, "Content-Type: application/merge-patch+json"), 200)
		}
		change("flowschemas", "service-accounts", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},"spec":{"matchingPrecedence":8888}}`)
		change("flowschemas", "global-default", `{"spec":{"matchingPrecedence":9990}}`)
		change("flowschemas", "kube-scheduler", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":null}},"spec":{"matchingPrecedence":801}}`)
		change("prioritylevelconfigurations", "catch-all", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}}}`)
		must(admin.do(t, "DELETE", flowGroup+"/flowschemas/probes", ""), 200)
		for range 2 { // the second time there is nothing to do
			if err := flow.Ensure(t.Context(), p.Client("system:apiserver", "system:masters")); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]string{"service-accounts": "8888 false", "global-default": "9900 true", "kube-scheduler": "801 false", "probes": "2 true"} {
			o := into[flowcontrolv1.FlowSchema](t, admin.do(t, "GET", flowGroup+"/flowschemas/"+name, ""), 200)
			if got := fmt.Sprint(o.Spec.MatchingPrecedence, " ", o.Annotations[flowcontrolv1.AutoUpdateAnnotationKey]); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
		o := into[flowcontrolv1.PriorityLevelConfiguration](t, admin.do(t, "GET", flowGroup+"/prioritylevelconfigurations/catch-all", ""), 200)
		if *o.Spec.Limited.NominalConcurrencyShares != 5 || o.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("catch-all: %d shares, %v", *o.Spec.Limited.NominalConcurrencyShares, o.Annotations)
		}
	})
	t.Run("a schema says whether its level is there", func(t *testing.T) {
		said := func(schema string) string {
			o := into[flowcontrolv1.FlowSchema](t, admin.do(t, "GET", flowGroup+"/flowschemas/"+schema, ""), 200)
			for _, c := range o.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					return string(c.Status)
				}
			}
			return ""
		}
		says := func(schema, want string) {
			t.Helper()
			within(t, 5*time.Second, schema, func() error {
				if got := said(schema); got != want {
					return fmt.Errorf("dangling %q, want %q", got, want)
				}
				return nil
			})
		}
		says("service-accounts", "False")
		must(admin.do(t, "POST", flowGroup+"/flowschemas", text("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "lost",
			`"spec":{"matchingPrecedence":9000,"priorityLevelConfiguration":{"name":"not-yet"},"rules":[{"subjects":[{"kind":"User","user":{"name":"x"}}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}`)), 201)
		says("lost", "True")
		must(admin.do(t, "POST", flowGroup+"/prioritylevelconfigurations", text("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "not-yet",
			`"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":1,"limitResponse":{"type":"Reject"}}}`)), 201)
		says("lost", "False")
		must(admin.do(t, "DELETE", flowGroup+"/prioritylevelconfigurations/not-yet", ""), 200)
		says("lost", "True")
		must(admin.do(t, "DELETE", flowGroup+"/flowschemas/lost", ""), 200)
	})
	t.Run("a flood", func(t *testing.T) {
		must(admin.do(t, "POST", flowGroup+"/prioritylevelconfigurations", text("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "dam",
			`"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":1,"lendablePercent":0,"borrowingLimitPercent":0,"limitResponse":{"type":"Queue","queuing":{"queues":1,"handSize":1,"queueLengthLimit":2}}}}`)), 201)
		must(admin.do(t, "POST", flowGroup+"/flowschemas", text("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "dam",
			fmt.Sprintf(`"spec":{"matchingPrecedence":50,"priorityLevelConfiguration":{"name":"dam"},"rules":[{"subjects":[{"kind":"ServiceAccount","serviceAccount":{"namespace":%q,"name":"default"}}],"resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,"namespaces":["*"]}]}]}`, ns))), 201)
		for _, who := range []string{ns, other} {
			must(admin.do(t, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", text("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", who,
				`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}`, fmt.Sprintf(`"subjects":[{"kind":"ServiceAccount","namespace":%q,"name":"default"}]`, who))), 201)
		}
		for n := range 4 { // a list of them is worth all seats of the level
			must(admin.do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", fmt.Sprint("big-", n), fmt.Sprintf(`"data":{"k":%q}`, strings.Repeat("x", 900<<10)))), 201)
		}
		var served, refused atomic.Int64
		var over atomic.Bool
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for until := time.Now().Add(10 * time.Second); !over.Load() && time.Now().Before(until); {
					a := flood.do(t, "GET", "/api/v1/configmaps", "")
					switch {
					case a.code == 200:
						served.Add(1)
					case a.code == 429 && a.header.Get("Retry-After") == "1" && a.status().Reason == metav1.StatusReasonTooManyRequests:
						refused.Add(1)
						time.Sleep(20 * time.Millisecond) // or this process has no time for the others
					default:
						t.Errorf("HTTP %d, %v", a.code, a.header)
						return
					}
				}
			})
		}
		for until := time.Now().Add(10 * time.Second); refused.Load() < 20 && time.Now().Before(until); time.Sleep(time.Millisecond) {
		}
		for n := range 15 { // somebody else, meanwhile
			name := fmt.Sprint("c-", n)
			must(user.do(t, "POST", "/api/v1/namespaces/"+other+"/configmaps", text("v1", "ConfigMap", name)), 201)
			must(user.do(t, "GET", "/api/v1/namespaces/"+other+"/configmaps/"+name, ""), 200)
		}
		over.Store(true)
		all.Wait()
		if served.Load() == 0 || refused.Load() < 20 {
			t.Errorf("of the flood %d were served, %d sent away", served.Load(), refused.Load())
		}
		must(flood.do(t, "GET", "/api/v1/namespaces/"+other+"/configmaps", ""), 200)
		within(t, 5*time.Second, "the metrics say so", func() error { // an answer is there a moment before its seats are given back
			metrics := string(must(admin.do(t, "GET", "/metrics", ""), 200).body)
			for _, want := range []string{`rejected_requests_total{flow_schema="dam",priority_level="dam",reason="queue-full"}`,
				`current_executing_seats{flow_schema="dam",priority_level="dam"} 0`} {
				if !strings.Contains(metrics, "apiserver_flowcontrol_"+want) {
					return fmt.Errorf("no %s", want)
				}
			}
			return nil
		})
	})
	t.Run("watches keep no seat", func(t *testing.T) {
		for range 6 { // the level has three
			flood.watch(t, "/api/v1/namespaces/"+ns+"/secrets")
		}
		must(flood.do(t, "GET", "/api/v1/namespaces/"+ns+"/secrets", ""), 200)
	})
}

// TestFlood: a client that lists all there is, on many connections at once, takes the seats of its level that others leave it and is told to
// come again later; another client of the same level is served in its turn, and one of another level does not notice. With PROVE how long that one
// waited is compared with a quiet time in the same run.
func TestFlood(t *testing.T) {
	requests, prove := 20, os.Getenv("PROVE") != ""
	if prove {
		requests = 300
	}
	p, err := start(func(c *config.Config, _ *role.Server) { c.Server.MaxRequests, c.Server.MaxMutatingRequests = 10, 5 })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	admin := p.as(t, "admin")
	var users []caller // the first one floods, the second is of its level, the third's level is workload-high
	for n := range 3 {
		ns := metav1.NamespaceSystem
		if n < 2 {
			ns = p.namespace(t)
		} else if a := admin.do(t, "POST", "/api/v1/namespaces/kube-system/serviceaccounts", text("v1", "ServiceAccount", "default")); a.code != 201 && a.code != 409 {
			t.Fatal(string(a.body))
		}
		if a := admin.do(t, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", text("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", fmt.Sprint("flood-", n),
			`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}`, fmt.Sprintf(`"subjects":[{"kind":"ServiceAccount","namespace":%q,"name":"default"}]`, ns))); a.code != 201 {
			t.Fatal(string(a.body))
		}
		users = append(users, p.as(t, p.token(t, ns)))
	}
	for n := range 4 {
		if a := admin.do(t, "POST", "/api/v1/namespaces/default/configmaps", text("v1", "ConfigMap", fmt.Sprint("big-", n), fmt.Sprintf(`"data":{"k":%q}`, strings.Repeat("x", 900<<10)))); a.code != 201 {
			t.Fatal(string(a.body))
		}
	}
	// others are those who must not notice: how long each of their requests took.
	others := func(who caller, requests int) (took []time.Duration) {
		for range requests {
			began := time.Now()
			if a := who.do(t, "GET", "/api/v1/namespaces/default/configmaps/none", ""); a.code != 404 {
				t.Fatalf("somebody else: HTTP %d, %s", a.code, a.body)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took
	}
	before := [2][]time.Duration{others(users[1], requests), others(users[2], requests)}
	ctx, cancel := context.WithCancel(t.Context())
	var served, refused, odd atomic.Int64
	var all sync.WaitGroup
	for range 400 {
		all.Go(func() {
			for ctx.Err() == nil {
				r, err := http.NewRequestWithContext(ctx, "GET", users[0].url+"/api/v1/configmaps", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+users[0].token)
				a, err := users[0].http.Do(r)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, a.Body)
				_ = a.Body.Close()
				switch {
				case a.StatusCode == 200:
					served.Add(1)
				case a.StatusCode == 429 && a.Header.Get("Retry-After") == "1":
					refused.Add(1)
					select { // as it was told
					case <-time.After(time.Second):
					case <-ctx.Done():
					}
				default:
					odd.Add(1)
				}
			}
		})
	}
	for until := time.Now().Add(20 * time.Second); refused.Load() < 20 && time.Now().Before(until); time.Sleep(time.Millisecond) {
	}
	during := [2][]time.Duration{others(users[1], requests), others(users[2], requests)}
	cancel()
	all.Wait()
	p99 := func(took []time.Duration) time.Duration { return took[len(took)*99/100] }
	for n, who := range []string{"another of the same level", "one of another level"} {
		b, d := before[n], during[n]
		t.Logf("%s: p50 %v, p99 %v while it was quiet; %v, %v beside a flood of which %d requests were served and %d refused", who, b[len(b)/2], p99(b), d[len(d)/2], p99(d), served.Load(), refused.Load())
		if most := 5*p99(b) + 100*time.Millisecond; prove && n == 1 && p99(d) > most { // who shares the level may wait for a list of each of the flood's queues
			t.Errorf("%s: p99 %v, want less than %v", who, p99(d), most)
		}
	}
	if served.Load() == 0 || refused.Load() < 20 || odd.Load() > 0 {
		t.Errorf("of the flood %d were served, %d refused, %d something else", served.Load(), refused.Load(), odd.Load())
	}
}
