package client

import (
	"context"
	"encoding/json"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kind is a Resource whose objects are of Go type T: the typed face of a Client.
type Kind[T Object] struct{ Resource }

// Get reads the newest state from the server.
func (k Kind[T]) Get(ctx context.Context, c Client, namespace, name string) (T, error) {
	return as[T](c.Get(ctx, k.Resource, namespace, name))
}

// List reads the newest state from the server.
func (k Kind[T]) List(ctx context.Context, c Client, namespace string, s Selection) ([]T, error) {
	items, _, err := c.List(ctx, k.Resource, namespace, s)
	return slice[T](items), err
}

// Create stores obj and returns it as stored.
func (k Kind[T]) Create(ctx context.Context, c Client, obj T) (T, error) {
	return as[T](c.Create(ctx, k.Resource, obj.GetNamespace(), obj.GetName(), "", obj))
}

// Update replaces the object, its status excepted.
func (k Kind[T]) Update(ctx context.Context, c Client, obj T) (T, error) {
	return as[T](c.Update(ctx, k.Resource, "", obj))
}

// UpdateStatus replaces the object's status.
func (k Kind[T]) UpdateStatus(ctx context.Context, c Client, obj T) (T, error) {
	return as[T](c.Update(ctx, k.Resource, "status", obj))
}

// Patch applies a patch; subresource may be "".
func (k Kind[T]) Patch(ctx context.Context, c Client, namespace, name, subresource string, t types.PatchType, patch []byte) (T, error) {
	return as[T](c.Patch(ctx, k.Resource, namespace, name, subresource, t, patch))
}

// Merge is Patch with a JSON merge patch made from a value.
func (k Kind[T]) Merge(ctx context.Context, c Client, namespace, name, subresource string, patch any) (T, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		var none T
		return none, err
	}
	return k.Patch(ctx, c, namespace, name, subresource, types.MergePatchType, data)
}

// Delete deletes the object; options may narrow it to one UID (v1.NewUIDPreconditions).
func (k Kind[T]) Delete(ctx context.Context, c Client, namespace, name string, o v1.DeleteOptions) error {
	return c.Delete(ctx, k.Resource, namespace, name, o)
}

// View begins a live view of the resource.
func (k Kind[T]) View(ctx context.Context, c Client, s Selection) TypedView[T] {
	return TypedView[T]{ViewOf{c.View(ctx, k.Resource, s), k.Resource}}
}

// ViewOf is a View that says of what it is.
type ViewOf struct {
	View
	Resource Resource
}

// TypedView is a View whose objects are of type T.
type TypedView[T Object] struct{ View }

// Get returns the object and whether it is there.
func (v TypedView[T]) Get(namespace, name string) (T, bool) {
	t, ok := v.View.Get(namespace, name).(T)
	return t, ok
}

// List returns the objects of a namespace ("" is all), ordered by namespace and name.
func (v TypedView[T]) List(namespace string) []T { return slice[T](v.View.List(namespace)) }

// By returns the objects whose index has the value; see View.By.
func (v TypedView[T]) By(index, value string) []T { return slice[T](v.View.By(index, value)) }

// OwnedBy returns the objects whose controlling owner has the UID.
func (v TypedView[T]) OwnedBy(uid types.UID) []T { return v.By("owner", string(uid)) }

// Subscribe calls f for each change; old or new is nil (T's zero) when added or deleted. See View.Subscribe.
func (v TypedView[T]) Subscribe(ctx context.Context, f func(old, new T)) {
	v.View.Subscribe(ctx, func(c Change) {
		o, _ := c.Old.(T)
		n, _ := c.New.(T)
		f(o, n)
	})
}

// Version reads an object's resourceVersion as the number that views compare; 0 when it is none.
func Version(o v1.Object) uint64 {
	n, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	return n
}

func as[T Object](o Object, err error) (T, error) {
	t, _ := o.(T)
	return t, err
}

func slice[T Object](items []Object) []T {
	out := make([]T, 0, len(items))
	for _, o := range items {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}
