package flow

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/lighter-k8s/lighter/authz"
)

// defaults are the objects of every cluster, with UIDs.
func defaults() (schemas []*flowcontrolv1.FlowSchema, levels []*flowcontrolv1.PriorityLevelConfiguration) {
	for _, o := range slices.Concat(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas) {
		o = o.DeepCopy()
		schemas = append(schemas, o)
	}
	for _, o := range slices.Concat(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations) {
		levels = append(levels, o.DeepCopy())
	}
	return schemas, levels
}

func controller(seats int, schemas []*flowcontrolv1.FlowSchema, levels []*flowcontrolv1.PriorityLevelConfiguration) *Controller {
	c := &Controller{seats: seats, seed: maphash.MakeSeed(), metrics: newMetrics(), adjusted: time.Now()}
	c.set(schemas, levels)
	return c
}

// ask reads "joe in a,b: get pods/log in shop" or "joe: get /healthz".
func ask(s string) *authz.Attributes {
	who, what, _ := strings.Cut(s, ": ")
	name, groups, _ := strings.Cut(who, " in ")
	a := &authz.Attributes{User: authenticationv1.UserInfo{Username: name, Groups: append(strings.Split(groups, ","), "system:authenticated")}}
	what, a.Namespace, _ = strings.Cut(what, " in ")
	var resource string
	a.Verb, resource, _ = strings.Cut(what, " ")
	if strings.HasPrefix(resource, "/") {
		a.Path = resource
		return a
	}
	a.ResourceRequest = true
	resource, a.Group, _ = strings.Cut(resource, ".")
	a.Resource, a.Subresource, _ = strings.Cut(resource, "/")
	return a
}

// TestFind: whom the default objects take for what. Source: API Priority and Fairness, Defaults.
func TestFind(t *testing.T) {
	c := controller(600, nil, nil)
	c.set(defaults())
	tests := map[string]string{
		"admin in system:masters: get pods in shop":           "exempt exempt",
		"joe: get /healthz":                                   "probes exempt",
		"joe: get /readyz":                                    "probes exempt",
		"joe: get /metrics":                                   "global-default global-default",
		"joe: get pods in shop":                               "global-default global-default",
		"joe: list nodes":                                     "global-default global-default",
		"system:node:n1 in system:nodes: get pods in shop":    "system-nodes system",
		"system:node:n1 in system:nodes: update nodes/status": "system-node-high node-high",
		"system:node:n1 in system:nodes: update leases.coordination.k8s.io in kube-node-lease":              "system-node-high node-high",
		"system:kube-scheduler: update leases.coordination.k8s.io in kube-system":                           "system-leader-election leader-election",
		"system:kube-scheduler: create pods/binding in shop":                                                "kube-scheduler workload-high",
		"system:kube-controller-manager: create pods in shop":                                               "kube-controller-manager workload-high",
		"system:serviceaccount:kube-system:job-controller in system:serviceaccounts: create pods in shop":   "kube-system-service-accounts workload-high",
		"system:serviceaccount:shop:web in system:serviceaccounts: create pods in shop":                     "service-accounts workload-low",
		"system:serviceaccount:kube-systemx:job-controller in system:serviceaccounts: create pods in other": "service-accounts workload-low",
	}
	for request, want := range tests {
		if s := c.now.Load().find(ask(request)); s == nil || s.name+" "+s.level.name != want {
			t.Errorf("%s: got %+v, want %s", request, s, want)
		}
	}
	if s := controller(600, nil, nil).now.Load().find(ask("joe: get pods in shop")); s == nil || s.name != "catch-all" {
		t.Errorf("without any object: %+v", s)
	}
}

// TestLimits: the seats of the default levels as upstream's documentation counts them, for 600 in all.
func TestLimits(t *testing.T) {
	schemas, levels := defaults()
	c := controller(600, schemas, levels)
	var got []string
	for _, l := range c.now.Load().levels {
		got = append(got, fmt.Sprintf("%s %d-%d", l.name, l.nominal.Load(), l.lends.Load()))
	}
	want := []string{"catch-all 13-0", "exempt 0-0", "system 74-24", "node-high 98-25", "leader-election 25-0", "workload-high 98-49", "workload-low 245-221", "global-default 49-25"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// one is a level of so many of all seats, with a schema for all of a group.
func one(name string, shares, lend int32, borrow *int32, queues, hand, longest int32) (*flowcontrolv1.FlowSchema, *flowcontrolv1.PriorityLevelConfiguration) {
	l := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "l"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited,
		Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares, LendablePercent: &lend, BorrowingLimitPercent: borrow,
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}}}
	if queues > 0 {
		l.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: longest}}
	}
	s := bootstrap.MandatoryFlowSchemaCatchAll.DeepCopy()
	s.Name, s.UID, s.Spec.MatchingPrecedence, s.Spec.PriorityLevelConfiguration.Name = name, "s", 100, name
	s.Spec.Rules[0].Subjects = []flowcontrolv1.Subject{{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: name}}}
	return s, l
}

