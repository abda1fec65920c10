package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// Children knows the objects of type T that owners of one kind control or could adopt.
type Children[T client.Object] struct {
	view client.TypedView[T]

	mu      sync.Mutex
	orphans map[string]map[string]labels.Set // namespace, name: labels of those whom nobody controls
}

// FeedChildren adds to q, for every change of a child, the key of its controlling owner of that kind; and
// for a child that nobody controls the keys of those who may adopt it, which mayAdopt lists. Ends with ctx.
func FeedChildren[T client.Object](ctx context.Context, q *Queue, v client.TypedView[T], kind string, mayAdopt func(orphan T) []string) *Children[T] {
	c := &Children[T]{view: v, orphans: map[string]map[string]labels.Set{}}
	v.View.Subscribe(ctx, func(ch client.Change) {
		c.note(ch)
		for _, o := range []client.Object{ch.Old, ch.New} {
			if o == nil {
				continue
			}
			if ref := v1.GetControllerOfNoCopy(o); ref != nil && ref.Kind == kind {
				q.Add(Key(o.GetNamespace(), ref.Name))
			}
		}
		if n, ok := ch.New.(T); ok && orphan(n) {
			if ch.Old == nil || !orphan(ch.Old) || !maps.Equal(ch.Old.GetLabels(), n.GetLabels()) {
				for _, key := range mayAdopt(n) {
					q.Add(key)
				}
			}
		}
	})
	return c
}

func orphan(o client.Object) bool { return v1.GetControllerOfNoCopy(o) == nil }

func (c *Children[T]) note(ch client.Change) {
	o := ch.Object()
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.orphans[o.GetNamespace()]
	if n, ok := ch.New.(T); ok && orphan(n) {
		if in == nil {
			in = map[string]labels.Set{}
			c.orphans[o.GetNamespace()] = in
		}
		in[n.GetName()] = n.GetLabels()
	} else if in != nil {
		if delete(in, o.GetName()); len(in) == 0 {
			delete(c.orphans, o.GetNamespace())
		}
	}
}

// Of returns what the owner controls, and then the orphans of its namespace that the selector matches (nil: none).
func (c *Children[T]) Of(owner v1.Object, selector labels.Selector) []T {
	out := c.view.OwnedBy(owner.GetUID())
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.orphans[owner.GetNamespace()]
	if selector == nil || len(in) == 0 {
		return out
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !selector.Matches(in[name]) {
			continue
		}
		if o, ok := c.view.Get(owner.GetNamespace(), name); ok && orphan(o) {
			out = append(out, o)
		}
	}
	return out
}

// owners are the kinds that adopt.
var owners = []client.Resource{client.Deployments.Resource, client.ReplicaSets.Resource, client.ReplicationControllers.Resource,
	client.DaemonSets.Resource, client.StatefulSets.Resource, client.Jobs.Resource}

// Claim tells what an owner may count as its own among candidates: what it controls and its selector matches,
// and matching orphans, which are adopted. What it controls but no longer matches is released; alsoDrop names a
// finalizer that goes with it, or is "". An owner that is being deleted neither adopts nor releases.
// Source: Kubernetes documentation, ReplicaSet, "Non-Template Pod acquisitions".
func Claim[T client.Object](owner client.Object, gvk schema.GroupVersionKind, selector labels.Selector, k client.Kind[T], candidates []T, alsoDrop string) (mine []T, todo []Action) {
	leaving := owner.GetDeletionTimestamp() != nil
	for _, o := range candidates {
		ref, match := v1.GetControllerOfNoCopy(o), selector.Matches(labels.Set(o.GetLabels()))
		switch {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && match:
			mine = append(mine, o)
		case ref != nil && !leaving:
			drop := ""
			if alsoDrop != "" && slices.Contains(o.GetFinalizers(), alsoDrop) {
				drop = fmt.Sprintf(`,"$deleteFromPrimitiveList/finalizers":[%q]`, alsoDrop)
			}
			patch := fmt.Sprintf(`{"metadata":{"uid":%q,"ownerReferences":[{"$patch":"delete","uid":%q}]%s}}`, o.GetUID(), owner.GetUID(), drop)
			todo = append(todo, Patch(k, o, "", types.StrategicMergePatchType, []byte(patch), "selector no longer matches: release"))
		case ref == nil && match && !leaving && o.GetDeletionTimestamp() == nil:
			patch := fmt.Sprintf(`{"metadata":{"uid":%q,"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}]}}`,
				o.GetUID(), gvk.GroupVersion(), gvk.Kind, owner.GetName(), owner.GetUID())
			a := Patch(k, o, "", types.StrategicMergePatchType, []byte(patch), "selector matches an orphan: adopt")
			if i := slices.IndexFunc(owners, func(r client.Resource) bool { return r.Kind == gvk.Kind && r.Group == gvk.Group }); i >= 0 {
				a.Owner, a.OwnerKind = owner, owners[i]
			}
			todo = append(todo, a)
			mine = append(mine, o)
		}
	}
	return mine, todo
}
