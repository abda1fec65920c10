package endpointslicemirroring

import (
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// limit is how many addresses of one subset are mirrored; it is also the most that one slice may hold.
const limit = 1000

// leader is the annotation on Endpoints that are not addresses at all, but an old kind of lock.
const leader = "control-plane.alpha.kubernetes.io/leader"

// Decide lists what to write so that the slices show what the Endpoints say: one slice for each address family of each
// subset, and none where they are not to be mirrored.
func Decide(v View) (todo []controller.Action) {
	var want []*discoveryv1.EndpointSlice
	left := 0
	if mirrored(v) {
		want, left = mirror(v.Endpoints)
	}
	have := v.Slices
	// take finds a slice to write w over: one with its ports, or else any of its family, which cannot be changed.
	take := func(w *discoveryv1.EndpointSlice, ports bool) *discoveryv1.EndpointSlice {
		for i, s := range have {
			if s.AddressType == w.AddressType && s.DeletionTimestamp == nil && (!ports || equality.Semantic.DeepEqual(s.Ports, w.Ports)) {
				have = append(have[:i:i], have[i+1:]...)
				return s
			}
		}
		return nil
	}
	olds := make([]*discoveryv1.EndpointSlice, len(want))
	for _, ports := range []bool{true, false} {
		for i, w := range want {
			if olds[i] == nil {
				olds[i] = take(w, ports)
			}
		}
	}
	for i, w := range want {
		switch old := olds[i]; {
		case old == nil:
			todo = append(todo, controller.Create(client.EndpointSlices, w, "endpoints"))
		case !equality.Semantic.DeepEqual(old.Ports, w.Ports) || !equality.Semantic.DeepEqual(old.Endpoints, w.Endpoints) || !maps.Equal(old.Labels, w.Labels):
			labels := w.Labels
			w.ObjectMeta = *old.ObjectMeta.DeepCopy()
			w.Labels = labels
			todo = append(todo, controller.Update(client.EndpointSlices, w, "endpoints"))
		}
	}
	for _, s := range have {
		if s.DeletionTimestamp == nil {
			todo = append(todo, controller.Delete(client.EndpointSlices, s, "not in the endpoints"))
		}
	}
	if left > 0 && len(todo) > 0 {
		todo = append(todo, controller.Say(client.Reference(kind, v.Endpoints), corev1.EventTypeWarning, "TooManyAddressesToMirror",
			fmt.Sprintf("A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", limit, left)))
	}
	return todo
}

// mirrored tells whether the Endpoints are a user's, for a Service that nobody else finds endpoints for.
func mirrored(v View) bool {
	_, lock := v.Endpoints.Annotations[leader]
	return v.Endpoints.DeletionTimestamp == nil && v.Endpoints.Labels[discoveryv1.LabelSkipMirror] != "true" && !lock &&
		v.Service != nil && len(v.Service.Spec.Selector) == 0
}

// mirror makes the slices, and says how many addresses it left out.
func mirror(e *corev1.Endpoints) (out []*discoveryv1.EndpointSlice, left int) {
	for _, sub := range e.Subsets {
		byFamily := map[discoveryv1.AddressType]*discoveryv1.EndpointSlice{}
		n := 0
		add := func(list []corev1.EndpointAddress, ready bool) {
			for _, a := range list {
				ip, err := netip.ParseAddr(a.IP)
				switch {
				case err != nil:
					continue // no Endpoints that were checked have one
				case n == limit:
					left++
					continue
				}
				n++
				family := discoveryv1.AddressTypeIPv4
				if ip.Is6() {
					family = discoveryv1.AddressTypeIPv6
				}
				s := byFamily[family]
				if s == nil {
					s = newSlice(e, family, sub.Ports)
					byFamily[family] = s
					out = append(out, s)
				}
				s.Endpoints = append(s.Endpoints, newEndpoint(a, ready))
			}
		}
		add(sub.Addresses, true)
		add(sub.NotReadyAddresses, false)
	}
	return out, left
}

func newSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: family, Ports: []discoveryv1.EndpointPort{},
		ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, GenerateName: e.Name + "-", Labels: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, kind)}}}
	maps.Copy(s.Labels, e.Labels)
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = e.Name, ManagedBy
	for _, p := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Port: ptr.To(p.Port), Protocol: ptr.To(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return s
}

func newEndpoint(a corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: a.TargetRef, NodeName: a.NodeName}
	if a.Hostname != "" {
		e.Hostname = ptr.To(a.Hostname)
	}
	return e
}
