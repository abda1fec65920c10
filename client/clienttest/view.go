// Package clienttest holds what tests of a part need instead of a cluster: a
// client.View that lives in memory and changes when the test says so.
package clienttest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// View is a client.View whose objects a test sets and deletes. It is always synced. Safe for concurrent use.
type View struct {
	mu          sync.Mutex
	objects     map[types.NamespacedName]client.Object
	version     uint64
	changed     chan struct{} // closed and replaced when version rises
	subscribers map[*subscriber]bool
}

// subscriber is one Subscribe: what it was not yet told, and a sign that there is something.
type subscriber struct {
	queue []client.Change // guarded by View.mu
	more  chan struct{}   // holds one when queue is not empty
}

var _ client.View = (*View)(nil)

// NewView makes a view that has the objects; see Set.
func NewView(objects ...client.Object) *View {
	v := &View{objects: map[types.NamespacedName]client.Object{}, changed: make(chan struct{}), subscribers: map[*subscriber]bool{}}
	for _, o := range objects {
		v.Set(o)
	}
	return v
}

// Typed makes a client.TypedView of the objects, and the View to change them by.
func Typed[T client.Object](objects ...T) (client.TypedView[T], *View) {
	v := NewView()
	for _, o := range objects {
		v.Set(o)
	}
	return client.TypedView[T]{View: v}, v
}

// Set adds the object or replaces the one of that namespace and name, and returns the object as the
// view has it. An object without resourceVersion is copied and gets the view's next version; one that
// has it is taken as it is, and its version must be above the view's. The test must not write to it afterwards.
func (v *View) Set(o client.Object) client.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	if o.GetResourceVersion() == "" {
		o = o.DeepCopyObject().(client.Object)
		o.SetResourceVersion(strconv.FormatUint(v.version+1, 10))
	}
	if at := client.Version(o); at <= v.version {
		panic(fmt.Sprintf("clienttest: %s/%s has resourceVersion %q, the view is at %d", o.GetNamespace(), o.GetName(), o.GetResourceVersion(), v.version))
	}
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
	old := v.objects[key]
	v.objects[key] = o
	v.tell(client.Version(o), client.Change{Old: old, New: o})
	return o
}

// Delete takes the object away, if it is there.
func (v *View) Delete(namespace, name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if old, ok := v.objects[key]; ok {
		delete(v.objects, key)
		v.tell(v.version+1, client.Change{Old: old})
	}
}

// tell raises the version and queues the change for all subscribers. The caller holds mu.
func (v *View) tell(version uint64, c client.Change) {
	v.version = version
	close(v.changed)
	v.changed = make(chan struct{})
	for s := range v.subscribers {
		s.add(c)
	}
}

func (s *subscriber) add(c ...client.Change) {
	s.queue = append(s.queue, c...)
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// WaitSynced implements client.View.
func (v *View) WaitSynced(ctx context.Context) error { return ctx.Err() }

// Synced implements client.View.
func (v *View) Synced() bool { return true }

// Get implements client.View.
func (v *View) Get(namespace, name string) client.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.objects[types.NamespacedName{Namespace: namespace, Name: name}]
}

// List implements client.View.
func (v *View) List(namespace string) []client.Object {
	return v.where(func(o client.Object) bool { return namespace == "" || o.GetNamespace() == namespace })
}

// By implements client.View; an unknown index panics.
func (v *View) By(index, value string) []client.Object {
	switch index {
	case "owner":
		return v.where(func(o client.Object) bool {
			owner := v1.GetControllerOfNoCopy(o)
			return owner != nil && string(owner.UID) == value
		})
	case "node":
		return v.where(func(o client.Object) bool {
			pod, ok := o.(*corev1.Pod)
			return ok && pod.Spec.NodeName == value
		})
	}
	panic("clienttest: a view has no index " + strconv.Quote(index))
}

// where returns what matches, ordered by namespace and name.
func (v *View) where(match func(client.Object) bool) []client.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []client.Object
	for _, o := range v.objects {
		if match(o) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// Version implements client.View.
func (v *View) Version() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.version
}

// WaitVersion implements client.View.
func (v *View) WaitVersion(ctx context.Context, version uint64) error {
	for {
		v.mu.Lock()
		at, changed := v.version, v.changed
		v.mu.Unlock()
		if at >= version {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Subscribe implements client.View.
func (v *View) Subscribe(ctx context.Context, f func(client.Change)) {
	s := &subscriber{more: make(chan struct{}, 1)}
	v.mu.Lock()
	defer v.mu.Unlock()
	first := make([]client.Change, 0, len(v.objects))
	for _, o := range v.objects {
		first = append(first, client.Change{New: o})
	}
	slices.SortFunc(first, func(a, b client.Change) int { return cmp.Compare(client.Version(a.New), client.Version(b.New)) })
	s.add(first...)
	v.subscribers[s] = true
	go func() {
		defer func() {
			v.mu.Lock()
			delete(v.subscribers, s)
			v.mu.Unlock()
		}()
		for {
			select {
			case <-s.more:
			case <-ctx.Done():
				return
			}
			v.mu.Lock()
			queue := s.queue
			s.queue = nil
			v.mu.Unlock()
			for _, c := range queue {
				if ctx.Err() != nil {
					return
				}
				f(c)
			}
		}
	}()
}
