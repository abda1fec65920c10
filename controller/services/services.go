// Package services is what the controllers of endpoints share: which Services select a pod, when a
// change of a pod matters to them, and which of its ports they mean.
package services

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// Kind is what Services are.
var Kind = corev1.SchemeGroupVersion.WithKind("Service")

// Index knows which selectors the Services of a namespace have. Safe for concurrent use.
type Index struct {
	mu sync.RWMutex
	of map[string]map[string]map[string]string // namespace, name: selector
}

// Feed adds to q the key of each changed Service, and of those that select a pod whose change matters. Ends with ctx.
func Feed(ctx context.Context, q *controller.Queue, services client.TypedView[*corev1.Service], all client.TypedView[*corev1.Pod]) *Index {
	x := &Index{of: map[string]map[string]map[string]string{}}
	controller.Feed(ctx, q, services, func(old, new *corev1.Service) []string {
		if new == nil {
			x.set(old.Namespace, old.Name, nil)
			return []string{controller.KeyOf(old)}
		}
		x.set(new.Namespace, new.Name, new.Spec.Selector)
		return []string{controller.KeyOf(new)}
	})
	controller.Feed(ctx, q, all, func(old, new *corev1.Pod) []string {
		switch {
		case old == nil:
			if Has(new) {
				return x.Of(new)
			}
			return nil
		case new == nil:
			if Has(old) {
				return x.Of(old)
			}
			return nil
		case maps.Equal(old.Labels, new.Labels):
			if same(old, new) {
				return nil
			}
			return x.Of(new)
		}
		return append(x.Of(old), x.Of(new)...)
	})
	return x
}

func (x *Index) set(namespace, name string, selector map[string]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	in := x.of[namespace]
	if len(selector) == 0 {
		if delete(in, name); len(in) == 0 {
			delete(x.of, namespace)
		}
		return
	}
	if in == nil {
		in = map[string]map[string]string{}
		x.of[namespace] = in
	}
	in[name] = selector
}

// Of lists the keys of the Services that select the pod.
func (x *Index) Of(p *corev1.Pod) (keys []string) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for name, selector := range x.of[p.Namespace] {
		if selects(selector, p.Labels) {
			keys = append(keys, controller.Key(p.Namespace, name))
		}
	}
	return keys
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Pods lists the pods that the Service selects and that have an address; none for a Service without selector.
func Pods(s *corev1.Service, all client.TypedView[*corev1.Pod]) (out []*corev1.Pod) {
	if len(s.Spec.Selector) == 0 {
		return nil
	}
	for _, o := range all.View.List(s.Namespace) {
		if p, ok := o.(*corev1.Pod); ok && selects(s.Spec.Selector, p.Labels) && Has(p) {
			out = append(out, p)
		}
	}
	return out
}

// Has tells whether the pod can be an endpoint at all: it has an address and has not ended for good.
func Has(p *corev1.Pod) bool {
	return (p.Status.PodIP != "" || len(p.Status.PodIPs) > 0) && !pods.Finished(p)
}

// same tells whether nothing changed that endpoints show, labels aside.
func same(a, b *corev1.Pod) bool {
	return Has(a) == Has(b) && pods.Ready(a) == pods.Ready(b) && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		a.UID == b.UID && a.Spec.NodeName == b.Spec.NodeName && a.Spec.Hostname == b.Spec.Hostname && a.Spec.Subdomain == b.Spec.Subdomain &&
		a.Status.PodIP == b.Status.PodIP && slices.Equal(a.Status.PodIPs, b.Status.PodIPs)
}

// Addresses are the pod's own.
func Addresses(p *corev1.Pod) (out []string) {
	for _, ip := range p.Status.PodIPs {
		out = append(out, ip.IP)
	}
	if len(out) == 0 && p.Status.PodIP != "" {
		out = append(out, p.Status.PodIP)
	}
	return out
}

// Port is the number of the pod's port that a Service's port means; ok false: it has none of that name and protocol.
func Port(p *corev1.Pod, port *corev1.ServicePort) (number int32, ok bool) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, true
	}
	find := func(c *corev1.Container) bool {
		for _, x := range c.Ports {
			if x.Name == port.TargetPort.StrVal && protocol(x.Protocol) == protocol(port.Protocol) {
				number = x.ContainerPort
				return true
			}
		}
		return false
	}
	for i := range p.Spec.Containers {
		if find(&p.Spec.Containers[i]) {
			return number, true
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && find(c) {
			return number, true
		}
	}
	return 0, false
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// Hostname is the name by which DNS knows the pod within the Service, or "".
func Hostname(s *corev1.Service, p *corev1.Pod) string {
	if p.Spec.Hostname != "" && p.Spec.Subdomain == s.Name && p.Namespace == s.Namespace {
		return p.Spec.Hostname
	}
	return ""
}

// Labels copies labels, without some keys.
func Labels(from map[string]string, without ...string) labels.Set {
	out := labels.Set{}
	for k, v := range from {
		if !slices.Contains(without, k) {
			out[k] = v
		}
	}
	return out
}
