package controller

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// Limits of what one decision does and waits for.
const (
	inFlight  = 32              // writes of one decision at the same time
	settleFor = 5 * time.Second // how long a view may lag behind our own writes before we go on regardless
)

// Act performs one action, event included, and returns the revision of its write (0: none known).
func (e Env) Act(ctx context.Context, a Action) (uint64, error) {
	if a.Verb == SayEvent {
		e.Events.EventOn(a.On, a.Event.Type, a.Event.Reason, a.Event.Message)
		return 0, nil
	}
	if err := e.alive(ctx, a); err != nil {
		return 0, err
	}
	var got client.Object
	var err error
	o := a.Object
	switch a.Verb {
	case CreateObject:
		got, err = e.Client.Create(ctx, a.Resource, o.GetNamespace(), o.GetName(), "", o)
		if a.IgnoreExists && apierrors.IsAlreadyExists(err) {
			err = nil
		}
	case UpdateObject:
		got, err = e.Client.Update(ctx, a.Resource, a.Subresource, o)
	case UpdateStatus:
		got, err = e.Client.Update(ctx, a.Resource, "status", o)
	case PatchObject:
		got, err = e.Client.Patch(ctx, a.Resource, o.GetNamespace(), o.GetName(), a.Subresource, a.PatchType, a.Patch)
	case DeleteObject:
		if err = e.Client.Delete(ctx, a.Resource, o.GetNamespace(), o.GetName(), a.Delete); apierrors.IsNotFound(err) {
			err = nil
		}
	default:
		err = errors.New("controller: action without verb")
	}
	name := o.GetName()
	if got != nil {
		name = got.GetName()
	}
	e.say(a, name, err)
	if err != nil || got == nil {
		return 0, err
	}
	return client.Version(got), nil
}

// alive checks an action's Owner. Without it an orphan that its deleted owner has just let go could be adopted by
// that owner again, and go down with it.
func (e Env) alive(ctx context.Context, a Action) error {
	if a.Owner == nil {
		return nil
	}
	now, err := e.Client.Get(ctx, a.OwnerKind, a.Owner.GetNamespace(), a.Owner.GetName())
	if err != nil {
		return err
	}
	if now.GetUID() != a.Owner.GetUID() || now.GetDeletionTimestamp() != nil {
		return apierrors.NewConflict(a.OwnerKind.GroupResource(), a.Owner.GetName(), errors.New("it is being deleted"))
	}
	return nil
}

// say writes the event that belongs to an action's outcome, if it has one.
func (e Env) say(a Action, name string, err error) {
	ev, detail := a.Event, ""
	if err != nil {
		ev, detail = a.Failed, err.Error()
	}
	if ev.Reason == "" || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return
	}
	message := strings.NewReplacer("%o", name, "%e", detail).Replace(ev.Message)
	e.Events.EventOn(a.On, ev.Type, ev.Reason, message)
}

// alike is how many actions at the head of todo may be done at the same time: creates, patches or
// deletes of one resource, of different objects.
func alike(todo []Action) int {
	first := todo[0]
	if first.Verb != CreateObject && first.Verb != PatchObject && first.Verb != DeleteObject {
		return 1
	}
	seen := map[types.NamespacedName]bool{}
	for n, a := range todo {
		if a.Requeue > 0 || a.Verb != first.Verb || a.Resource.GroupVersionResource != first.Resource.GroupVersionResource {
			return n
		}
		name := types.NamespacedName{Namespace: a.Object.GetNamespace(), Name: a.Object.GetName()}
		if name.Name != "" && seen[name] {
			return n
		}
		seen[name] = true
	}
	return len(todo)
}

// together does actions at the same time, at most inFlight, and returns the first that failed with its error.
// Creates start slowly, 1, 2, 4 ... at a time, so that what is refused (a quota, a bad template) is asked for once, not
// a thousand times.
func (e Env) together(ctx context.Context, todo []Action, did *acts) (failed Action, err error) {
	if len(todo) == 1 { // most decisions
		at, err := e.Act(ctx, todo[0])
		did.add(todo[0], at, err)
		return todo[0], err
	}
	var mu sync.Mutex
	size := len(todo)
	if todo[0].Verb == CreateObject {
		size = 1
	}
	for ; len(todo) > 0 && err == nil; size *= 2 {
		size = min(size, len(todo))
		next := make(chan Action, size)
		for _, a := range todo[:size] {
			next <- a
		}
		close(next)
		var wg sync.WaitGroup
		for range min(size, inFlight) {
			wg.Go(func() {
				for a := range next {
					at, fault := e.Act(ctx, a)
					did.add(a, at, fault)
					if fault != nil {
						mu.Lock()
						if err == nil {
							failed, err = a, fault
						}
						mu.Unlock()
						return
					}
				}
			})
		}
		wg.Wait()
		todo = todo[size:]
		if size > inFlight {
			size = len(todo) // it works: no more pauses
		}
	}
	return failed, err
}

// acts is what one decision has written. Safe for concurrent use.
type acts struct {
	mu    sync.Mutex
	wrote map[schema.GroupVersionResource]uint64 // newest revision per resource
	gone  []client.Object                        // deleted
}

func (d *acts) add(a Action, at uint64, err error) {
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wrote == nil {
		d.wrote = map[schema.GroupVersionResource]uint64{}
	}
	r := a.Resource.GroupVersionResource
	d.wrote[r] = max(d.wrote[r], at)
	if a.Verb == DeleteObject {
		d.gone = append(d.gone, a.Object)
	}
}

// settle waits until the views show what was written and no longer what was deleted, but not for ever: a view that
// is late makes the next decision one on an older world, and its writes conflict.
func (d *acts) settle(ctx context.Context, views []client.View) {
	if len(d.wrote) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	for _, view := range views {
		if of, ok := view.(client.ViewOf); ok {
			if at := d.wrote[of.Resource.GroupVersionResource]; at > view.Version() {
				_ = view.WaitVersion(ctx, at)
			}
		} else {
			for _, at := range d.wrote {
				_ = view.WaitVersion(ctx, at)
			}
		}
		for _, o := range d.gone {
			for ctx.Err() == nil {
				at := view.Version()
				now := view.Get(o.GetNamespace(), o.GetName())
				if now == nil || now.GetUID() != o.GetUID() || now.GetDeletionTimestamp() != nil {
					break
				}
				_ = view.WaitVersion(ctx, at+1)
			}
		}
	}
}
