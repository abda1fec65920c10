package direct

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/btree"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// View looks straight into the server's memory. It panics on a resource or selection
// that cannot be: that is a bug of the part that asks.
func (c *Client) View(_ context.Context, r client.Resource, s client.Selection) client.View {
	return c.server.View(r, s)
}

// View is Client.View without a user: for authentication and authorization themselves.
func (s *Server) View(r client.Resource, sel client.Selection) client.View {
	i := s.Resources[r.GroupVersionResource]
	if i == nil {
		panic(fmt.Sprintf("direct: no resource %s", r.GroupVersionResource))
	}
	f, err := filter(sel)
	if err != nil {
		panic(err)
	}
	return &view{s, i, f}
}

// view is a filter on the state; it has no memory of its own.
type view struct {
	server *Server
	info   *api.Info
	filter watch.Filter
}

func (v *view) state() *watch.State { return v.server.Registry.State }

func (v *view) WaitSynced(ctx context.Context) error { return v.state().Now(ctx) }

func (v *view) Synced() bool { return true }

func (v *view) Get(namespace, name string) client.Object {
	item := v.state().Get(v.info.Stored, namespace, name)
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
	o, err := registry.Load(v.info, item)
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
	items, _ := v.state().List(v.info.Stored, f)
	return v.objects(items)
}

func (v *view) By(index, value string) []client.Object {
	items := v.state().By(v.info.Stored, index, value)
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
	known := btree.NewMap[string, *watch.Item](32) // what f was told, to tell it the difference after a gap; as bytes
	for ctx.Err() == nil {
		items, w := v.state().ListWatch(v.info.Stored, v.filter)
		gone := known
		known = btree.NewMap[string, *watch.Item](32)
		for _, item := range items {
			old, _ := gone.Delete(item.Key())
			if o := v.object(item); o != nil {
				known.Load(item.Key(), item)
				if old == nil || old.Revision != item.Revision {
					f(client.Change{Old: v.old(old), New: o})
				}
			}
		}
		items = nil // so that what is overwritten can go
		gone.Scan(func(_ string, old *watch.Item) bool {
			f(client.Change{Old: v.object(old)})
			return true
		})
		gone = nil
		var events []*watch.Event
		for {
			var err error
			clear(events)
			if events, _, err = w.Next(ctx, events[:0]); err != nil {
				if !errors.Is(err, watch.ErrExpired) {
					<-ctx.Done() // the state has ended: nothing more will happen
				}
				break
			}
			for _, e := range events {
				v.tell(known, e, f)
			}
		}
		w.Close()
	}
}

// tell tells f of one event.
func (v *view) tell(known *btree.Map[string, *watch.Item], e *watch.Event, f func(client.Change)) {
	kind, item := e.For(&v.filter)
	o := v.object(item)
	if o == nil {
		return
	}
	if kind == watch.Deleted {
		old, _ := known.Delete(item.Key())
		if was := v.old(old); was != nil {
			o = was
		}
		f(client.Change{Old: o})
		return
	}
	old, _ := known.Set(item.Key(), item)
	f(client.Change{Old: v.old(old), New: o})
}

// old is what f was told before, or nil.
func (v *view) old(item *watch.Item) client.Object {
	if item == nil {
		return nil
	}
	return v.object(item)
}
