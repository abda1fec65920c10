package endpointslice

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/services"
)

// group is the endpoints that have the same ports: only they can share slices.
type group struct {
	ports     []discoveryv1.EndpointPort
	endpoints []endpoint
}

// endpoint is a wanted endpoint.
type endpoint struct {
	discoveryv1.Endpoint
	trigger time.Time // when its pod came to be so; zero: not known
}

// id tells endpoints apart.
func id(e *discoveryv1.Endpoint) string {
	uid := types.UID("")
	if e.TargetRef != nil {
		uid = e.TargetRef.UID
	}
	return string(uid) + " " + strings.Join(e.Addresses, " ")
}

// families are the address types of a Service's slices.
func families(s *corev1.Service) (out []discoveryv1.AddressType) {
	for _, f := range s.Spec.IPFamilies {
		out = append(out, discoveryv1.AddressType(f))
	}
	if len(out) == 0 {
		out = append(out, discoveryv1.AddressTypeIPv4)
		if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil && ip.Is6() {
			out[0] = discoveryv1.AddressTypeIPv6
		}
	}
	return out
}

// wanted groups the endpoints of one address type by their ports, in an order that depends on nothing else.
func wanted(v View, family discoveryv1.AddressType) (groups []*group) {
	byPorts := map[string]*group{}
	for _, p := range v.Pods {
		n := v.Nodes[p.Spec.NodeName]
		if n == nil && !v.Service.Spec.PublishNotReadyAddresses {
			continue // its node is gone
		}
		e, ok := newEndpoint(v.Service, p, n, family)
		if !ok {
			continue
		}
		list, key := ports(v.Service, p)
		g := byPorts[key]
		if g == nil {
			g = &group{ports: list}
			byPorts[key] = g
			groups = append(groups, g)
		}
		g.endpoints = append(g.endpoints, e)
	}
	for _, g := range groups {
		slices.SortFunc(g.endpoints, func(a, b endpoint) int { return cmp.Compare(id(&a.Endpoint), id(&b.Endpoint)) })
		hints(v.Service, g.endpoints)
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(portsKey(a.ports), portsKey(b.ports)) })
	return groups
}

func newEndpoint(s *corev1.Service, p *corev1.Pod, n *corev1.Node, family discoveryv1.AddressType) (e endpoint, ok bool) {
	for _, a := range services.Addresses(p) {
		if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() == (family == discoveryv1.AddressTypeIPv6) {
			e.Addresses = append(e.Addresses, a)
		}
	}
	if len(e.Addresses) == 0 {
		return e, false
	}
	serving, terminating := pods.Ready(p), p.DeletionTimestamp != nil
	ready := s.Spec.PublishNotReadyAddresses || serving && !terminating
	e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
	if p.Spec.NodeName != "" {
		e.NodeName = ptr.To(p.Spec.NodeName)
	}
	if n != nil && zone(n) != "" {
		e.Zone = ptr.To(zone(n))
	}
	if h := services.Hostname(s, p); h != "" {
		e.Hostname = &h
	}
	if c := pods.Condition(p, corev1.PodReady); c != nil {
		e.trigger = c.LastTransitionTime.Time
	}
	return e, true
}

// ports are the Service's ports as the pod has them; one that it has not is left out.
func ports(s *corev1.Service, p *corev1.Pod) (list []discoveryv1.EndpointPort, key string) {
	list = []discoveryv1.EndpointPort{}
	for i := range s.Spec.Ports {
		port := &s.Spec.Ports[i]
		if number, ok := services.Port(p, port); ok {
			list = append(list, discoveryv1.EndpointPort{Name: ptr.To(port.Name), Port: &number, Protocol: ptr.To(port.Protocol), AppProtocol: port.AppProtocol})
		}
	}
	return list, portsKey(list)
}

// portsKey is the same for the same ports, in whatever order.
func portsKey(list []discoveryv1.EndpointPort) string {
	var words []string
	for _, p := range list {
		word := ptr.Deref(p.Name, "") + "/" + string(ptr.Deref(p.Protocol, corev1.ProtocolTCP)) + "/" + strconv.Itoa(int(ptr.Deref(p.Port, 0))) + "/" + ptr.Deref(p.AppProtocol, "")
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// hints says which zone or node an endpoint is for. They are given only if every ready endpoint can have one.
// Source: the Service's field trafficDistribution.
func hints(s *corev1.Service, list []endpoint) {
	how := ptr.Deref(s.Spec.TrafficDistribution, "")
	if how != corev1.ServiceTrafficDistributionPreferClose && how != corev1.ServiceTrafficDistributionPreferSameZone && how != corev1.ServiceTrafficDistributionPreferSameNode {
		return
	}
	for i := range list {
		if *list[i].Conditions.Ready && (list[i].Zone == nil || list[i].NodeName == nil) && how != corev1.ServiceTrafficDistributionPreferSameNode {
			return
		}
	}
	for i := range list {
		e := &list[i]
		if !*e.Conditions.Ready {
			continue
		}
		e.Hints = &discoveryv1.EndpointHints{}
		if e.Zone != nil {
			e.Hints.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
		}
		if how == corev1.ServiceTrafficDistributionPreferSameNode && e.NodeName != nil {
			e.Hints.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
	}
}
