package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// cluster is a client.Client in memory with the API server's rules that a kubelet relies on: graceful
// deletion, UID preconditions, patches, tokens. Selections are ignored: it has one node.
type cluster struct {
	late   time.Duration // see lateView
	mu     sync.Mutex
	views  map[string]*clienttest.View
	serial int
	tokens int
}

func newCluster() *cluster { return &cluster{views: map[string]*clienttest.View{}} }

func (c *cluster) view(r client.Resource) *clienttest.View {
	v := c.views[r.Resource]
	if v == nil {
		v = clienttest.NewView()
		c.views[r.Resource] = v
	}
	return v
}

func (c *cluster) Get(_ context.Context, r client.Resource, namespace, name string) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.view(r).Get(namespace, name); o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

func (c *cluster) List(_ context.Context, r client.Resource, namespace string, _ client.Selection) ([]client.Object, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view(r).List(namespace), "", nil
}

func (c *cluster) Create(_ context.Context, r client.Resource, namespace, name, sub string, obj client.Object) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sub == "token" {
		c.tokens++
		tr := obj.(*authenticationv1.TokenRequest).DeepCopy()
		tr.Status.Token = fmt.Sprintf("token-%d for %s", c.tokens, tr.Spec.BoundObjectRef.Name)
		tr.Status.ExpirationTimestamp = v1.NewTime(time.Now().Add(time.Hour))
		return tr, nil
	}
	if c.view(r).Get(namespace, name) != nil {
		return nil, apierrors.NewAlreadyExists(r.GroupResource(), name)
	}
	o := obj.DeepCopyObject().(client.Object)
	c.serial++
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", time.Now().UnixNano()%1e12+int64(c.serial))))
	}
	o.SetCreationTimestamp(v1.Now())
	o.SetGeneration(1)
	return c.set(r, o), nil
}

func (c *cluster) set(r client.Resource, o client.Object) client.Object {
	o.SetResourceVersion("")
	return c.view(r).Set(o)
}

func (c *cluster) Update(_ context.Context, r client.Resource, _ string, obj client.Object) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set(r, obj.DeepCopyObject().(client.Object)), nil
}

func (c *cluster) Patch(_ context.Context, r client.Resource, namespace, name, sub string, t types.PatchType, patch []byte) (client.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.view(r).Get(namespace, name)
	if old == nil {
		return nil, apierrors.NewNotFound(r.GroupResource(), name)
	}
	data, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	if t == types.StrategicMergePatchType {
		data, err = strategicpatch.StrategicMergePatch(data, patch, r.New())
	} else {
		data, err = merge(data, patch)
	}
	if err != nil {
		return nil, err
	}
	o := r.New()
	if err := json.Unmarshal(data, o); err != nil {
		return nil, err
	}
	if o.GetUID() != old.GetUID() {
		return nil, apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("the UID is another"))
	}
	return c.set(r, o), nil
}

func merge(old, patch []byte) ([]byte, error) {
	var a, b map[string]any
	if err := json.Unmarshal(old, &a); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(patch, &b); err != nil {
		return nil, err
	}
	var into func(a, b map[string]any)
	into = func(a, b map[string]any) {
		for k, v := range b {
			if m, ok := v.(map[string]any); ok {
				if have, ok := a[k].(map[string]any); ok {
					into(have, m)
					continue
				}
			}
			if v == nil {
				delete(a, k)
			} else {
				a[k] = v
			}
		}
	}
	into(a, b)
	return json.Marshal(a)
}

func (c *cluster) Delete(_ context.Context, r client.Resource, namespace, name string, o v1.DeleteOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.view(r).Get(namespace, name)
	if old == nil {
		return apierrors.NewNotFound(r.GroupResource(), name)
	}
	if p := o.Preconditions; p != nil && p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("the UID is another"))
	}
	if pod, ok := old.(*corev1.Pod); ok {
		grace := int64(30)
		if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
			grace = *s
		}
		if o.GracePeriodSeconds != nil {
			grace = *o.GracePeriodSeconds
		}
		if grace > 0 {
			next := pod.DeepCopy()
			at := v1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
			next.DeletionTimestamp, next.DeletionGracePeriodSeconds = &at, &grace
			c.set(r, next)
			return nil
		}
	}
	c.view(r).Delete(namespace, name)
	return nil
}

func (c *cluster) View(_ context.Context, r client.Resource, _ client.Selection) client.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lateView{c.view(r), c.late}
}

// lateView tells its subscribers what is there when all others have it already.
type lateView struct {
	client.View
	by time.Duration
}

func (v lateView) Subscribe(ctx context.Context, f func(client.Change)) {
	if v.by == 0 {
		v.View.Subscribe(ctx, f)
		return
	}
	time.AfterFunc(v.by, func() { v.View.Subscribe(ctx, f) })
}
