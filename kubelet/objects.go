package kubelet

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// objects are the ConfigMaps and Secrets that pods of this node use. Each is a live view of one object by
// its name (a node may see no more), begun with the first pod that names it and ended with the last.
type objects struct {
	client  client.Client
	changed func(pod types.UID) // one of the pod's objects came, changed or went

	mu   sync.Mutex
	held map[objectKey]*held
	uses map[types.UID]map[objectKey]bool
}

type objectKey struct{ kind, namespace, name string }

type held struct {
	view   client.View
	cancel context.CancelFunc
	users  map[types.UID]bool
}

func newObjects(c client.Client, changed func(types.UID)) *objects {
	return &objects{client: c, changed: changed, held: map[objectKey]*held{}, uses: map[types.UID]map[objectKey]bool{}}
}

// references are the ConfigMaps and Secrets that the pod's volumes and environments name.
func references(pod *corev1.Pod) map[objectKey]bool {
	out := map[objectKey]bool{}
	add := func(kind, name string) {
		if name != "" {
			out[objectKey{kind, pod.Namespace, name}] = true
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil {
			add("ConfigMap", v.ConfigMap.Name)
		}
		if v.Secret != nil {
			add("Secret", v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add("ConfigMap", s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add("Secret", s.Secret.Name)
				}
			}
		}
	}
	each := func(c *corev1.Container) {
		for _, f := range c.EnvFrom {
			if f.ConfigMapRef != nil {
				add("ConfigMap", f.ConfigMapRef.Name)
			}
			if f.SecretRef != nil {
				add("Secret", f.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if f := e.ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
				add("ConfigMap", f.ConfigMapKeyRef.Name)
			} else if f != nil && f.SecretKeyRef != nil {
				add("Secret", f.SecretKeyRef.Name)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		each(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		each(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		each(&c)
	}
	return out
}

// use begins views of all that the pod names; ctx is the kubelet's life.
func (o *objects) use(ctx context.Context, pod *corev1.Pod) {
	want := references(pod)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.uses[pod.UID] == nil {
		o.uses[pod.UID] = map[objectKey]bool{}
	}
	for key := range want {
		if o.uses[pod.UID][key] {
			continue
		}
		o.uses[pod.UID][key] = true
		h := o.held[key]
		if h == nil {
			vctx, cancel := context.WithCancel(ctx)
			r := client.ConfigMaps.Resource
			if key.kind == "Secret" {
				r = client.Secrets.Resource
			}
			h = &held{cancel: cancel, users: map[types.UID]bool{},
				view: o.client.View(vctx, r, client.Selection{Namespace: key.namespace, Fields: "metadata.name=" + key.name})}
			o.held[key] = h
			h.view.Subscribe(vctx, func(client.Change) { o.tell(key) })
		}
		h.users[pod.UID] = true
	}
}

// drop ends the views that only this pod used.
func (o *objects) drop(pod types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.uses[pod] {
		h := o.held[key]
		if delete(h.users, pod); len(h.users) == 0 {
			h.cancel()
			delete(o.held, key)
		}
	}
	delete(o.uses, pod)
}

func (o *objects) tell(key objectKey) {
	o.mu.Lock()
	var pods []types.UID
	if h := o.held[key]; h != nil {
		for uid := range h.users {
			pods = append(pods, uid)
		}
	}
	o.mu.Unlock()
	for _, uid := range pods {
		o.changed(uid)
	}
}

// get returns an object in use, or nil when there is none of the name.
func (o *objects) get(ctx context.Context, key objectKey) (client.Object, error) {
	o.mu.Lock()
	h := o.held[key]
	o.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("%s %s/%s is not in use by a pod of this node", key.kind, key.namespace, key.name)
	}
	if !h.view.Synced() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := h.view.WaitSynced(ctx); err != nil {
			return nil, fmt.Errorf("failed to sync %s cache: timed out waiting for the condition", lower(key.kind))
		}
	}
	return h.view.Get(key.namespace, key.name), nil
}

func lower(kind string) string {
	if kind == "Secret" {
		return "secret"
	}
	return "configmap"
}

// ConfigMap implements volume.Source.
func (k *Kubelet) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	o, err := k.objects.get(ctx, objectKey{"ConfigMap", namespace, name})
	cm, _ := o.(*corev1.ConfigMap)
	return cm, err
}

// Secret implements volume.Source.
func (k *Kubelet) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	o, err := k.objects.get(ctx, objectKey{"Secret", namespace, name})
	s, _ := o.(*corev1.Secret)
	return s, err
}

// Token implements volume.Source.
func (k *Kubelet) Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	got, err := k.Client.Create(ctx, client.ServiceAccounts.Resource, pod.Namespace, pod.Spec.ServiceAccountName, "token", req)
	if err != nil {
		return "", time.Time{}, err
	}
	tr, ok := got.(*authenticationv1.TokenRequest)
	if !ok || tr.Status.Token == "" {
		return "", time.Time{}, fmt.Errorf("token for %s/%s: the server gave none", pod.Namespace, pod.Spec.ServiceAccountName)
	}
	return tr.Status.Token, tr.Status.ExpirationTimestamp.Time, nil
}

// Field implements volume.Source.
func (k *Kubelet) Field(pod *corev1.Pod, path string) (string, error) {
	return fieldValue(pod, path, envSource{hostIPs: k.NodeIPs, podIPs: statusIPs(pod)})
}

// Resource implements volume.Source.
func (k *Kubelet) Resource(pod *corev1.Pod, ref *corev1.ResourceFieldSelector) (string, error) {
	return resourceValue(pod, nil, ref, k.allocatable())
}

func statusIPs(pod *corev1.Pod) []string {
	var ips []string
	for _, ip := range pod.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	return ips
}
