// Package garbage deletes objects whose owners are all gone, and does what deletions ask for: to delete
// dependents first (foreground) or to leave them behind (orphan). What it knows of the cluster's objects is who
// depends on whom, no more; everything else is looked up when it is needed, and before anything is deleted
// the API itself is asked whether an owner is really gone.
// Source: Kubernetes documentation, Garbage Collection, Owners and Dependents.
package garbage

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// collector knows the cluster's objects by their resource's place in the list.
type collector struct {
	env   controller.Env
	queue *controller.Queue
	graph *graph

	mu    sync.RWMutex
	kinds []*kind // places are kept by those that are gone
	// unknown are the keys of objects by their owners' kinds that are not followed, or not yet.
	unknown map[schema.GroupKind]map[string]bool
}

// mostUnknown bounds how many objects are looked at again when a kind of owners comes to be known.
const mostUnknown = 100000

// kind is one resource that is followed.
type kind struct {
	client.Resource
	view client.View
	end  context.CancelFunc
	gone bool // its definition was deleted
}

// Run collects until ctx ends. resources are all that are served beside custom ones and that may be watched, each once (in one
// version); owners of other kinds count as being there. Events are left out: they have no owners.
func Run(ctx context.Context, env controller.Env, resources []client.Resource) error {
	c := &collector{env: env, queue: env.Queue("garbage_collector_attempt_to_delete"), graph: newGraph(), unknown: map[schema.GroupKind]map[string]bool{}}
	for _, r := range resources {
		if r.GroupVersionResource.Resource != "events" {
			c.follow(ctx, r)
		}
	}
	views := make([]client.View, len(c.kinds))
	for i, k := range c.kinds {
		views[i] = client.ViewOf{View: k.view, Resource: k.Resource}
	}
	views = append(views, controller.Custom(ctx, env.Client, func(r client.Resource, there bool) {
		if there {
			c.follow(ctx, r)
		} else {
			c.leave(r)
		}
	}))
	loop := controller.Loop[View]{Name: "garbage", Env: env, Queue: c.queue, Views: views, Decide: Decide, Workers: 20,
		Look: func(key string) (View, bool) { return c.look(ctx, key) }}
	return loop.Run(ctx)
}

// follow begins to look at a resource.
func (c *collector) follow(ctx context.Context, r client.Resource) {
	ctx, end := context.WithCancel(ctx)
	v := c.env.Client.View(ctx, r, client.Selection{Unhurried: true, Outline: true}) // metadata is all that matters
	c.mu.Lock()
	i := len(c.kinds)
	c.kinds = append(c.kinds, &kind{Resource: r, view: v, end: end})
	waiting := c.unknown[schema.GroupKind{Group: r.Group, Kind: r.Kind}]
	delete(c.unknown, schema.GroupKind{Group: r.Group, Kind: r.Kind})
	c.mu.Unlock()
	for k := range waiting { // whose owner was taken for there
		c.queue.Add(k)
	}
	v.Subscribe(ctx, func(ch client.Change) { c.changed(i, ch) })
}

// leave forgets a resource.
func (c *collector) leave(r client.Resource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kinds {
		if k.GroupVersionResource == r.GroupVersionResource && !k.gone {
			k.gone = true
			k.end()
		}
	}
}

// at is the resource at a place.
func (c *collector) at(i int) *kind {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.kinds[i]
}

// there lists the resources with their places.
func (c *collector) there(yield func(int, *kind) bool) {
	c.mu.RLock()
	kinds := slices.Clone(c.kinds)
	c.mu.RUnlock()
	for i, k := range kinds {
		c.mu.RLock()
		gone := k.gone
		c.mu.RUnlock()
		if !gone && !yield(i, k) {
			return
		}
	}
}

// key names an object: the resource's place, namespace and name.
func key(resource int, namespace, name string) string {
	return strconv.Itoa(resource) + "/" + namespace + "/" + name
}

func (c *collector) split(key string) (resource int, namespace, name string) {
	first, rest, _ := strings.Cut(key, "/")
	namespace, name, _ = strings.Cut(rest, "/")
	resource, _ = strconv.Atoi(first) // key made it
	return resource, namespace, name
}

// find is the resource of an owner reference; -1: none that we know.
func (c *collector) find(ref *metav1.OwnerReference) int {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return -1
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.IndexFunc(c.kinds, func(k *kind) bool { return !k.gone && k.Group == gv.Group && k.Kind == ref.Kind })
}

