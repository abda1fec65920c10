package garbage

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// retry is when the API is asked again that did not answer.
const retry = 5 * time.Second

// OwnerState is what has become of an owner.
type OwnerState string

// The states of owners.
const (
	Present OwnerState = "present"
	Waiting OwnerState = "waiting" // is being deleted, after its dependents
	Absent  OwnerState = "absent"  // the API itself says so
	Unknown OwnerState = "unknown" // of a kind that we do not know, or could not be asked for
)

// Owner is one owner reference of an object, and what has become of whom it names.
type Owner struct {
	Ref     metav1.OwnerReference
	State   OwnerState
	Invalid bool  // it names somebody who cannot own the object
	Err     error // why State is Unknown, if that may pass
}

// Dependent is an object that has an owner reference to the one that is decided on.
type Dependent struct {
	Resource client.Resource
	Object   client.Object
	key      string
}

// blocks tells whether the owner's foreground deletion waits for it.
func (d Dependent) blocks(owner types.UID) bool {
	return slices.ContainsFunc(d.Object.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner && blocks(r) })
}

// View is everything Decide may know of one object. Shared: never write to it.
type View struct {
	Resource   client.Resource
	Object     client.Object
	Owners     []Owner     // unless it is being deleted
	Dependents []Dependent // if they matter
	Err        error       // why Dependents could not be found
}

// Decide lists what to do about the object: delete it, because no owner is left; drop references to those that are
// gone; let it go, because its dependents are dealt with.
func Decide(v View) []controller.Action {
	if v.Err != nil {
		return []controller.Action{controller.After(retry)}
	}
	switch held(v.Object) {
	case metav1.FinalizerOrphanDependents:
		return orphan(v)
	case metav1.FinalizerDeleteDependents:
		if slices.ContainsFunc(v.Dependents, func(d Dependent) bool { return d.blocks(v.Object.GetUID()) }) {
			return nil // the last of them brings us back
		}
		return []controller.Action{release(v, metav1.FinalizerDeleteDependents, "no dependents block it")}
	}
	return collect(v)
}

// orphan takes the object out of its dependents' references, and lets it go once there are none.
func orphan(v View) (todo []controller.Action) {
	uid := v.Object.GetUID()
	for _, d := range v.Dependents {
		todo = append(todo, references(d.Resource, d.Object, "its owner leaves it behind", func(r *metav1.OwnerReference) bool { return r.UID != uid }))
	}
	if len(todo) > 0 {
		return append(todo, controller.After(time.Millisecond))
	}
	return []controller.Action{release(v, metav1.FinalizerOrphanDependents, "dependents are left behind")}
}

// collect decides about an object that has owners and is not being deleted.
func collect(v View) (todo []controller.Action) {
	n := map[OwnerState]int{}
	drop := map[types.UID]bool{}
	var err error
	for _, w := range v.Owners {
		n[w.State]++
		if w.State == Absent || w.State == Waiting {
			drop[w.Ref.UID] = true
		}
		if w.Err != nil {
			err = w.Err
		}
		if w.Invalid {
			todo = append(todo, controller.Say(reference(v.Resource, v.Object), corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
				fmt.Sprintf("ownerRef %s does not exist in namespace %q", describe(w.Ref, v.Object.GetNamespace()), v.Object.GetNamespace())))
		}
	}
	switch {
	case err != nil:
		return append(todo, controller.After(retry))
	case n[Present]+n[Unknown] > 0 && len(drop) > 0:
		return append(todo, references(v.Resource, v.Object, "these owners are gone", func(r *metav1.OwnerReference) bool { return !drop[r.UID] }))
	case n[Present]+n[Unknown] > 0 || len(v.Owners) == 0:
		return todo
	case n[Waiting] > 0 && len(v.Dependents) > 0:
		if slices.ContainsFunc(v.Dependents, func(d Dependent) bool { return held(d.Object) == metav1.FinalizerDeleteDependents }) {
			// One of our dependents waits for its own: perhaps for us, in a circle. Nobody waits for us then.
			return append(todo, references(v.Resource, v.Object, "owners need not wait for it", func(r *metav1.OwnerReference) bool {
				r.BlockOwnerDeletion = ptr.To(false)
				return true
			}), remove(v, metav1.DeletePropagationForeground, false, "its owner waits for it"))
		}
		return append(todo, remove(v, metav1.DeletePropagationForeground, true, "its owner waits for it"))
	}
	how := metav1.DeletePropagationBackground
	switch {
	case slices.Contains(v.Object.GetFinalizers(), metav1.FinalizerOrphanDependents):
		how = metav1.DeletePropagationOrphan
	case slices.Contains(v.Object.GetFinalizers(), metav1.FinalizerDeleteDependents):
		how = metav1.DeletePropagationForeground
	}
	return append(todo, remove(v, how, true, "no owner is left"))
}

// remove deletes the object; exactly: only if it still is as it was looked at, its owners included.
func remove(v View, how metav1.DeletionPropagation, exactly bool, reason string) controller.Action {
	a := controller.Delete(client.Kind[client.Object]{Resource: v.Resource}, v.Object, reason)
	a.Delete.PropagationPolicy = &how
	if exactly {
		a.Delete.Preconditions.ResourceVersion = ptr.To(v.Object.GetResourceVersion())
	}
	return a
}

// references rewrites an object's owner references: those are left that keep says so of, which may change its copy.
func references(r client.Resource, o client.Object, reason string, keep func(*metav1.OwnerReference) bool) controller.Action {
	left := []metav1.OwnerReference{}
	for _, ref := range o.GetOwnerReferences() {
		if keep(&ref) {
			left = append(left, ref)
		}
	}
	return patch(r, o, map[string]any{"ownerReferences": left}, reason)
}

// release takes a finalizer away.
func release(v View, finalizer, reason string) controller.Action {
	left := slices.DeleteFunc(slices.Clone(v.Object.GetFinalizers()), func(f string) bool { return f == finalizer })
	return patch(v.Resource, v.Object, map[string]any{"finalizers": left}, reason)
}

// patch changes metadata, if the object is still as it was looked at.
func patch(r client.Resource, o client.Object, meta map[string]any, reason string) controller.Action {
	meta["uid"], meta["resourceVersion"] = o.GetUID(), o.GetResourceVersion()
	data, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		panic(err) // strings and references
	}
	return controller.Patch(client.Kind[client.Object]{Resource: r}, o, "", types.MergePatchType, data, reason)
}

func describe(r metav1.OwnerReference, namespace string) string {
	return fmt.Sprintf("[%s/%s, namespace: %s, name: %s, uid: %s]", r.APIVersion, r.Kind, namespace, r.Name, r.UID)
}