// two are levels "a" and "b" with half of the seats each; the mandatory catch-all has five shares.
func two(seats int, lend int32, borrow *int32, queues, hand, longest int32) *Controller {
	sa, la := one("a", 100, lend, borrow, queues, hand, longest)
	sb, lb := one("b", 100, lend, borrow, queues, hand, longest)
	_, none := one("catch-all", 0, 0, borrow, 0, 0, 0)
	return controller(seats, []*flowcontrolv1.FlowSchema{sa, sb}, []*flowcontrolv1.PriorityLevelConfiguration{la, lb, none})
}

func wide(n int) func() int { return func() int { return n } }

func TestReject(t *testing.T) {
	zero := int32(0)
	c := two(8, 0, &zero, 0, 0, 0)
	var held []Ticket
	for n := range 6 {
		ticket, err := c.Begin(t.Context(), ask("joe in a: get pods in shop"), wide(1))
		if (err == nil) != (n < 4) || err != nil && !errors.Is(err, ErrBusy) {
			t.Fatalf("request %d: %v", n, err)
		}
		if ticket.Schema[0] != "s" || ticket.Level[0] != "l" {
			t.Errorf("headers %v, %v", ticket.Schema, ticket.Level)
		}
		held = append(held, ticket)
	}
	if _, err := c.Begin(t.Context(), ask("ann in b: get pods in shop"), wide(1)); err != nil {
		t.Errorf("another level: %v", err)
	}
	held[5].Release() // it holds nothing
	held[0].Release()
	held[0].Release()
	for n := range 2 {
		if _, err := c.Begin(t.Context(), ask("joe in a: get pods in shop"), wide(1)); (err == nil) != (n == 0) {
			t.Errorf("after one is done, request %d: %v", n, err)
		}
	}
}

// gauges are the metrics of each level.
func gauges(t *testing.T, c *Controller) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if m.Gauge != nil {
				level := ""
				if len(m.Label) > 0 {
					level = m.Label[0].GetValue()
				}
				out[strings.TrimSpace(f.GetName()+" "+level)] = m.Gauge.GetValue()
			}
		}
	}
	return out
}

// TestSeatMetrics: what nobody may take from a level, and what it may have at most.
func TestSeatMetrics(t *testing.T) {
	limit := int32(20)
	got := gauges(t, two(20, 50, &limit, 0, 0, 0))
	for name, want := range map[string]float64{"nominal": 10, "lower": 5, "upper": 12, "current": 10} {
		if v, ok := got["apiserver_flowcontrol_"+name+"_limit_seats a"]; !ok || v != want {
			t.Errorf("%s: %g (%v), want %g", name, v, ok, want)
		}
	}
}

