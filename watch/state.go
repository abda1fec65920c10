// Package watch holds the newest objects and the recent events in memory, once, for
// everybody: the API server's lists and watches, and the views of the parts that
// run in the same process. It is fed by the store's log of writes alone, in order, so it
// can be late but never wrong; a reader that needs "now" waits for the revision
// which the store confirms.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
)

// Prefix is where all keys of the API begin.
const Prefix = "/registry/"

// ErrExpired: the revision to watch from is older than the events that are kept (HTTP 410).
var ErrExpired = errors.New("too old resource version")

// keepBytes and keepFor bound a resource's events: those beyond keepBytes go first;
// those older than keepFor go when new ones come.
const (
	keepBytes = 16 << 20
	keepFor   = 5 * time.Minute
)

// State is the memory of one server. All methods are safe for concurrent use.
type State struct {
	store store.Store
	log   *slog.Logger
	now   func() time.Time

	mu       sync.RWMutex
	tables   map[string]*table // by StoreKey
	revision uint64            // everything up to it is applied
	failed   error             // Run ended: nothing newer will come
	waiting  []waiter
	offers   map[offer]api.Object
}

type waiter struct {
	revision uint64
	done     chan struct{}
}

type offer struct {
	key      string
	revision uint64
}

// table is one resource. Guarded by State.mu.
type table struct {
	info     *api.Info
	items    *btree.Map[string, *Item]   // by "namespace/name" or "name"
	shared   *btree.Map[string, *Item]   // a copy handed out, while nothing changed since
	owners   map[string]map[string]*Item // controlling owner's UID -> key -> item
	nodes    map[string]map[string]*Item // spec.nodeName -> key -> item; pods only
	events   []*Event                    // oldest first
	first    uint64                      // sequence number of events[0]
	bytes    int                         // that events hold
	since    uint64                      // events later than this revision are all in events
	watchers map[*Watcher]struct{}

	unreadable map[string]Unreadable // by key, as items; nil while there is none
}

// New makes the memory for the given resources; Load fills it.
func New(s store.Store, log *slog.Logger, now func() time.Time, infos []*api.Info) *State {
	st := &State{store: s, log: log, now: now, tables: map[string]*table{}, offers: map[offer]api.Object{}}
	for _, i := range infos {
		st.Add(i)
	}
	return st
}

// Add makes room for one more resource, before its first object is written.
func (s *State) Add(i *api.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.Virtual || i.Stored != i || s.tables[i.StoreKey] != nil {
		return
	}
	t := &table{info: i, items: btree.NewMap[string, *Item](32), owners: map[string]map[string]*Item{},
		since: s.revision, watchers: map[*Watcher]struct{}{}}
	if i.StoreKey == "pods" {
		t.nodes = map[string]map[string]*Item{}
	}
	s.tables[i.StoreKey] = t
}

// Key is where an object of the resource is stored.
func Key(i *api.Info, namespace, name string) string {
	if i.Namespaced {
		return Prefix + i.StoreKey + "/" + namespace + "/" + name
	}
	return Prefix + i.StoreKey + "/" + name
}

// split finds the table of a store key and the rest of it.
func (s *State) split(key string) (*table, string) {
	rest, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return nil, ""
	}
	for at := 0; at < len(rest); at++ {
		if rest[at] != '/' {
			continue
		}
		if t := s.tables[rest[:at]]; t != nil {
			return t, rest[at+1:]
		}
	}
	return nil, ""
}

// Load reads all that is stored. It is called once, before Run.
func (s *State) Load(ctx context.Context) error {
	entries, at, err := s.store.List(ctx, Prefix, store.Page{})
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		t, key := s.split(e.Key)
		if t == nil {
			continue
		}
		item, err := read(t, key, e, nil)
		if err != nil {
			s.lose(t, key, e, err)
			continue
		}
		t.set(key, nil, item)
	}
	s.revision = uint64(at)
	for _, t := range s.tables {
		t.since = s.revision
	}
	return nil
}

