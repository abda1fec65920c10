package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// View looks straight into the server's memory. It panics on a resource or selection
// that cannot be: that is a bug of the part that asks. A custom resource may come and go.
func (c *Client) View(_ context.Context, r client.Resource, s client.Selection) client.View {
	return c.server.View(r, s)
}

// View is Client.View without a user: for authentication and authorization themselves.
func (s *Server) View(r client.Resource, sel client.Selection) client.View {
	f, err := filter(sel)
	if err != nil {
		panic(err)
	}
	v := &view{server: s, resource: r, info: s.Resources[r.GroupVersionResource], filter: f, partial: partial(r), unhurried: sel.Unhurried}
	if v.info == nil && !strings.Contains(r.Group, ".") {
		panic(fmt.Sprintf("direct: no resource %s", r.GroupVersionResource))
	}
	return v
}

// view is a filter on the state; it has no memory of its own.
type view struct {
	server    *Server
	resource  client.Resource
	info      *api.Info // nil: a custom resource, whose record changes
	filter    watch.Filter
	partial   bool // metadata alone is wanted
	unhurried bool
}

// record is what is viewed as it is now; nil: it is not there.
func (v *view) record() *api.Info {
	if v.info != nil {
		return v.info
	}
	return v.server.find(v.resource.GroupVersionResource)
}

// partial tells whether of the resource's objects only metadata is wanted.
func partial(r client.Resource) bool {
	if r.New == nil {
		return false
	}
	_, is := r.New().(*metav1.PartialObjectMetadata)
	return is
}

// metadata is an item's alone, for which no schema is asked.
func metadata(i *api.Info, item *watch.Item) (client.Object, error) {
	o, err := item.Object()
	if err != nil {
		return nil, err
	}
	m, err := api.MetaOf(o)
	if err != nil {
		return nil, err
	}
	out := &metav1.PartialObjectMetadata{ObjectMeta: *m}
	out.SetGroupVersionKind(i.GVK())
	return out, nil
}

func (v *view) state() *watch.State { return v.server.Registry.State }

func (v *view) WaitSynced(ctx context.Context) error { return v.state().Now(ctx) }

func (v *view) Synced() bool { return true }

func (v *view) Get(namespace, name string) client.Object {
	i := v.record()
	if i == nil {
		return nil
	}
	item := v.state().Get(i.Stored, namespace, name)
	if item == nil || !v.filter.Match(item) {
		return nil
	}
	return v.object(item)
}

// object is nil for what cannot be read; the state has said so when it took it in.
func (v *view) object(item *watch.Item) client.Object {
	if item == nil {
		return nil
	}
	var o client.Object
	var err error
	switch i := v.record(); {
	case v.partial:
		o, err = metadata(item.Info, item)
	case i == nil:
		return nil
	default:
		o, err = registry.Load(i, item)
	}
	if err != nil {
		return nil
	}
	return o
}

func (v *view) objects(items []*watch.Item) []client.Object {
	out := make([]client.Object, 0, len(items))
	for _, item := range items {
		if o := v.object(item); o != nil {
			out = append(out, o)
		}
	}
	return out
}

func (v *view) List(namespace string) []client.Object {
	f := v.filter
	if namespace != "" {
		if f.Namespace != "" && f.Namespace != namespace {
			return nil
		}
		f.Namespace = namespace
	}
	i := v.record()
	if i == nil {
		return nil
	}
	items, _ := v.state().List(i.Stored, f)
	return v.objects(items)
}

func (v *view) By(index, value string) []client.Object {
	i := v.record()
	if i == nil {
		return nil
	}
	items := v.state().By(i.Stored, index, value)
	out := make([]client.Object, 0, len(items))
	for _, item := range items {
		if v.filter.Match(item) {
			if o := v.object(item); o != nil {
				out = append(out, o)
			}
		}
	}
	return out
}

func (v *view) Version() uint64 { return v.state().Revision() }

func (v *view) WaitVersion(ctx context.Context, revision uint64) error {
	return v.state().Wait(ctx, revision)
}

