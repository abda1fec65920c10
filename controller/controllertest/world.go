// Package controllertest is a small world for tests of controllers: a client.Client
// in memory whose views change at once with each write, and a clock that the test moves. It knows of Kubernetes
// what controllers rely on: uids, generations, conflicts, finalizers, status apart from spec; nobody else acts in it.
package controllertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
	"github.com/lighter-k8s/lighter/controller"
)

// World is the client and all objects. Safe for concurrent use.
type World struct {
	// Now is the world's clock.
	Now func() time.Time
	// Slow keeps deleted pods, terminating, until the test takes them away with Remove.
	Slow bool

	mu      sync.Mutex
	refuse  func(verb controller.Verb, r client.Resource, o client.Object) error
	views   map[schema.GroupVersionResource]*clienttest.View
	version uint64
	serial  int
	writes  int
}

// New makes an empty world.
func New(now func() time.Time) *World {
	return &World{Now: now, views: map[schema.GroupVersionResource]*clienttest.View{}}
}

// Refuse lets f answer writes with errors instead; nil ends that.
func (w *World) Refuse(f func(verb controller.Verb, r client.Resource, o client.Object) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = f
}

// Env is what a controller is given in this world. Its events are stored once somebody runs env.Events.
func (w *World) Env() controller.Env {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return controller.Env{Client: w, Log: log, Now: w.Now, Events: client.NewRecorder(w, log, "test", "", w.Now)}
}

// Writes is how many writes have been accepted, those of Events excepted.
func (w *World) Writes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

// Do performs actions in order until one fails, and counts them as one decision's.
func (w *World) Do(todo []controller.Action) error {
	env := w.Env()
	for _, a := range todo {
		if a.Requeue > 0 || a.Verb == controller.SayEvent {
			continue
		}
		if _, err := env.Act(context.Background(), a); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	return nil
}

// Put stores an object as it is, status included, as a user or another part would.
func Put[T client.Object](w *World, k client.Kind[T], o T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.GetUID() == "" {
		o = o.DeepCopyObject().(T)
		w.stamp(o)
	}
	return w.set(k.Resource, o).(T)
}

// Change stores a changed copy of an object. It counts as a change of spec: the generation rises.
func Change[T client.Object](w *World, k client.Kind[T], namespace, name string, f func(T)) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.view(k.Resource).Get(namespace, name)
	if o == nil {
		panic("controllertest: no " + k.Resource.Resource + " " + namespace + "/" + name)
	}
	c := o.DeepCopyObject().(T)
	f(c)
	if !reflect.DeepEqual(part(o, "spec"), part(c, "spec")) {
		c.SetGeneration(c.GetGeneration() + 1)
	}
	return w.set(k.Resource, c).(T)
}

// Get returns an object, or T's zero.
func Get[T client.Object](w *World, k client.Kind[T], namespace, name string) T {
	o, _ := client.TypedView[T]{View: w.viewOf(k.Resource)}.Get(namespace, name)
	return o
}

// List returns all objects of the kind.
func List[T client.Object](w *World, k client.Kind[T]) []T {
	return client.TypedView[T]{View: w.viewOf(k.Resource)}.List("")
}

// Remove takes an object away whatever keeps it.
func (w *World) Remove(r client.Resource, namespace, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version++
	w.view(r).Delete(namespace, name)
}

func (w *World) viewOf(r client.Resource) *clienttest.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view(r)
}

func (w *World) view(r client.Resource) *clienttest.View {
	v := w.views[r.GroupVersionResource]
	if v == nil {
		v = clienttest.NewView()
		w.views[r.GroupVersionResource] = v
	}
	return v
}

// set stores o at the next revision. The caller holds mu and gives o away.
func (w *World) set(r client.Resource, o client.Object) client.Object {
	o = o.DeepCopyObject().(client.Object)
	w.version++
	o.SetResourceVersion(strconv.FormatUint(w.version, 10))
	return w.view(r).Set(o)
}

func (w *World) stamp(o client.Object) {
	w.serial++
	o.SetUID(types.UID(fmt.Sprintf("u%05d", w.serial)))
	o.SetGeneration(1)
	if t := o.GetCreationTimestamp(); t.IsZero() {
		o.SetCreationTimestamp(v1.NewTime(w.Now().Truncate(time.Second)))
	}
	if o.GetName() == "" {
		o.SetName(fmt.Sprintf("%s%05d", o.GetGenerateName(), w.serial))
	}
}

func (w *World) refused(verb controller.Verb, r client.Resource, o client.Object) error {
	if w.refuse != nil {
		if err := w.refuse(verb, r, o); err != nil {
			return err
		}
	}
	if r.Resource != "events" {
		w.writes++
	}
	return nil
}

