package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podKey is the owner of a pod's rules in the table. No service's namespace begins with a slash, and it sorts
// before them all.
func podKey(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: "/" + p.Namespace, Name: p.Name}
}

// hostPorts makes the rules of the ports that a pod wants of its node: each leads to the pod, whoever asks,
// and keeps the source. A pod that has ended, has no address yet or has its node's addresses has none.
//
// A port answers on every local address, or on that of its hostIP alone. It does not answer on loopback
// addresses, unless hostIP is one: then to whoever asks on this node from another of its addresses. An
// answer to 127.0.0.1 itself could come back from the pod's device only where the kernel is told to route
// loopback addresses (route_localnet), and then pods and neighbours reach what listens on loopback.
// Source: Pod API, ContainerPort; CNI plugin portmap.
func hostPorts(p *corev1.Pod, env environment) ruleset {
	r := newRuleset()
	if !wantsHostPorts(p) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return r
	}
	hairpin := map[netip.Addr]bool{}
	for port := range portsOf(p) {
		proto := cmp.Or(port.Protocol, corev1.ProtocolTCP)
		for _, pod := range addressesOf(p) {
			e := entry{Proto: protocols[proto], Port: uint16(port.HostPort), Six: pod.Is6(), Host: true}
			if host, err := netip.ParseAddr(port.HostIP); err == nil && !host.IsUnspecified() {
				e.Addr = host.Unmap()
			} else if err != nil && port.HostIP != "" {
				continue
			}
			if _, taken := r.Entries[e]; taken || e.Proto == 0 || e.Addr.IsValid() && (e.Addr.Is6() != e.Six || slices.Contains(env.local, e.Addr)) {
				continue
			}
			to := netip.AddrPortFrom(pod, uint16(port.ContainerPort))
			name := fmt.Sprintf("host%s/%s/%s/%s/%s", family(e.Six), p.Namespace, p.Name, strings.ToLower(string(proto)), to)
			r.Chains[name] = []step{{Balance: &balance{To: []netip.AddrPort{to}}}}
			r.Entries[e] = name
			if proto == corev1.ProtocolUDP {
				r.UDP[e] = []netip.AddrPort{to}
			}
			hairpin[pod] = true
		}
	}
	r.Hairpin = sorted(hairpin)
	return r
}

// portsOf yields the ports with a host port, of all containers that run beside each other.
func portsOf(p *corev1.Pod) func(func(corev1.ContainerPort) bool) {
	return func(yield func(corev1.ContainerPort) bool) {
		for i, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
			if i >= len(p.Spec.Containers) && deref(c.RestartPolicy, "") != corev1.ContainerRestartPolicyAlways {
				continue
			}
			for _, port := range c.Ports {
				if port.HostPort > 0 && port.HostPort < 1<<16 && port.ContainerPort > 0 && port.ContainerPort < 1<<16 && !yield(port) {
					return
				}
			}
		}
	}
}

// wantsHostPorts says whether the pod has anything for hostPorts to do. Of most it has not.
func wantsHostPorts(p *corev1.Pod) bool {
	if p != nil && !p.Spec.HostNetwork {
		for range portsOf(p) {
			return true
		}
	}
	return false
}

// addressesOf are the pod's addresses that may be sent to: one, or one of each family.
func addressesOf(p *corev1.Pod) (out []netip.Addr) {
	texts := []string{p.Status.PodIP}
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && reachable(a) && !slices.ContainsFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			out = append(out, a)
		}
	}
	return out
}
