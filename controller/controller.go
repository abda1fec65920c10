// Package controller is the runner that all controllers share: look, decide, act.
// A controller (a folder here each) brings a queue of keys fed by views, a
// function that looks at the views and gives the key's View, and a pure decision
// from View to Actions. The runner performs the actions, writes their events, brings a
// failed key back after a growing delay, and never shows a decision a world
// older than its own last write.
package controller

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// Env is what a controller is given by role.
type Env struct {
	Client client.Client
	Log    *slog.Logger
	Now    func() time.Time
	Events *client.Recorder // writes under the controller's own component name
	Queues *Queues          // counts what its queues do; nil: nobody does
}

// Verb says what an Action does.
type Verb string

// The verbs of actions.
const (
	CreateObject Verb = "create"
	UpdateObject Verb = "update"
	UpdateStatus Verb = "update status"
	PatchObject  Verb = "patch"
	DeleteObject Verb = "delete"
	SayEvent     Verb = "event"
)

// Action is one thing to do, as data, with its reason.
type Action struct {
	Verb        Verb
	Resource    client.Resource
	Object      client.Object // created or updated as it is; patched, deleted: names the object
	Subresource string        // of a patch or an update
	PatchType   types.PatchType
	Patch       []byte
	Delete      metav1.DeleteOptions
	Reason      string // for people, tests and lighter why

	// Event, when its Reason is set, is written about On after the action succeeded (or Failed, after it failed).
	Event, Failed Event
	On            corev1.ObjectReference

	// IgnoreExists makes it no error when what is to be created is already there;
	// not found is never an error for a delete.
	IgnoreExists bool
	// Owner, if set, must by a fresh read still be that very object and not be deleted; else the action is a conflict.
	Owner     client.Object
	OwnerKind client.Resource
	// Requeue is set by After: no action, the key comes back after so long.
	Requeue time.Duration
}

// Event is what people read in kubectl describe. In Message %o stands for the name of
// the object that the action made, %e for the error.
type Event struct{ Type, Reason, Message string }

// Create makes obj.
func Create[T client.Object](k client.Kind[T], obj T, reason string) Action {
	return Action{Verb: CreateObject, Resource: k.Resource, Object: obj, Reason: reason}
}

// Update replaces the object, if it is still as it was read.
func Update[T client.Object](k client.Kind[T], obj T, reason string) Action {
	return Action{Verb: UpdateObject, Resource: k.Resource, Object: obj, Reason: reason}
}

// Status replaces the object's status, if the object is still as it was read.
func Status[T client.Object](k client.Kind[T], obj T, reason string) Action {
	return Action{Verb: UpdateStatus, Resource: k.Resource, Object: obj, Reason: reason}
}

// Patch patches the object; subresource may be "".
func Patch[T client.Object](k client.Kind[T], obj T, subresource string, t types.PatchType, patch []byte, reason string) Action {
	return Action{Verb: PatchObject, Resource: k.Resource, Object: obj, Subresource: subresource, PatchType: t, Patch: patch, Reason: reason}
}

// Delete deletes that very object (its UID), in the background.
func Delete[T client.Object](k client.Kind[T], obj T, reason string) Action {
	uid := obj.GetUID()
	background := metav1.DeletePropagationBackground
	return Action{Verb: DeleteObject, Resource: k.Resource, Object: obj, Reason: reason,
		Delete: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background}}
}

// Say writes an event and does nothing else.
func Say(on corev1.ObjectReference, kind, reason, message string) Action {
	return Action{Verb: SayEvent, On: on, Event: Event{kind, reason, message}, Reason: reason}
}

// After brings the key back after a delay.
func After(d time.Duration) Action { return Action{Requeue: d} }

// With adds the events to write about an object when the action succeeded or failed; an
// Event without Reason is none.
func (a Action) With(on corev1.ObjectReference, done, failed Event) Action {
	a.On, a.Event, a.Failed = on, done, failed
	return a
}

// String is how tests and lighter why show an action.
func (a Action) String() string {
	switch {
	case a.Requeue > 0:
		return fmt.Sprintf("again in %s", a.Requeue)
	case a.Verb == SayEvent:
		return fmt.Sprintf("event %s %s: %s", a.Event.Type, a.Event.Reason, a.Event.Message)
	case a.Object != nil && a.Object.GetName() == "":
		return fmt.Sprintf("%s %s %s*: %s", a.Verb, a.Resource.Kind, a.Object.GetGenerateName(), a.Reason)
	case a.Object != nil:
		return fmt.Sprintf("%s %s %s: %s", a.Verb, a.Resource.Kind, a.Object.GetName(), a.Reason)
	}
	return string(a.Verb)
}

// Loop is one controller: Look and Decide for each key that comes off Queue.
type Loop[V any] struct {
	Name  string // "deployment"
	Env   Env
	Queue *Queue
	// Views are waited for before the first key and, after a write to what they show, until they show it.
	Views []client.View
	// Look gathers what is known of a key; ok false: there is nothing (any more) to decide.
	Look func(key string) (v V, ok bool)
	// Decide is pure: same view, same actions. They are done in order, neighbours with the same verb (create,
	// patch or delete) and resource at the same time; the first error ends them.
	Decide func(v V) []Action
	// Failed, if set, is what is still to do after err ended the actions of Decide at a; pure as well.
	Failed func(v V, a Action, err error) []Action
	// Workers is how many keys are worked on at the same time; default 4. One key never is twice.
	Workers int
}

// Run works until ctx ends.
func (l *Loop[V]) Run(ctx context.Context) error {
	for _, v := range l.Views {
		if err := v.WaitSynced(ctx); err != nil {
			return nil // ctx ended
		}
	}
	var wg sync.WaitGroup
	workers := l.Workers
	if workers == 0 {
		workers = 4
	}
	for range workers {
		wg.Go(func() {
			for key := range l.Queue.All(ctx) {
				l.Queue.Done(key, l.once(ctx, key))
			}
		})
	}
	wg.Wait()
	return nil
}

// once looks, decides and acts for one key. A panic is the key's error, not the process's end.
func (l *Loop[V]) once(ctx context.Context, key string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			l.Env.Log.Error("controller panicked", "controller", l.Name, "object", key, "err", err, "stack", string(debug.Stack()))
		}
	}()
	v, ok := l.Look(key)
	if !ok {
		return nil
	}
	var did acts
	defer func() { did.settle(ctx, l.Views) }() // the next look at this key sees these writes
	failed, err := l.act(ctx, key, l.Decide(v), &did)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case failed.Verb == CreateObject && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // never possible again; the namespace takes the key's object with it
	}
	if !apierrors.IsConflict(err) {
		l.Env.Log.Debug("action failed", "controller", l.Name, "object", key, "action", failed.String(), "err", err)
	}
	if l.Failed != nil {
		if _, err := l.act(ctx, key, l.Failed(v, failed, err), &did); err != nil && !apierrors.IsConflict(err) {
			l.Env.Log.Debug("failure not reported", "controller", l.Name, "object", key, "err", err)
		}
	}
	return err
}

// act does the actions until the first error, and says which one that was.
func (l *Loop[V]) act(ctx context.Context, key string, todo []Action, did *acts) (Action, error) {
	for len(todo) > 0 {
		if todo[0].Requeue > 0 {
			l.Queue.AddAfter(key, todo[0].Requeue)
			todo = todo[1:]
			continue
		}
		n := alike(todo)
		if a, err := l.Env.together(ctx, todo[:n], did); err != nil {
			return a, err
		}
		todo = todo[n:]
	}
	return Action{}, nil
}