// Get implements client.Client.
func (w *World) Get(_ context.Context, r client.Resource, namespace, name string) (client.Object, error) {
	if o := w.viewOf(r).Get(namespace, name); o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

// List implements client.Client, without selectors.
func (w *World) List(_ context.Context, r client.Resource, namespace string, _ client.Selection) ([]client.Object, string, error) {
	v := w.viewOf(r)
	return v.List(namespace), strconv.FormatUint(v.Version(), 10), nil
}

// View implements client.Client; selections are not obeyed.
func (w *World) View(_ context.Context, r client.Resource, _ client.Selection) client.View {
	return w.viewOf(r)
}

// Create implements client.Client.
func (w *World) Create(_ context.Context, r client.Resource, _, _, subresource string, o client.Object) (client.Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if subresource != "" {
		return nil, apierrors.NewMethodNotSupported(r.GroupResource(), subresource)
	}
	if err := w.refused(controller.CreateObject, r, o); err != nil {
		return nil, err
	}
	o = o.DeepCopyObject().(client.Object)
	if o.GetName() != "" && w.view(r).Get(o.GetNamespace(), o.GetName()) != nil {
		return nil, apierrors.NewAlreadyExists(r.GroupResource(), o.GetName())
	}
	w.stamp(o)
	if p, ok := o.(*corev1.Pod); ok {
		p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	}
	return w.set(r, o), nil
}

// Update implements client.Client.
func (w *World) Update(_ context.Context, r client.Resource, subresource string, o client.Object) (client.Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	verb := controller.UpdateObject
	if subresource == "status" {
		verb = controller.UpdateStatus
	}
	old := w.view(r).Get(o.GetNamespace(), o.GetName())
	if old == nil {
		return nil, apierrors.NewNotFound(r.GroupResource(), o.GetName())
	}
	if o.GetResourceVersion() != "" && o.GetResourceVersion() != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(r.GroupResource(), o.GetName(), fmt.Errorf("it is at %s", old.GetResourceVersion()))
	}
	if err := w.refused(verb, r, o); err != nil {
		return nil, err
	}
	return w.replace(r, subresource, old, o), nil
}

// replace stores what of o the subresource covers, and lets go of what is deleted and has no finalizer any more.
func (w *World) replace(r client.Resource, subresource string, old, o client.Object) client.Object {
	from, to := old, o
	if subresource == "status" {
		from, to = o, old
	}
	m := asMap(to)
	if s := part(from, "status"); s != nil {
		m["status"] = s
	} else {
		delete(m, "status")
	}
	n := r.New()
	data, _ := json.Marshal(m)
	if err := json.Unmarshal(data, n); err != nil {
		panic(err)
	}
	n.SetGeneration(old.GetGeneration())
	if !reflect.DeepEqual(part(old, "spec"), part(n, "spec")) {
		n.SetGeneration(old.GetGeneration() + 1)
	}
	if n.GetDeletionTimestamp() != nil && len(n.GetFinalizers()) == 0 && !(w.Slow && r.Resource == "pods") {
		w.version++
		w.view(r).Delete(n.GetNamespace(), n.GetName())
		return nil
	}
	return w.set(r, n)
}

// Patch implements client.Client for merge and strategic merge patches.
func (w *World) Patch(_ context.Context, r client.Resource, namespace, name, subresource string, t types.PatchType, patch []byte) (client.Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.view(r).Get(namespace, name)
	if old == nil {
		return nil, apierrors.NewNotFound(r.GroupResource(), name)
	}
	if err := w.refused(controller.PatchObject, r, old); err != nil {
		return nil, err
	}
	data, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	if t == types.StrategicMergePatchType {
		data, err = strategicpatch.StrategicMergePatch(data, patch, r.New())
	} else {
		data, err = jsonpatch.MergePatch(data, patch)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	n := r.New()
	if err := json.Unmarshal(data, n); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if n.GetUID() != old.GetUID() {
		return nil, apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("uid is %s", old.GetUID()))
	}
	return w.replace(r, subresource, old, n), nil
}

// Delete implements client.Client. Nothing is collected after it.
func (w *World) Delete(_ context.Context, r client.Resource, namespace, name string, o v1.DeleteOptions) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.view(r).Get(namespace, name)
	if old == nil {
		return apierrors.NewNotFound(r.GroupResource(), name)
	}
	if p := o.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("uid is %s", old.GetUID()))
	}
	if err := w.refused(controller.DeleteObject, r, old); err != nil {
		return err
	}
	if len(old.GetFinalizers()) > 0 || w.Slow && r.Resource == "pods" {
		if old.GetDeletionTimestamp() == nil {
			n, now := old.DeepCopyObject().(client.Object), v1.NewTime(w.Now())
			n.SetDeletionTimestamp(&now)
			w.set(r, n)
		}
		return nil
	}
	w.version++
	w.view(r).Delete(namespace, name)
	return nil
}

// Names lists the names of objects, for comparing.
func Names[T client.Object](list []T) (names []string) {
	for _, o := range list {
		names = append(names, o.GetName())
	}
	return slices.Sorted(slices.Values(names))
}

// Labels copies labels and adds one.
func Labels(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func asMap(o client.Object) map[string]any {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(data, &m); err != nil {
		panic(err)
	}
	return m
}

func part(o client.Object, name string) any { return asMap(o)[name] }