// Run follows the store until ctx ends or the store fails.
func (s *State) Run(ctx context.Context) error {
	var batch []store.Event
	var err error
	for e, werr := range s.store.Watch(ctx, Prefix, store.Revision(s.Revision())) {
		if werr != nil {
			err = werr
			break
		}
		batch = append(batch, e)
		if e.Last {
			s.apply(batch)
			batch = batch[:0]
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	s.mu.Lock()
	s.failed = fmt.Errorf("state ended: %w", err)
	for _, w := range s.waiting {
		close(w.done)
	}
	s.waiting = nil
	for _, t := range s.tables {
		for w := range t.watchers {
			w.poke()
		}
	}
	s.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Offer hands over the typed object of a write that is about to show up in the log, so that
// it need not be decoded again. obj must not be written to afterwards.
func (s *State) Offer(key string, revision uint64, obj api.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision > s.revision {
		if len(s.offers) > 4096 {
			clear(s.offers)
		}
		s.offers[offer{key, revision}] = obj
		return
	}
	if t, k := s.split(key); t != nil {
		if i, ok := t.items.Get(k); ok && i.Revision == revision {
			i.object.CompareAndSwap(nil, &obj)
		}
	}
}

// apply takes in the events of one revision.
func (s *State) apply(batch []store.Event) {
	revision := uint64(batch[0].Revision)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range batch {
		t, key := s.split(e.Key)
		if t == nil {
			continue
		}
		old, _ := t.items.Get(key)
		ev := &Event{Revision: revision, Old: old, at: s.now()}
		delete(t.unreadable, key)
		if e.Value != nil {
			o := offer{e.Key, revision}
			obj := s.offers[o]
			delete(s.offers, o)
			var err error
			if ev.New, err = read(t, key, e.Entry, obj); err != nil {
				s.lose(t, key, e.Entry, err) // and do not go on to show the older state: for who watches it is gone
			}
		}
		if ev.New == nil && old == nil {
			continue
		}
		t.set(key, old, ev.New)
		t.append(ev)
		if old != nil {
			old.release()
		}
	}
	s.revision = revision
	rest := s.waiting[:0]
	for _, w := range s.waiting {
		if w.revision <= revision {
			close(w.done)
		} else {
			rest = append(rest, w)
		}
	}
	s.waiting = rest
}

// set puts item (nil: nothing) where old was.
func (t *table) set(key string, old, item *Item) {
	t.shared = nil
	if old != nil {
		t.index(key, old, false)
	}
	if item == nil {
		t.items.Delete(key)
		return
	}
	t.items.Set(key, item)
	t.index(key, item, true)
}

// index adds or removes an item where it is found by owner and node.
func (t *table) index(key string, i *Item, add bool) {
	put := func(m map[string]map[string]*Item, value string) {
		if value == "" {
			return
		}
		switch set := m[value]; {
		case add && set == nil:
			m[value] = map[string]*Item{key: i}
		case add:
			set[key] = i
		default:
			delete(set, key)
			if len(set) == 0 {
				delete(m, value)
			}
		}
	}
	put(t.owners, i.owner)
	if t.nodes != nil {
		put(t.nodes, i.node)
	}
}

// append adds an event to the log and wakes whom it may concern.
func (t *table) append(e *Event) {
	t.events = append(t.events, e)
	t.bytes += e.size()
	drop := 0
	for drop < len(t.events)-1 && (t.bytes > keepBytes || e.at.Sub(t.events[drop].at) > keepFor) {
		t.since = t.events[drop].Revision
		t.bytes -= t.events[drop].size()
		t.events[drop] = nil
		drop++
	}
	t.events = t.events[drop:]
	t.first += uint64(drop)
	for w := range t.watchers {
		if w.concerns(e) {
			w.poke()
		}
	}
}

// newItem makes the Item of a stored value; obj, if not nil, is its typed object.
func newItem(info *api.Info, key string, e store.Entry, obj api.Object) (*Item, error) {
	raw, _, _, err := api.RawStored(e.Value)
	if err != nil {
		return nil, err
	}
	i := &Item{Info: info, Revision: uint64(e.Revision), raw: api.WithVersion(raw, uint64(e.Revision))}
	i.Name = key
	if info.Namespaced {
		i.Namespace, i.Name, _ = strings.Cut(key, "/")
	}
	var meta metav1.Object = obj
	if obj != nil {
		i.object.Store(&obj)
	} else {
		var m metav1.PartialObjectMetadata
		if err := m.Unmarshal(raw); err != nil {
			return nil, err
		}
		meta = &m
	}
	i.Labels = meta.GetLabels()
	if info.StoreKey == "pods" {
		if i.node, err = nodeOf(i); err != nil {
			return nil, err
		}
	}
	for _, o := range meta.GetOwnerReferences() {
		if o.Controller != nil && *o.Controller {
			i.owner = string(o.UID)
		}
	}
	return i, nil
}

// nodeOf reads a pod's node, by which pods are indexed.
func nodeOf(i *Item) (string, error) {
	o, err := i.Object()
	if err != nil {
		return "", err
	}
	if f := i.Info.Fields["spec.nodeName"]; f != nil {
		return f(o), nil
	}
	return "", nil
}

// Revision is the newest revision that the state shows.
func (s *State) Revision() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Wait blocks until the state shows everything up to the revision.
func (s *State) Wait(ctx context.Context, revision uint64) error {
	s.mu.Lock()
	if s.revision >= revision {
		s.mu.Unlock()
		return nil
	}
	if s.failed != nil {
		defer s.mu.Unlock()
		return s.failed
	}
	w := waiter{revision, make(chan struct{})}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	select {
	case <-w.done:
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.revision < revision {
			return s.failed
		}
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		for n, o := range s.waiting {
			if o.done == w.done {
				s.waiting = append(s.waiting[:n], s.waiting[n+1:]...)
				break
			}
		}
		s.mu.Unlock()
		return ctx.Err()
	}
}

// Now waits until the state shows all that was acknowledged before the call.
func (s *State) Now(ctx context.Context) error {
	at, err := s.store.Revision(ctx)
	if err != nil {
		return err
	}
	return s.Wait(ctx, uint64(at))
}

// Get returns an object as the state shows it, or nil.
func (s *State) Get(i *api.Info, namespace, name string) *Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[i.StoreKey]
	if t == nil {
		return nil
	}
	item, _ := t.items.Get(treeKey(i, namespace, name))
	return item
}

func treeKey(i *api.Info, namespace, name string) string {
	if i.Namespaced {
		return namespace + "/" + name
	}
	return name
}

// snapshot is the table as it is now, for good. s.mu must be held, for writing unless shared is set.
func (t *table) snapshot() *btree.Map[string, *Item] {
	if t.shared == nil {
		t.shared = t.items.Copy()
	}
	return t.shared
}

// List returns the objects that the filter takes, by namespace and name, and the revision they
// are the state of. It holds no lock while it filters.
func (s *State) List(i *api.Info, f Filter) ([]*Item, uint64) {
	s.mu.Lock()
	t := s.tables[i.StoreKey]
	if t == nil {
		defer s.mu.Unlock()
		return nil, s.revision
	}
	revision := s.revision
	if f.Fields != nil && t.nodes != nil {
		if node, ok := f.Fields.RequiresExactMatch("spec.nodeName"); ok {
			items := sorted(t.nodes[node])
			s.mu.Unlock()
			return keep(items, f), revision
		}
	}
	snap := t.snapshot()
	s.mu.Unlock()
	return scan(snap, i, f), revision
}

// By returns the items whose index ("owner" or "node") has the value, by namespace and name.
func (s *State) By(i *api.Info, index, value string) []*Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tables[i.StoreKey]
	switch {
	case t == nil:
		return nil
	case index == "owner":
		return sorted(t.owners[value])
	case index == "node" && t.nodes != nil:
		return sorted(t.nodes[value])
	}
	panic("watch: no index " + index + " on " + i.Resource)
}

// Info is the record of a stored resource by its StoreKey, or nil.
func (s *State) Info(storeKey string) *api.Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.tables[storeKey]; t != nil {
		return t.info
	}
	return nil
}