// Subscribe follows the state's events; one who falls too far behind is told the difference.
func (v *view) Subscribe(ctx context.Context, f func(client.Change)) {
	go v.follow(ctx, f)
}

func (v *view) follow(ctx context.Context, f func(client.Change)) {
	var told told
	for ctx.Err() == nil {
		i := v.record()
		if i == nil { // it is about to be served, or gone for good
			select {
			case <-time.After(againAfter):
			case <-ctx.Done():
			}
			continue
		}
		now, w := v.state().Follow(i.Stored, v.filter)
		v.difference(&told, now, f)
		var events []*watch.Event
		for {
			var err error
			clear(events)
			if events, _, err = w.Next(ctx, events[:0]); err != nil {
				if errors.Is(err, watch.ErrEnded) {
					break // it is served otherwise, or not any more
				}
				if !errors.Is(err, watch.ErrExpired) {
					<-ctx.Done() // the state has ended: nothing more will happen
				}
				break
			}
			for _, e := range events {
				v.tell(&told, e, f)
			}
			if v.unhurried && !w.Ready() {
				select {
				case <-time.After(unhurriedFor):
				case <-ctx.Done():
				}
			}
			if len(told.since) > toldMost {
				if now, ok := w.Snapshot(); ok {
					told.base = now
					clear(told.since)
				}
			}
		}
		w.Close()
	}
}

// againAfter is when a custom resource is looked for again that is not there.
const againAfter = 50 * time.Millisecond

// unhurriedFor is how long changes are gathered for a subscriber who does not mind.
const unhurriedFor = 10 * time.Millisecond

// told is what a subscriber was told, to tell it the difference after a gap: a snapshot that is shared with the
// present, and the changes since.
type told struct {
	base  watch.Snapshot
	since map[string]*watch.Item // nil: gone
}

// toldMost is from how many changes on a newer snapshot is taken.
const toldMost = 256

func (t *told) get(key string) *watch.Item {
	if i, ok := t.since[key]; ok {
		return i
	}
	return t.base.Get(key)
}

// set notes what is told.
func (t *told) set(key string, i *watch.Item) {
	if t.since == nil {
		t.since = map[string]*watch.Item{}
	}
	t.since[key] = i
}

// difference tells f what is different now from what it was told.
func (v *view) difference(t *told, now watch.Snapshot, f func(client.Change)) {
	before := *t
	*t = told{base: now}
	for item := range now.All(&v.filter) {
		old := before.get(item.Key())
		if old == item || old != nil && old.Revision == item.Revision {
			continue
		}
		if o := v.object(item); o != nil {
			f(client.Change{Old: v.was(old), New: o})
		}
	}
	gone := func(old *watch.Item) {
		if i := now.Get(old.Key()); i == nil || !v.filter.Match(i) {
			if o := v.was(old); o != nil {
				f(client.Change{Old: o})
			}
		}
	}
	for item := range before.base.All(&v.filter) {
		if _, newer := before.since[item.Key()]; !newer {
			gone(item)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before.since)) {
		if item := before.since[key]; item != nil {
			gone(item)
		}
	}
}

// tell tells f of one event.
func (v *view) tell(t *told, e *watch.Event, f func(client.Change)) {
	var c client.Change
	if v.filter.Match(e.New) {
		if c.New = v.object(e.New); c.New == nil {
			return
		}
	} else if !v.filter.Match(e.Old) {
		return
	}
	if e.Old != nil && v.filter.Match(e.Old) {
		if c.Old = v.object(e.Old); c.Old == nil { // it cannot be read, and was not told: what was before it may have been
			c.Old = v.was(t.get(e.Old.Key()))
		}
	}
	switch {
	case c.New != nil:
		t.set(e.New.Key(), e.New)
	case c.Old != nil:
		t.set(e.Old.Key(), nil)
	default:
		return
	}
	f(c)
}

// was is the object that f was told of before, or nil.
func (v *view) was(item *watch.Item) client.Object {
	if item == nil || !v.filter.Match(item) {
		return nil
	}
	return v.object(item)
}
