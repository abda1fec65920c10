package kubelet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// objects are the ConfigMaps, Secrets and trust bundles that pods of this node use. Each is a live view of one object by
// its name (a node may see no more of ConfigMaps and Secrets), or of one signer's bundles, begun with the first pod that names
// it and ended with the last.
type objects struct {
	client  client.Client
	changed func(pod types.UID) // one of the pod's objects came, changed or went

	mu   sync.Mutex
	held map[objectKey]*held
	uses map[types.UID]map[objectKey]bool
}

// objectKey names an object or, with the kind ofSigner, the trust bundles of the signer of that name, with requestsOfNode the certificate requests of
// the node.
type objectKey struct{ kind, namespace, name string }

const (
	ofSigner       = "ClusterTrustBundles"
	requestsOfNode = "PodCertificateRequests" // of the node of the name
)

// view is what is seen under the key.
func (k objectKey) view() (client.Resource, client.Selection) {
	s := client.Selection{Namespace: k.namespace, Fields: "metadata.name=" + k.name}
	switch k.kind {
	case "Secret":
		return client.Secrets.Resource, s
	case "ClusterTrustBundle":
		return client.ClusterTrustBundles.Resource, s
	case ofSigner:
		return client.ClusterTrustBundles.Resource, client.Selection{Fields: "spec.signerName=" + k.name}
	case requestsOfNode:
		return client.PodCertificateRequests.Resource, client.Selection{Fields: "spec.nodeName=" + k.name}
	}
	return client.ConfigMaps.Resource, s
}

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
				if s.PodCertificate != nil && pod.Spec.NodeName != "" {
					out[objectKey{requestsOfNode, "", pod.Spec.NodeName}] = true
				}
				if b := s.ClusterTrustBundle; b != nil && b.Name != nil {
					out[objectKey{"ClusterTrustBundle", "", *b.Name}] = true
				} else if b != nil && b.SignerName != nil {
					out[objectKey{ofSigner, "", *b.SignerName}] = true
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
			r, selection := key.view()
			h = &held{cancel: cancel, users: map[types.UID]bool{}, view: o.client.View(vctx, r, selection)}
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
	view, err := o.synced(ctx, key)
	if err != nil {
		return nil, err
	}
	return view.Get(key.namespace, key.name), nil
}

// synced is the view of a key in use, once it has all that was there.
func (o *objects) synced(ctx context.Context, key objectKey) (client.View, error) {
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
			return nil, fmt.Errorf("failed to sync %s cache: timed out waiting for the condition", strings.ToLower(key.kind))
		}
	}
	return h.view, nil
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

// TrustBundle implements volume.Source.
func (k *Kubelet) TrustBundle(ctx context.Context, name string) (*certificatesv1.ClusterTrustBundle, error) {
	o, err := k.objects.get(ctx, objectKey{"ClusterTrustBundle", "", name})
	b, _ := o.(*certificatesv1.ClusterTrustBundle)
	return b, err
}

// TrustBundles implements volume.Source.
func (k *Kubelet) TrustBundles(ctx context.Context, signer string) ([]*certificatesv1.ClusterTrustBundle, error) {
	view, err := k.objects.synced(ctx, objectKey{ofSigner, "", signer})
	if err != nil {
		return nil, err
	}
	return client.TypedView[*certificatesv1.ClusterTrustBundle]{View: view}.List(""), nil
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
