package measured_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/measured"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/store/storetest"
)

var known = map[string]string{"services/specs": "services", "deployments": "deployments.apps"}

func TestStore(t *testing.T) {
	for _, name := range []string{"etcd", "embedded"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) store.Store { return measured.New(memory.New(), name, "/registry/", known) })
		})
	}
}

// broken fails at reads.
type broken struct{ store.Store }

func (broken) Get(context.Context, string, store.Revision) (store.Entry, error) {
	return store.Entry{}, errors.New("no leader")
}

// TestCounts: what is asked of an engine is counted by resource, and of one on the network by what was done with it.
func TestCounts(t *testing.T) {
	for _, name := range []string{"etcd", "embedded"} {
		t.Run(name, func(t *testing.T) {
			s := measured.New(broken{memory.New()}, name, "/registry/", known)
			registry := prometheus.NewRegistry()
			registry.MustRegister(s.Metrics()...)
			commit := func(ops ...store.Op) (store.Revision, error) {
				return s.Commit(t.Context(), store.Txn{Ops: ops})
			}
			at, err := commit(store.Op{Key: "/registry/quota", Value: []byte("{}"), Expect: store.Any}, store.Op{Key: "/registry/deployments/a/b", Value: []byte("{}")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := commit(store.Op{Key: "/registry/deployments/a/b", Value: []byte("{}")}); !errors.Is(err, store.ErrConflict) {
				t.Fatalf("a key twice: %v", err)
			}
			if _, err := commit(store.Op{Key: "/registry/deployments/a/b", Value: []byte("[]"), Expect: at}, store.Op{Key: "/registry/z", Check: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := commit(store.Op{Key: "/registry/example.com/things/a/b", Value: []byte("{}")}, store.Op{Key: "/registry/services/specs/a/b", Expect: store.Any}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), "/registry/services/specs/a/b", 0); err == nil {
				t.Fatal("it reads")
			}
			for _, prefix := range []string{"/registry/deployments/", "/registry/example.com/things/a/", "/registry/"} {
				if _, _, err := s.List(t.Context(), prefix, store.Page{}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Revision(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := []string{
				"apiserver_storage_list_total apps deployments 1", "apiserver_storage_list_total example.com things 1", "apiserver_storage_list_total   1",
				"apiserver_storage_list_fetched_objects_total   3", "apiserver_storage_list_returned_objects_total apps deployments 1",
				"apiserver_storage_list_evaluated_objects_total example.com things 1",
			}
			requests := []string{
				"etcd_requests_total apps create deployments 2", "etcd_requests_total apps update deployments 1", "etcd_requests_total  delete services 1",
				"etcd_requests_total  get services 1", "etcd_request_errors_total  get services 1", "etcd_requests_total apps list deployments 1",
				"etcd_requests_total  getCurrentResourceVersion  1", "etcd_request_duration_seconds apps create deployments 2",
			}
			got := gathered(t, registry)
			for _, line := range want {
				if !strings.Contains(got, line+"\n") {
					t.Errorf("no %q in\n%s", line, got)
				}
			}
			for _, line := range requests {
				if strings.Contains(got, line+"\n") != (name == "etcd") {
					t.Errorf("%q in\n%s", line, got)
				}
			}
			if n := strings.Count(got, "errors_total"); name == "etcd" && n != 1 {
				t.Errorf("%d kinds of errors in\n%s", n, got)
			}
		})
	}
}

// gathered is a line for each series: its name, the values of its labels but for the storage, and its count.
func gathered(t *testing.T, from prometheus.Gatherer) string {
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			b.WriteString(f.GetName())
			for _, l := range m.Label {
				if l.GetName() != "storage" && l.GetName() != "index" {
					b.WriteString(" " + l.GetValue())
				}
			}
			n := m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				n = float64(h.GetSampleCount())
			}
			fmt.Fprintf(&b, " %g\n", n)
		}
	}
	return b.String()
}

// BenchmarkGet is what counting adds to a request: beside it, the same without.
func BenchmarkGet(b *testing.B) {
	engine := memory.New()
	if _, err := engine.Commit(b.Context(), store.Txn{Ops: []store.Op{{Key: "/registry/deployments/a/b", Value: []byte("{}")}}}); err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]store.Store{"plain": engine, "counted": measured.New(engine, "etcd", "/registry/", known)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), "/registry/deployments/a/b", 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
