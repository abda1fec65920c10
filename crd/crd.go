// Package crd makes custom resources. Definitions come in, from the server's memory; records (api.Info) of what they define go
// out, to whoever serves them, and the definitions' status goes back through client: which names are accepted, whether they
// are established. Role runs one Resources in each server.
//
//	crd.go     follows the definitions          life.go     what a definition's status says (pure)
//	define.go  records of a definition          names.go    which names are free (pure)
//	schema.go  what a schema compiles to        cleanup.go  the end of a definition
//	object.go  the life of one object           convert.go  between versions, webhook.go by asking
package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/watch"
)

// Resources follows the definitions of one server.
type Resources struct {
	State  *watch.State
	Client client.Client // writes definitions' status and deletes objects of those that go
	Log    *slog.Logger
	Now    func() time.Time
	// Publish is called with all records that are to be served, and with those of versions that are not, in which the server
	// itself may still write; from one goroutine. Nobody may write to them.
	Publish func(served, unserved []*api.Info)
	// Webhooks asks conversion webhooks.
	Webhooks Webhooks
	// Newest: other servers share the store, so that memory may be behind what a client was told.
	Newest bool

	asking sync.Mutex
	asked  time.Time // when the newest revision was asked for last

	mu      sync.Mutex
	applied uint64 // definitions' changes up to here are served
	moved   chan struct{}
	of      map[string]*definition // by name; those that are served
}

// kind is how the definitions are read and written.
var kind = client.Kind[*apiextensionsv1.CustomResourceDefinition]{Resource: client.Resource{
	GroupVersionResource: apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"), Kind: "CustomResourceDefinition",
	New: func() client.Object { return &apiextensionsv1.CustomResourceDefinition{} }}}

// loads is how many resources are read at a time when a server starts.
const loads = 16

// Run follows the definitions until ctx ends. ready is called once all that are established are served.
func (r *Resources) Run(ctx context.Context, ready func()) error {
	g, ctx := errgroup.WithContext(ctx)
	life := newLife(r)
	g.Go(func() error { return life.run(ctx) })
	g.Go(func() error { return r.rest(ctx) })
	g.Go(func() error { return r.follow(ctx, life, ready) })
	return g.Wait()
}

// follow keeps what is served as the definitions say.
func (r *Resources) follow(ctx context.Context, life *life, ready func()) error {
	info := r.State.Info(api.DefinitionsKey)
	served := map[string]*definition{}
	for ctx.Err() == nil {
		items, w := r.State.ListWatch(info, watch.Filter{})
		next := map[string]*watch.Item{}
		for _, item := range items {
			next[item.Name] = item
		}
		for name := range served {
			if next[name] == nil {
				next[name] = nil
			}
		}
		if err := r.change(ctx, served, next, w.Begin()); err != nil {
			w.Close()
			r.pause(ctx, err)
			continue
		}
		life.take(next)
		if ready != nil {
			ready()
			ready = nil
		}
		var events []*watch.Event
		for {
			var upTo uint64
			var err error
			if events, upTo, err = w.Next(ctx, events[:0]); err != nil {
				if !errors.Is(err, watch.ErrExpired) && ctx.Err() == nil {
					w.Close()
					return err
				}
				break
			}
			clear(next)
			for _, e := range events {
				if e.New != nil {
					next[e.New.Name] = e.New
				} else {
					next[e.Old.Name] = nil
				}
			}
			if err := r.change(ctx, served, next, upTo); err != nil {
				r.pause(ctx, err)
				break // and begin anew
			}
			life.take(next)
			clear(events)
		}
		w.Close()
	}
	return nil
}

