// Package measured lies directly above a store's engine and counts, for /metrics, what the engine is asked: lists of all of
// them, and each request of one on the network, under the names that dashboards have for etcd.
package measured

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lighter-k8s/lighter/store"
)

// Store is a store.Store that counts. What is asked of the engine itself is not counted.
type Store struct {
	store.Store

	prefix string
	known  map[string]string

	lists, fetched, evaluated, returned *prometheus.CounterVec
	requests, errors                    *prometheus.CounterVec // nil: of lists alone
	seconds                             *prometheus.HistogramVec

	mu  sync.RWMutex
	all map[request]counts // what requests of one kind count in: looked up once, not once for each metric
}

type request struct{ group, operation, resource string }

type counts struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Pusher = (*Store)(nil)
)

// Buckets are upstream's, but for two below its first one: a write that is well takes so long.
var slow = []float64{0.001, 0.0025, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

// New puts counting above an engine, which Close closes; name is the engine's, and "etcd" has all its requests counted.
// Keys begin with prefix; known says which resource ("deployments.apps") lies at which part of a key behind it, where that
// is not the group and the resource themselves.
func New(engine store.Store, name, prefix string, known map[string]string) *Store {
	counter := func(name, help string, at prometheus.Labels, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: at}, labels)
	}
	at := prometheus.Labels{"storage": name} // names and helps are those of the lists from memory, in apiserver
	s := &Store{Store: engine, prefix: prefix, known: known, all: map[request]counts{},
		lists:     counter("apiserver_storage_list_total", "Lists, by where their objects came from.", at, "group", "index", "resource"),
		fetched:   counter("apiserver_storage_list_fetched_objects_total", "Objects that were read for lists.", at, "group", "index", "resource"),
		evaluated: counter("apiserver_storage_list_evaluated_objects_total", "Objects that were held against the selectors of lists.", at, "group", "resource"),
		returned:  counter("apiserver_storage_list_returned_objects_total", "Objects that lists gave.", at, "group", "resource"),
	}
	if name == "etcd" {
		of := []string{"group", "operation", "resource"}
		s.requests = counter("etcd_requests_total", "Requests to etcd, by operation and resource.", nil, of...)
		s.errors = counter("etcd_request_errors_total", "Requests to etcd that failed, by operation and resource.", nil, of...)
		s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_request_duration_seconds",
			Help: "How long requests to etcd took, by operation and resource.", Buckets: slow}, of)
	}
	return s
}

// Metrics are the collectors, to be registered.
func (s *Store) Metrics() []prometheus.Collector {
	all := []prometheus.Collector{s.lists, s.fetched, s.evaluated, s.returned}
	if s.requests != nil {
		all = append(all, s.requests, s.errors, s.seconds)
	}
	return all
}

// kind says what lies at a key, or below one that ends in "/".
func (s *Store) kind(key string) (group, resource string) {
	rest, ok := strings.CutPrefix(key, s.prefix)
	if !ok {
		return "", ""
	}
	first, rest, _ := strings.Cut(rest, "/")
	second, _, _ := strings.Cut(rest, "/")
	name, ok := s.known[first]
	if !ok {
		name, ok = s.known[first+"/"+second]
	}
	switch {
	case ok:
		resource, group, _ = strings.Cut(name, ".")
		return group, resource
	case strings.Contains(first, "."):
		return first, second
	}
	return "", first
}

// done counts a request that began at some time. That a key was not as expected is an answer like others.
func (s *Store) done(operation, key string, began time.Time, err error) {
	group, resource := s.kind(key)
	q := request{group, operation, resource}
	s.mu.RLock()
	c, ok := s.all[q]
	s.mu.RUnlock()
	if !ok {
		c = counts{s.requests.WithLabelValues(group, operation, resource), s.seconds.WithLabelValues(group, operation, resource)}
		s.mu.Lock()
		s.all[q] = c
		s.mu.Unlock()
	}
	c.requests.Inc()
	c.seconds.Observe(time.Since(began).Seconds())
	if err != nil && !errors.Is(err, store.ErrConflict) {
		s.errors.WithLabelValues(group, operation, resource).Inc()
	}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	if s.requests == nil {
		return s.Store.Get(ctx, key, at)
	}
	began := time.Now()
	e, err := s.Store.Get(ctx, key, at)
	s.done("get", key, began, err)
	return e, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	began := time.Now()
	entries, at, err := s.Store.List(ctx, prefix, p)
	if s.requests != nil {
		s.done("list", prefix, began, err)
	}
	group, resource := s.kind(prefix)
	n := float64(len(entries))
	s.lists.WithLabelValues(group, "", resource).Inc()
	s.fetched.WithLabelValues(group, "", resource).Add(n)
	s.evaluated.WithLabelValues(group, resource).Add(n)
	s.returned.WithLabelValues(group, resource).Add(n)
	return entries, at, err
}

// Commit implements store.Store. A transaction counts as what it does with its last key that it writes: the object is there.
func (s *Store) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	if s.requests == nil {
		return s.Store.Commit(ctx, t)
	}
	began := time.Now()
	at, err := s.Store.Commit(ctx, t)
	operation, key := "get", ""
	for _, op := range t.Ops {
		switch {
		case op.Check:
			continue
		case op.Value == nil:
			operation = "delete"
		case op.Expect == 0:
			operation = "create"
		default:
			operation = "update"
		}
		key = op.Key
	}
	s.done(operation, key, began, err)
	return at, err
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (store.Revision, error) {
	if s.requests == nil {
		return s.Store.Revision(ctx)
	}
	began := time.Now()
	at, err := s.Store.Revision(ctx)
	s.done("getCurrentResourceVersion", "", began, err)
	return at, err
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, before store.Revision) error {
	if s.requests == nil {
		return s.Store.Compact(ctx, before)
	}
	began := time.Now()
	err := s.Store.Compact(ctx, before)
	s.done("compact", "", began, err)
	return err
}

// Push implements store.Pusher above any engine.
func (s *Store) Push(ctx context.Context, prefix string, after store.Revision, take func([]store.Event) bool) error {
	return store.Follow(ctx, s.Store, prefix, after, take)
}
