// Package client is the one door to the cluster for every part that watches and
// acts: scheduler, controllers, kubelet, proxy, dns, cloud. It holds the contract;
// client/direct implements it inside the server's process on the server's own
// memory, client/remote over HTTP against any Kubernetes API server. A part is
// handed a Client and cannot tell which one it is.
package client

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Object is a typed Kubernetes object.
type Object interface {
	v1.Object
	runtime.Object
}

// Resource names a resource and what its objects are. The values in kinds.go are
// all that the parts use; Kind[T] is the same with a Go type.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	New        func() Object // an empty object
}

// Client reads and writes objects. Errors are API errors (apimachinery/pkg/api/errors tells
// them apart). Objects that it returns are shared: DeepCopy before writing to them.
// Objects that it is given are not kept and not written to. Safe for concurrent use.
type Client interface {
	// Get reads the newest state from the server.
	Get(ctx context.Context, r Resource, namespace, name string) (Object, error)
	// List reads the newest state from the server; version is the list's resourceVersion.
	List(ctx context.Context, r Resource, namespace string, s Selection) (items []Object, version string, err error)
	// Create stores obj. With a subresource (such as "binding", "eviction", "token") name
	// is the parent's and what is returned is what the subresource answers (nil for a mere Status).
	Create(ctx context.Context, r Resource, namespace, name, subresource string, obj Object) (Object, error)
	// Update replaces the object (subresource "", "status", "scale" ...). An object with a
	// resourceVersion that is not the newest gets a conflict.
	Update(ctx context.Context, r Resource, subresource string, obj Object) (Object, error)
	Patch(ctx context.Context, r Resource, namespace, name, subresource string, t types.PatchType, patch []byte) (Object, error)
	// Delete deletes; with o.Preconditions only that very object.
	Delete(ctx context.Context, r Resource, namespace, name string, o v1.DeleteOptions) error
	// View gives the live set of a resource's objects; it is begun at once and kept until ctx ends.
	// Equal views of one Client share their memory.
	View(ctx context.Context, r Resource, s Selection) View
}

// Selection narrows a List or View. The zero Selection is everything.
type Selection struct {
	Namespace string // "" is all; List takes it as an argument instead
	Labels    string // a label selector
	Fields    string // a field selector, such as "spec.nodeName=n1"
	// Unhurried lets a View tell a subscriber some milliseconds late, many changes at once: who hears of every write of
	// the cluster, and of each alone, costs a good part of it.
	Unhurried bool
	// Outline: the View's objects may lack what makes them large (a definition's schemas). Nobody may write them back.
	Outline bool
}

// View is the live, read-only set of a resource's objects, as a reader of the
// watch sees them. All methods are safe for concurrent use.
type View interface {
	// WaitSynced blocks until the view has had everything that existed when it began.
	WaitSynced(ctx context.Context) error
	Synced() bool
	// Get returns the object or nil.
	Get(namespace, name string) Object
	// List returns the objects of a namespace ("" is all), ordered by namespace and name.
	List(namespace string) []Object
	// By returns the objects whose index has the value. Indexes:
	//   "owner": UID of the controlling owner     "node": spec.nodeName (pods only)
	By(index, value string) []Object
	// Version is the revision up to which the view is complete. Revisions of one cluster compare as numbers.
	Version() uint64
	// WaitVersion blocks until Version is at least v.
	WaitVersion(ctx context.Context, v uint64) error
	// Subscribe calls f for each change, in order and from one goroutine, beginning with an Added
	// for all that is there; it returns at once, and f is called until ctx ends. f must not block for long.
	// A change is visible to Get and List before f is called.
	Subscribe(ctx context.Context, f func(Change))
}

// Change is one change of one object. Old is nil when it was added, New when it was deleted
// (Old is then its last state).
type Change struct {
	Old, New Object
}

// Object is the newer state, or the last one of what was deleted.
func (c Change) Object() Object {
	if c.New != nil {
		return c.New
	}
	return c.Old
}