// ownerKey is the key of the object that a reference in a namespace means.
func (c *collector) ownerKey(ref *metav1.OwnerReference, namespace string) (k string, ok bool) {
	i := c.find(ref)
	switch {
	case i < 0 || c.at(i).Namespaced && namespace == "":
		return "", false
	case !c.at(i).Namespaced:
		namespace = ""
	}
	return key(i, namespace, ref.Name), true
}

// changed takes in one change, and queues whom it concerns.
func (c *collector) changed(resource int, ch client.Change) {
	o := ch.Object()
	self := key(resource, o.GetNamespace(), o.GetName())
	if ch.Old != nil && ch.New != nil && ch.Old.GetUID() != ch.New.GetUID() { // a delete that was not told
		c.changed(resource, client.Change{Old: ch.Old})
		ch.Old = nil
	}
	var before, after []metav1.OwnerReference
	if ch.Old != nil {
		before = ch.Old.GetOwnerReferences()
	}
	if ch.New != nil {
		after = ch.New.GetOwnerReferences()
	}
	sameRefs := slices.EqualFunc(before, after, sameRef)
	if !sameRefs {
		c.graph.set(self, o.GetUID(), before, after)
		for i := range before { // one of them may be waiting for its last dependent
			if k, ok := c.ownerKey(&before[i], o.GetNamespace()); ok {
				c.queue.Add(k)
			}
		}
	}
	if ch.New == nil {
		c.graph.gone(o.GetUID())
		for _, k := range c.graph.dependents(o.GetUID()) {
			c.queue.Add(k)
		}
		return
	}
	if !sameRefs && len(after) > 0 {
		c.queue.Add(self)
	}
	if held(ch.New) != "" && (ch.Old == nil || held(ch.Old) != held(ch.New)) {
		c.queue.Add(self)
		if held(ch.New) == metav1.FinalizerDeleteDependents {
			for _, k := range c.graph.dependents(o.GetUID()) {
				c.queue.Add(k)
			}
		}
	}
}

func sameRef(a, b metav1.OwnerReference) bool {
	return a.UID == b.UID && a.Name == b.Name && a.Kind == b.Kind && a.APIVersion == b.APIVersion && blocks(a) == blocks(b)
}

func blocks(r metav1.OwnerReference) bool {
	return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
}

// held is which of our finalizers keeps an object that is being deleted, or "".
func held(o client.Object) string {
	if o.GetDeletionTimestamp() == nil {
		return ""
	}
	for _, f := range []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents} {
		if slices.Contains(o.GetFinalizers(), f) {
			return f
		}
	}
	return ""
}

// look gathers what is known of an object.
func (c *collector) look(ctx context.Context, k string) (View, bool) {
	i, namespace, name := c.split(k)
	o := c.at(i).view.Get(namespace, name)
	if o == nil {
		return View{}, false
	}
	v := View{Resource: c.at(i).Resource, Object: o}
	switch {
	case held(o) != "":
		v.Dependents = c.dependents(o)
		if held(o) == metav1.FinalizerOrphanDependents || !slices.ContainsFunc(v.Dependents, func(d Dependent) bool { return d.blocks(o.GetUID()) }) {
			if v.Dependents, v.Err = c.search(ctx, v.Resource, o); v.Err != nil { // the last word before it goes
				return v, true
			}
			for _, d := range v.Dependents {
				if held(o) == metav1.FinalizerDeleteDependents && d.blocks(o.GetUID()) {
					c.queue.Add(d.key)
				}
			}
		}
		return v, true
	case o.GetDeletionTimestamp() != nil || len(o.GetOwnerReferences()) == 0:
		return View{}, false
	}
	for _, ref := range o.GetOwnerReferences() {
		v.Owners = append(v.Owners, c.owner(ctx, k, o, ref))
	}
	if slices.ContainsFunc(v.Owners, func(w Owner) bool { return w.State == Waiting }) {
		v.Dependents = c.dependents(o)
	}
	return v, true
}