// pause waits a little after the store did not answer.
func (r *Resources) pause(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.Log.Warn("definitions are taken in again", "err", err)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

// change serves what the newer items (nil: gone) of definitions say instead of what they said before.
func (r *Resources) change(ctx context.Context, served map[string]*definition, next map[string]*watch.Item, upTo uint64) error {
	var added, ended, gone []*definition
	changed := false
	for _, name := range slices.Sorted(maps.Keys(next)) {
		old := served[name]
		now, err := r.define(next[name], old)
		if err != nil {
			r.Log.Error("custom resource not served", "object", name, "err", err)
		}
		switch {
		case now == old:
			continue
		case now == nil:
			delete(served, name)
			gone = append(gone, old)
		case old == nil:
			served[name] = now
			added = append(added, now)
		case now.uid != old.uid:
			gone, added = append(gone, old), append(added, now)
			served[name] = now
		default:
			served[name] = now
			if now.reads != old.reads && now.leaving == old.leaving { // which raises the generation too
				ended = append(ended, now)
			}
		}
		changed = true
	}
	if !changed {
		r.note(upTo)
		return nil
	}
	for _, d := range gone {
		if len(added) > 0 && slices.ContainsFunc(added, func(a *definition) bool { return a.stored.StoreKey == d.stored.StoreKey }) {
			r.State.Remove(d.stored) // made anew before it was seen to go
		}
	}
	g, in := errgroup.WithContext(ctx)
	g.SetLimit(loads)
	for _, d := range added {
		g.Go(func() error { return r.State.AddLive(in, d.stored) })
	}
	if err := g.Wait(); err != nil {
		for _, d := range added { // all of it is done again; what is loaded by now stays so
			delete(served, d.name)
		}
		for _, d := range gone {
			served[d.name] = d
		}
		return fmt.Errorf("load custom resources: %w", err)
	}
	r.publish(served)
	r.note(upTo)
	for _, d := range ended {
		r.State.EndWatches(d.stored)
	}
	for _, d := range gone {
		if s := served[d.name]; s == nil {
			r.State.Remove(d.stored)
		}
	}
	return nil
}

// publish hands all records on.
func (r *Resources) publish(served map[string]*definition) {
	var infos, unserved []*api.Info
	for _, name := range slices.Sorted(maps.Keys(served)) {
		d := served[name]
		infos = append(infos, d.infos...)
		if v := d.version(d.storage); !slices.Contains(d.infos, v.info) {
			unserved = append(unserved, v.info)
		}
	}
	r.mu.Lock()
	r.of = maps.Clone(served)
	r.mu.Unlock()
	r.Publish(infos, unserved)
}

// note says up to where definitions are served.
func (r *Resources) note(upTo uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied = max(r.applied, upTo)
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// patience is how long a request for a resource that is not known waits for definitions that are just being taken in.
const patience = 2 * time.Second

// Settle waits until all is served that memory shows of definitions, and where other servers share the store, all that
// was acknowledged before the call.
func (r *Resources) Settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if r.Newest && r.newest(ctx) != nil {
		return
	}
	want := r.State.Changed(r.State.Info(api.DefinitionsKey))
	for {
		r.mu.Lock()
		if r.applied >= want {
			r.mu.Unlock()
			return
		}
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved := r.moved
		r.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// newest waits until memory shows all that was acknowledged before the call. Who come together ask once.
func (r *Resources) newest(ctx context.Context) error {
	began := time.Now()
	r.asking.Lock()
	defer r.asking.Unlock()
	if r.asked.After(began) {
		return nil
	}
	asked := time.Now()
	if err := r.State.Now(ctx); err != nil {
		return err
	}
	r.asked = asked
	return nil
}

// find is what is served of a definition, or nil.
func (r *Resources) find(name string) *definition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[name]
}

// idle is how long what a schema compiled to is kept for nobody.
const idle = 5 * time.Minute

// rest lets go of what nobody has needed for a while.
func (r *Resources) rest(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		r.mu.Lock()
		all := r.of
		r.mu.Unlock()
		for _, d := range all {
			d.drop(r.Now().Add(-idle))
		}
	}
}
