package proxy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// environment is what rules depend on besides the service and its slices.
type environment struct {
	node  string       // this node's name
	zone  string       // its topology zone, or ""
	local []netip.Addr // addresses that the node serves itself
	pods  bool         // whether the pod addresses are known
}

// endpoint is one address and port behind a service port.
type endpoint struct {
	addr        netip.AddrPort
	ready       bool
	serving     bool
	terminating bool
	local       bool // on this node
	zones       []discoveryv1.ForZone
	nodes       []discoveryv1.ForNode
}

// choice is the endpoints that a service port sends to. Slices are sorted by address.
type choice struct {
	cluster []netip.AddrPort // for policy Cluster
	local   []netip.AddrPort // for policy Local: those on this node
	known   bool             // whether there is any usable endpoint anywhere
}

// endpointsOf reads the endpoints of one port name and address family out of the slices. An address
// that is in several slices (as while it moves) counts once, and as ready if it is so in one of them.
// Loopback, link-local and other addresses that no pod can have are left out.
func endpointsOf(all []*discoveryv1.EndpointSlice, port string, proto corev1.Protocol, four bool, node string) []endpoint {
	byAddr := map[netip.AddrPort]endpoint{}
	for _, slice := range all {
		if (slice.AddressType == discoveryv1.AddressTypeIPv4) != four || slice.AddressType == discoveryv1.AddressTypeFQDN || !handled(slice.Labels) {
			continue
		}
		for _, p := range slice.Ports {
			if deref(p.Name, "") != port || deref(p.Protocol, corev1.ProtocolTCP) != proto || deref(p.Port, 0) <= 0 {
				continue
			}
			for _, e := range slice.Endpoints {
				if len(e.Addresses) == 0 {
					continue
				}
				ip, err := netip.ParseAddr(e.Addresses[0])
				if err != nil || ip.Is4() != four || !reachable(ip) {
					continue
				}
				next := endpoint{
					addr:        netip.AddrPortFrom(ip, uint16(*p.Port)),
					ready:       deref(e.Conditions.Ready, true),
					terminating: deref(e.Conditions.Terminating, false),
					local:       deref(e.NodeName, "") == node,
				}
				next.serving = deref(e.Conditions.Serving, next.ready)
				if e.Hints != nil {
					next.zones, next.nodes = e.Hints.ForZones, e.Hints.ForNodes
				}
				if old, ok := byAddr[next.addr]; !ok || !old.ready {
					byAddr[next.addr] = next
				}
			}
		}
	}
	out := make([]endpoint, 0, len(byAddr))
	for _, e := range byAddr {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return out
}

// choose picks the ready endpoints; when there is none, those that are terminating but still serve.
// Hints narrow the cluster's choice to this node or zone when every ready endpoint carries one and
// something is left.
func choose(all []endpoint, env environment) choice {
	ready := func(e endpoint) bool { return e.ready }
	draining := func(e endpoint) bool { return e.serving && e.terminating }
	here := func(e endpoint) bool { return e.local }

	cluster := filter(all, ready)
	if near := hinted(cluster, env); len(near) > 0 {
		cluster = near
	}
	if len(cluster) == 0 {
		cluster = filter(all, draining)
	}
	local := filter(filter(all, here), ready)
	if len(local) == 0 {
		local = filter(filter(all, here), draining)
	}
	return choice{cluster: addresses(cluster), local: addresses(local), known: len(cluster)+len(local) > 0}
}

func hinted(all []endpoint, env environment) []endpoint {
	hasNode := func(e endpoint) bool { return len(e.nodes) > 0 }
	hasZone := func(e endpoint) bool { return len(e.zones) > 0 }
	if len(filter(all, hasNode)) == len(all) {
		near := filter(all, func(e endpoint) bool {
			return slices.Contains(e.nodes, discoveryv1.ForNode{Name: env.node})
		})
		if len(near) > 0 {
			return near
		}
	}
	if env.zone != "" && len(filter(all, hasZone)) == len(all) {
		return filter(all, func(e endpoint) bool {
			return slices.Contains(e.zones, discoveryv1.ForZone{Name: env.zone})
		})
	}
	return nil
}

func filter(all []endpoint, keep func(endpoint) bool) []endpoint {
	var out []endpoint
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func addresses(all []endpoint) []netip.AddrPort {
	out := make([]netip.AddrPort, len(all))
	for i, e := range all {
		out[i] = e.addr
	}
	return out
}

// reachable says whether packets may be sent to the address on behalf of others.
func reachable(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.Is4In6()
}

// handled says whether the object is for this proxy: not headless and not another proxy's.
func handled(labels map[string]string) bool {
	_, other := labels["service.kubernetes.io/service-proxy-name"]
	_, headless := labels[corev1.IsHeadlessService]
	return !other && !headless
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