// owner finds out what has become of an owner.
func (c *collector) owner(ctx context.Context, self string, o client.Object, ref metav1.OwnerReference) Owner {
	w := Owner{Ref: ref, State: Unknown}
	i := c.find(&ref)
	if i < 0 {
		if c.graph.wasSeen(ref.UID) { // before its kind went
			w.State = Absent
		} else {
			c.await(self, ref)
		}
		return w
	}
	k, ok := c.ownerKey(&ref, o.GetNamespace())
	if !ok {
		w.Invalid = true // an owner in a namespace, of what is in none
		return w
	}
	_, namespace, _ := c.split(k)
	state := func(owner client.Object) OwnerState {
		if held(owner) == metav1.FinalizerDeleteDependents {
			return Waiting
		}
		return Present
	}
	if seen := c.at(i).view.Get(namespace, ref.Name); seen != nil && seen.GetUID() == ref.UID {
		w.State = state(seen)
		return w
	}
	got, err := c.env.Client.Get(ctx, c.at(i).Resource, namespace, ref.Name)
	switch {
	case apierrors.IsNotFound(err) || err == nil && got.GetUID() != ref.UID:
		w.State = Absent
		w.Invalid = c.at(i).Namespaced && !c.graph.wasSeen(ref.UID) && c.elsewhere(i, ref.UID, namespace)
	case err == nil:
		w.State = state(got)
	default:
		w.Err = err
	}
	return w
}

// await lets an object be looked at again when its owner's kind is followed.
func (c *collector) await(self string, ref metav1.OwnerReference) {
	of := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.kinds, func(k *kind) bool { return !k.gone && k.Group == of.Group && k.Kind == of.Kind }) { // by now
		c.queue.Add(self)
		return
	}
	if c.unknown[of] == nil {
		c.unknown[of] = map[string]bool{}
	}
	if len(c.unknown[of]) < mostUnknown {
		c.unknown[of][self] = true
	}
}

// elsewhere tells whether the owner is in another namespace, where it can own nothing of ours.
func (c *collector) elsewhere(resource int, uid types.UID, namespace string) bool {
	return slices.ContainsFunc(c.at(resource).view.List(""), func(o client.Object) bool { return o.GetUID() == uid && o.GetNamespace() != namespace })
}

// dependents lists those that the graph knows.
func (c *collector) dependents(o client.Object) (out []Dependent) {
	for _, k := range c.graph.dependents(o.GetUID()) {
		i, namespace, name := c.split(k)
		if d := c.at(i).view.Get(namespace, name); d != nil && owns(o.GetUID(), d) {
			out = append(out, Dependent{c.at(i).Resource, d, k})
		}
	}
	return out
}

// search asks the API itself for dependents: one that was made just before the owner's deletion must not be missed.
func (c *collector) search(ctx context.Context, r client.Resource, o client.Object) (out []Dependent, err error) {
	for i, of := range c.there {
		if r.Namespaced && !of.Namespaced {
			continue
		}
		list, _, err := c.env.Client.List(ctx, of.Resource, o.GetNamespace(), client.Selection{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		for _, d := range list {
			if owns(o.GetUID(), d) {
				out = append(out, Dependent{of.Resource, d, key(i, d.GetNamespace(), d.GetName())})
			}
		}
	}
	return out, nil
}

func owns(uid types.UID, d client.Object) bool {
	return slices.ContainsFunc(d.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == uid })
}

// graph is who depends on whom, and who went lately. Safe for concurrent use.
type graph struct {
	mu     sync.Mutex
	of     map[types.UID]map[string]types.UID // owner: keys of dependents and their own UID
	lately []types.UID                        // a ring of those that were seen to go
	at     int
}

func newGraph() *graph {
	return &graph{of: map[types.UID]map[string]types.UID{}, lately: make([]types.UID, 500)}
}

func (g *graph) set(key string, uid types.UID, before, after []metav1.OwnerReference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range before {
		if in := g.of[r.UID]; in[key] == uid {
			if delete(in, key); len(in) == 0 {
				delete(g.of, r.UID)
			}
		}
	}
	for _, r := range after {
		if g.of[r.UID] == nil {
			g.of[r.UID] = map[string]types.UID{}
		}
		g.of[r.UID][key] = uid
	}
}

func (g *graph) dependents(uid types.UID) (keys []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k := range g.of[uid] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (g *graph) gone(uid types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.of[uid]) > 0 {
		g.lately[g.at] = uid
		g.at = (g.at + 1) % len(g.lately)
	}
}

func (g *graph) wasSeen(uid types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.lately, uid)
}

func reference(r client.Resource, o client.Object) corev1.ObjectReference {
	return client.Reference(r.GroupVersion().WithKind(r.Kind), o)
}
