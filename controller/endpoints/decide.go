package endpoints

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/services"
)

// limit is how many addresses Endpoints hold; what is more is left out, and said so.
// Source: Kubernetes documentation, Service, Over-capacity endpoints.
const limit = 1000

const (
	managedBy = "endpoints.kubernetes.io/managed-by"
	us        = "endpoint-controller"
	truncated = "truncated"
)

// Decide lists what to write so that the Endpoints show the Service's pods.
func Decide(v View) []controller.Action {
	switch {
	case v.Service == nil:
		if v.Endpoints.Labels[managedBy] == us && v.Endpoints.DeletionTimestamp == nil {
			return []controller.Action{controller.Delete(client.Endpoints, v.Endpoints, "service is gone")}
		}
		return nil
	case len(v.Service.Spec.Selector) == 0 || v.Service.Spec.Type == corev1.ServiceTypeExternalName:
		return nil // somebody else's
	}
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: v.Service.Namespace, Name: v.Service.Name}}
	if v.Endpoints != nil {
		e.ObjectMeta = *v.Endpoints.ObjectMeta.DeepCopy()
	}
	e.Labels = services.Labels(v.Service.Labels, corev1.IsHeadlessService, managedBy)
	e.Labels[managedBy] = us
	if v.Service.Spec.ClusterIP == corev1.ClusterIPNone {
		e.Labels[corev1.IsHeadlessService] = ""
	}
	var cut bool
	if e.Subsets, cut = cutTo(subsets(v), limit); cut {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, corev1.EndpointsOverCapacity, truncated)
	} else {
		delete(e.Annotations, corev1.EndpointsOverCapacity)
	}
	switch old := v.Endpoints; {
	case old == nil:
		return []controller.Action{controller.Create(client.Endpoints, e, "endpoints")}
	case equality.Semantic.DeepEqual(old.Subsets, e.Subsets) && maps.Equal(old.Labels, e.Labels) &&
		old.Annotations[corev1.EndpointsOverCapacity] == e.Annotations[corev1.EndpointsOverCapacity]:
		return nil
	}
	return []controller.Action{controller.Update(client.Endpoints, e, "endpoints")}
}

// subsets groups the pods' addresses by their ports, in an order that depends on nothing else.
func subsets(v View) (out []corev1.EndpointSubset) {
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, p := range v.Pods {
		publish := v.Service.Spec.PublishNotReadyAddresses
		if p.DeletionTimestamp != nil && !publish {
			continue
		}
		ip, ok := address(v.Service, p)
		if !ok {
			continue
		}
		a := corev1.EndpointAddress{IP: ip, Hostname: services.Hostname(v.Service, p),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
		if p.Spec.NodeName != "" {
			a.NodeName = ptr.To(p.Spec.NodeName)
		}
		var ports []corev1.EndpointPort
		for i := range v.Service.Spec.Ports {
			port := &v.Service.Spec.Ports[i]
			if number, ok := services.Port(p, port); ok {
				ports = append(ports, corev1.EndpointPort{Name: port.Name, Port: number, Protocol: port.Protocol, AppProtocol: port.AppProtocol})
			}
		}
		if len(ports) == 0 && len(v.Service.Spec.Ports) > 0 {
			continue // none of the ports is there
		}
		slices.SortFunc(ports, func(a, b corev1.EndpointPort) int { return cmp.Compare(word(a), word(b)) })
		key := key(ports)
		s := byPorts[key]
		if s == nil {
			s = &corev1.EndpointSubset{Ports: ports}
			byPorts[key] = s
		}
		if publish || pods.Ready(p) {
			s.Addresses = append(s.Addresses, a)
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, a)
		}
	}
	byIP := func(a, b corev1.EndpointAddress) int {
		return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
	}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		s := byPorts[key]
		slices.SortFunc(s.Addresses, byIP)
		slices.SortFunc(s.NotReadyAddresses, byIP)
		out = append(out, *s)
	}
	return out
}

// address is the pod's address of the Service's first family.
func address(s *corev1.Service, p *corev1.Pod) (string, bool) {
	v6 := len(s.Spec.IPFamilies) > 0 && s.Spec.IPFamilies[0] == corev1.IPv6Protocol
	if ip, err := netip.ParseAddr(s.Spec.ClusterIP); len(s.Spec.IPFamilies) == 0 && err == nil {
		v6 = ip.Is6()
	}
	for _, a := range services.Addresses(p) {
		if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() == v6 {
			return a, true
		}
	}
	return "", false
}

func word(p corev1.EndpointPort) string {
	return p.Name + "/" + string(p.Protocol) + "/" + strconv.Itoa(int(p.Port)) + "/" + ptr.Deref(p.AppProtocol, "")
}

func key(ports []corev1.EndpointPort) string {
	var words []string
	for _, p := range ports {
		words = append(words, word(p))
	}
	return strings.Join(words, " ")
}

// cutTo leaves at most so many addresses: ready ones first, and of each subset its share.
func cutTo(list []corev1.EndpointSubset, most int) (out []corev1.EndpointSubset, cut bool) {
	ready, all := 0, 0
	for _, s := range list {
		ready += len(s.Addresses)
		all += len(s.Addresses) + len(s.NotReadyAddresses)
	}
	if all <= most {
		return list, false
	}
	readyMost := min(ready, most)
	share := func(a []corev1.EndpointAddress, of, most int, given *int) []corev1.EndpointAddress {
		if of == 0 {
			return nil
		}
		n := min(len(a), (len(a)*most+of-1)/of, most-*given)
		*given += n
		return a[:n]
	}
	givenReady, givenRest := 0, 0
	for _, s := range list {
		s.Addresses = share(s.Addresses, ready, readyMost, &givenReady)
		s.NotReadyAddresses = share(s.NotReadyAddresses, all-ready, most-readyMost, &givenRest)
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			out = append(out, s)
		}
	}
	return out, true
}
