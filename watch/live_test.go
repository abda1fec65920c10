package watch_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// TestLiveWatchers: watchers with all sorts of filters begin, read a little, break off and resume while random writes, some
// of several objects at one revision, go on. At the end each has what a list has, by nothing but its own events; none
// has an event twice, out of order, or at or below a revision up to which it was told that nothing is missing.
func TestLiveWatchers(t *testing.T) {
	random := seeded(t, 2)
	r := start(t)
	one := func(sel string) labels.Selector {
		s, err := labels.Parse(sel)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	filters := []watch.Filter{
		{}, {Namespace: "a"}, {Name: "p1"}, {Namespace: "b", Name: "p2"},
		{Labels: one("app=x")}, {Labels: one("app in (y)")}, {Labels: one("app in (x,y)")}, {Labels: one("app!=x")}, {Namespace: "a", Labels: one("app=x")},
		{Fields: watch.FieldTerms(fields.OneTermEqualSelector("spec.nodeName", "n1"))}, {Fields: fields.OneTermEqualSelector("spec.nodeName", "")},
		{Fields: watch.FieldTerms(fields.OneTermEqualSelector("status.phase", "Running")), Labels: one("app=y")},
	}
	type reader struct {
		filter watch.Filter
		w      *watch.Watcher
		has    map[string]uint64 // key -> revision, as its events say
		last   uint64            // of its events
		upTo   uint64
	}
	var readers []*reader
	for n := range 3 * len(filters) {
		d := &reader{filter: filters[n%len(filters)], has: map[string]uint64{}}
		readers = append(readers, d)
	}
	begin := func(d *reader) {
		if d.w == nil && d.upTo == 0 {
			var items []*watch.Item
			items, d.w = r.state.ListWatch(core.Pod, d.filter)
			for _, i := range items {
				d.has[i.Key()] = i.Revision
			}
			d.last, d.upTo = d.w.Begin(), d.w.Begin()
			return
		}
		var err error
		if d.w, err = r.state.Watch(t.Context(), core.Pod, d.filter, d.upTo); err != nil {
			t.Fatal(err)
		}
	}
	read := func(d *reader) (more bool) {
		events, upTo, err := d.w.Take(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Revision <= d.upTo || e.Revision < d.last {
				t.Fatalf("%+v: event at %d after one at %d, complete up to %d", d.filter, e.Revision, d.last, d.upTo)
			}
			d.last = e.Revision
			kind, item := e.For(&d.filter)
			if item == nil {
				continue
			}
			was := d.has[item.Key()]
			switch {
			case kind == watch.Added && was != 0, kind != watch.Added && was == 0, was >= e.Revision:
				t.Fatalf("%+v: %s %s at %d, of which it has %d", d.filter, kind, item.Key(), e.Revision, was)
			case kind == watch.Deleted:
				delete(d.has, item.Key())
			default:
				d.has[item.Key()] = e.Revision
			}
		}
		if upTo < d.upTo {
			t.Fatalf("complete up to %d, after %d", upTo, d.upTo)
		}
		d.upTo = upTo
		return len(events) > 0
	}
	phases := []corev1.PodPhase{"Pending", "Running"}
	for range 600 {
		var txn store.Txn
		keys := map[string]bool{}
		for range 1 + random.IntN(3) {
			p := pod([]string{"a", "b", "a-b"}[random.IntN(3)], fmt.Sprint("p", random.IntN(4)), []string{"", "n1", "n2"}[random.IntN(3)], []string{"x", "y"}[random.IntN(2)])
			p.Status.Phase = phases[random.IntN(2)]
			key := watch.Key(core.Pod, p.Namespace, p.Name)
			if keys[key] {
				continue
			}
			keys[key] = true
			op := store.Op{Key: key, Expect: store.Any}
			if random.IntN(4) > 0 {
				var err error
				if op.Value, err = api.EncodeStored(core.Pod, p); err != nil {
					t.Fatal(err)
				}
			}
			txn.Ops = append(txn.Ops, op)
		}
		if _, err := r.store.Commit(context.Background(), txn); err != nil {
			t.Fatal(err)
		}
		d := readers[random.IntN(len(readers))]
		switch {
		case d.w == nil:
			begin(d)
		case random.IntN(4) == 0:
			d.w.Close()
			d.w = nil
		default:
			read(d)
		}
	}
	if err := r.state.Now(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, d := range readers {
		if d.w == nil {
			begin(d)
		}
		for read(d) {
		}
		d.w.Close()
		items, _ := r.state.List(core.Pod, d.filter)
		if len(items) != len(d.has) {
			t.Errorf("%+v: its events give %v, a list %d objects", d.filter, d.has, len(items))
		}
		for _, i := range items {
			if d.has[i.Key()] != i.Revision {
				t.Errorf("%+v: %s is at %d, its events say %d", d.filter, i.Key(), i.Revision, d.has[i.Key()])
			}
		}
	}
}
