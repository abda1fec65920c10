package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"encoding/json"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// cluster is a client.Client in memory that does what the API server does with a scheduler's writes.
type cluster struct {
	client.Client // nil: what is not there is not called
	mu            sync.Mutex
	views         map[schema.GroupVersionResource]*clienttest.View
	refuse        func(r client.Resource, subresource, name string) error // before the write; nil: none
	lose          func(name string) bool                                  // the binding is done, but its answer is an error
	check         func(p *corev1.Pod)                                     // sees each binding before it is done
	writes        []string
	serial        int
	slowDeath     bool // a deleted pod is there until the test takes it away
	quiet         bool // benchmarks: no record of writes
}

func newCluster(objects ...client.Object) *cluster {
	c := &cluster{views: map[schema.GroupVersionResource]*clienttest.View{}}
	for _, o := range objects {
		c.set(o)
	}
	return c
}

func (c *cluster) view(r client.Resource) *clienttest.View {
	v := c.views[r.GroupVersionResource]
	if v == nil {
		v = clienttest.NewView()
		c.views[r.GroupVersionResource] = v
	}
	return v
}

func (c *cluster) set(o client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.GetUID() == "" {
		c.serial++
		o.SetUID(types.UID(fmt.Sprintf("%s-%d", o.GetName(), c.serial)))
	}
	c.view(resourceOf(o)).Set(o)
}

func (c *cluster) delete(o client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view(resourceOf(o)).Delete(o.GetNamespace(), o.GetName())
}

func (c *cluster) pod(name string) *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, _ := c.view(client.Pods.Resource).Get("ns", name).(*corev1.Pod)
	return p
}

func (c *cluster) View(_ context.Context, r client.Resource, _ client.Selection) client.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view(r)
}

func (c *cluster) Get(_ context.Context, r client.Resource, namespace, name string) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		if err := c.refuse(r, "get", name); err != nil {
			return nil, err
		}
	}
	if o := c.view(r).Get(namespace, name); o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

func (c *cluster) Create(_ context.Context, r client.Resource, namespace, name, subresource string, obj client.Object) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if subresource != "binding" {
		panic("create of " + r.Kind + " " + subresource)
	}
	if c.refuse != nil {
		if err := c.refuse(r, subresource, name); err != nil {
			return nil, err
		}
	}
	b := obj.(*corev1.Binding)
	old, _ := c.view(r).Get(namespace, name).(*corev1.Pod)
	switch {
	case old == nil:
		return nil, apierrors.NewNotFound(r.GroupResource(), name)
	case old.UID != b.UID, old.Spec.NodeName != "", old.DeletionTimestamp != nil, len(old.Spec.SchedulingGates) > 0:
		return nil, apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("cannot be bound"))
	}
	var p *corev1.Pod
	if c.quiet {
		next := *old
		p = &next
	} else {
		p = old.DeepCopy()
		c.writes = append(c.writes, "bind "+name+" "+b.Target.Name)
	}
	p.ResourceVersion, p.Spec.NodeName = "", b.Target.Name
	if c.check != nil {
		c.check(p)
	}
	c.view(r).Set(p)
	if c.lose != nil && c.lose(name) {
		return nil, apierrors.NewTimeoutError("lost", 1)
	}
	return nil, nil
}

func (c *cluster) Patch(_ context.Context, r client.Resource, namespace, name, subresource string, t types.PatchType, patch []byte) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		if err := c.refuse(r, subresource, name); err != nil {
			return nil, err
		}
	}
	old := c.view(r).Get(namespace, name)
	if old == nil {
		return nil, apierrors.NewNotFound(r.GroupResource(), name)
	}
	doc, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	next := r.New()
	out, err := strategicpatch.StrategicMergePatch(doc, patch, next)
	if err == nil {
		err = json.Unmarshal(out, next)
	}
	if err != nil || next.GetUID() != old.GetUID() {
		return nil, apierrors.NewBadRequest(fmt.Sprint(err))
	}
	next.SetResourceVersion("")
	c.writes = append(c.writes, strings.TrimSpace("patch "+name+" "+subresource))
	return c.view(r).Set(next), nil
}

func (c *cluster) Delete(_ context.Context, r client.Resource, namespace, name string, o v1.DeleteOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, "delete "+name)
	if old, ok := c.view(r).Get(namespace, name).(*corev1.Pod); ok && c.slowDeath {
		p := old.DeepCopy()
		p.ResourceVersion, p.DeletionTimestamp = "", &v1.Time{Time: time.Now()}
		c.view(r).Set(p)
		return nil
	}
	c.view(r).Delete(namespace, name)
	return nil
}

func resourceOf(o client.Object) client.Resource {
	switch o.(type) {
	case *corev1.Pod:
		return client.Pods.Resource
	case *corev1.Node:
		return client.Nodes.Resource
	case *corev1.Namespace:
		return client.Namespaces.Resource
	case *corev1.Service:
		return client.Services.Resource
	case *corev1.PersistentVolumeClaim:
		return client.PersistentVolumeClaims.Resource
	case *corev1.PersistentVolume:
		return client.PersistentVolumes.Resource
	case *storagev1.StorageClass:
		return client.StorageClasses.Resource
	case *policyv1.PodDisruptionBudget:
		return client.PodDisruptionBudgets.Resource
	}
	panic(fmt.Sprintf("resource of %T", o))
}

// start runs a scheduler in the bubble of a synctest; the test's end ends it.
func (c *cluster) start(t testing.TB) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Run(ctx, Config{Client: c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Seed: 1})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Run returned %v", err)
		}
	})
	settle()
}

// settle lets everything happen that can happen now.
func settle() {
	time.Sleep(20 * time.Millisecond) // of the bubble's time: the start looks again after 10 ms
	synctest.Wait()
}

// bubble runs f where time is simulated, and ends what f's cleanups end inside of it.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// newNode has resources in words: "cpu=2 memory=4Gi pods=10", and labels "zone=a" after a "|".
func newNode(name, has string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{corev1.LabelHostname: name}}}
	amounts, labels, _ := strings.Cut(has, "|")
	n.Status.Allocatable = list(amounts)
	if _, ok := n.Status.Allocatable[corev1.ResourcePods]; !ok {
		n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("110")
	}
	maps.Copy(n.Labels, pairs(labels))
	for _, f := range change {
		f(n)
	}
	return n
}

// newPod asks for resources in words and has labels after a "|".
func newPod(name, wants string, change ...func(*corev1.Pod)) *corev1.Pod {
	amounts, labels, _ := strings.Cut(wants, "|")
	p := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: pairs(labels)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: list(amounts)}}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func priority(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func list(words string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for k, v := range pairs(words) {
		out[corev1.ResourceName(k)] = resource.MustParse(v)
	}
	return out
}

func pairs(words string) map[string]string {
	out := map[string]string{}
	for _, w := range strings.Fields(words) {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}