// TestFair: one who asks without end and nine who ask now and then share the seats as if each were alone with a tenth: the flood waits or is sent
// away, the others are served at once or after few others.
func TestFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zero := int32(0)
		c := two(20, 0, &zero, 64, 6, 50)
		const serving = 100 * time.Millisecond
		var mu sync.Mutex
		refused := map[string]int{}
		longest := map[string]time.Duration{}
		request := func(who string, width int) {
			began := time.Now()
			ticket, err := c.Begin(t.Context(), ask(who+" in a: get pods in shop"), wide(width))
			mu.Lock()
			if err != nil {
				refused[who]++
			}
			longest[who] = max(longest[who], time.Since(began))
			mu.Unlock()
			if err == nil {
				time.Sleep(serving)
				ticket.Release()
			}
		}
		var all sync.WaitGroup
		for range 2000 { // all at once, and then for 10 seconds
			all.Go(func() {
				for range 5 {
					request("flood", 1)
					time.Sleep(2 * time.Second)
				}
			})
		}
		for n := range 9 {
			all.Go(func() {
				for range 40 {
					request(fmt.Sprint("user", n), 1+n%3)
					time.Sleep(250 * time.Millisecond)
				}
			})
		}
		all.Wait()
		if refused["flood"] < 8000 {
			t.Errorf("of 10,000 requests of the flood %d were sent away", refused["flood"])
		}
		for n := range 9 {
			if who := fmt.Sprint("user", n); refused[who] > 0 || longest[who] > 5*serving {
				t.Errorf("%s: %d sent away, waited %v", who, refused[who], longest[who])
			}
		}
		for _, l := range c.now.Load().levels {
			if l.used.Load() != 0 || l.waiting.Load() != 0 {
				t.Errorf("%s: %d seats, %d wait at the end", l.name, l.used.Load(), l.waiting.Load())
			}
		}
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zero := int32(0)
		c := two(2, 0, &zero, 1, 1, 2)
		joe := ask("joe in a: get pods in shop")
		first, err := c.Begin(t.Context(), joe, wide(5)) // as many as there are at most
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := c.Begin(t.Context(), joe, wide(1)); !errors.Is(err, ErrBusy) || time.Since(began) != patience {
			t.Errorf("too long: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := c.Begin(ctx, joe, wide(1)); !errors.Is(err, context.Canceled) {
			t.Errorf("who goes: %v", err)
		}
		done := make(chan error)
		for range 2 {
			go func() {
				ticket, err := c.Begin(t.Context(), joe, wide(1))
				ticket.Release()
				done <- err
			}()
		}
		synctest.Wait()
		if _, err := c.Begin(t.Context(), joe, wide(1)); !errors.Is(err, ErrBusy) {
			t.Errorf("a queue that is full: %v", err)
		}
		c.set(nil, nil) // the level is gone; who waits there is served
		first.Release()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestDump: who looks sees levels, queues and those who wait.
func TestDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zero := int32(0)
		c := two(2, 0, &zero, 1, 1, 2)
		ticket, err := c.Begin(t.Context(), ask("joe in a: get pods in shop"), wide(1))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		asked := ask("joe in a: list pods/log in shop")
		asked.Version = "v1"
		done := make(chan error)
		go func() {
			_, err := c.Begin(ctx, asked, wide(1))
			done <- err
		}()
		synctest.Wait()
		show := func(path string) string {
			w := httptest.NewRecorder()
			if !c.Dump(w, httptest.NewRequest("GET", DebugPath+path, nil)) {
				t.Errorf("%s is not there", path)
			}
			return w.Body.String()
		}
		for path, want := range map[string]string{
			"dump_priority_levels":                  "a,                 1,            false,  false,       1,               1,                 1,                  0,                0,                0\n",
			"dump_queues":                           "a,                 0,      1,               0,                 0,          0.00000000ss,  1,               1,           1.00000000ss\n",
			"dump_requests":                         "a,                 a,              0,          0,                   joe,             2000-01-01T00:00:00Z, 1,            0,          0s,                0001-01-01T00:00:00Z\n",
			"dump_requests?includeRequestDetails=1": "0001-01-01T00:00:00Z, joe,      list,   /api/v1/namespaces/shop/pods/log, shop,      ,       v1,         pods,     log\n",
		} {
			if got := show(path); !strings.Contains(got, want) {
				t.Errorf("%s:\n%swant\n%s", path, got, want)
			}
		}
		if c.Dump(httptest.NewRecorder(), httptest.NewRequest("GET", DebugPath+"dump", nil)) {
			t.Error("a path of no dump")
		}
		cancel()
		<-done
		ticket.Release()
		if got, want := show("dump_priority_levels"), "a,                 0,            true,   false,       0,               0,                 1,                  0,                0,                1\n"; !strings.Contains(got, want) {
			t.Errorf("at the end:\n%swant\n%s", got, want)
		}
	})
}

func TestDeal(t *testing.T) {
	for flow := range uint64(10000) {
		var got []int
		deal(flow*0x9e3779b97f4a7c15, 64, 6, func(n int) { got = append(got, n) })
		slices.Sort(got)
		if len(got) != 6 || len(slices.Compact(slices.Clone(got))) != 6 || got[0] < 0 || got[5] > 63 {
			t.Fatal(got)
		}
	}
	deal(12345, 3, 3, func(n int) {
		if n > 2 {
			t.Error(n)
		}
	})
}

// BenchmarkBegin is what a request pays while nobody waits: the last of the default schemas, and a seat.
func BenchmarkBegin(b *testing.B) {
	c := controller(600, nil, nil)
	c.set(defaults())
	a := ask("joe in developers: create configmaps in shop")
	width := wide(1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ticket, err := c.Begin(b.Context(), a, width)
			if err != nil {
				b.Fatal(err)
			}
			ticket.Release()
		}
	})
}

// TestNewcomer: who comes first is next, however many queues of a flood are where it begins.
func TestNewcomer(t *testing.T) {
	for range 10 { // with other hands each time
		synctest.Test(t, func(t *testing.T) {
			zero := int32(0)
			c := two(2, 0, &zero, 32, 6, 50)
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if ticket, err := c.Begin(ctx, ask("flood in a: get pods in shop"), wide(1)); err == nil {
						time.Sleep(time.Second)
						ticket.Release()
					}
				})
			}
			synctest.Wait()
			began := time.Now()
			ticket, err := c.Begin(ctx, ask("ann in a: get pods in shop"), wide(1))
			if took := time.Since(began); err != nil || took > time.Second {
				t.Errorf("waited %v, %v", took, err)
			}
			ticket.Release()
			cancel()
			all.Wait()
		})
	}
}
