package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// ruleset is all that the kernel must know about one service, or one pod with host ports: pure data, compared and printed by value.
type ruleset struct {
	Chains   map[string][]step // by name; a name holds its owner's namespace and name, so it is unique
	Entries  map[entry]string  // where traffic comes in, and the chain that it goes to; "" is refused
	Affinity map[string]bool   // names of the sets that remember clients; true is IPv6
	Hairpin  []netip.Addr      // endpoints on this node, which may reach themselves through the service
	UDP      map[entry][]netip.AddrPort
	Health   localHealth
}

// entry is an address, protocol and port that a service or a pod's host port answers on. Addr is unset for a
// node port, and for a host port on all of the node's addresses.
type entry struct {
	Addr  netip.Addr
	Proto uint8
	Port  uint16
	Six   bool // IPv6
	Host  bool // a pod's host port: Addr counts only where it is this node's
}

// step is one step of a chain: when its condition holds, do what it says, in the order of the fields.
type step struct {
	From    origin
	Prefix  netip.Prefix // for fromPrefix
	Mark    bool         // masquerade the connection when it leaves
	Goto    string
	Drop    bool
	Balance *balance
}

// origin is a condition on where a packet comes from.
type origin uint8

const (
	fromAnywhere origin = iota
	fromPods            // a pod's address
	fromOutside         // not a pod's address
	fromHost            // an address of this node
	fromPrefix
)

// balance sends a new connection to one of To, at random or, with Affinity, where the client went before.
type balance struct {
	To       []netip.AddrPort
	Affinity string // the set that remembers clients, or ""
	Timeout  time.Duration
}

// localHealth is what a load balancer may ask about a service with policy Local.
type localHealth struct {
	Port  uint16 // 0 is none
	Local int    // endpoints on this node
}

var protocols = map[corev1.Protocol]uint8{corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}

// compile makes a service's rules. A nil service, or one that has no cluster address or is not for this
// proxy, has none.
func compile(svc *corev1.Service, all []*discoveryv1.EndpointSlice, env environment) ruleset {
	r := newRuleset()
	if svc == nil || !handled(svc.Labels) || svc.Spec.Type == corev1.ServiceTypeExternalName ||
		svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.ClusterIP == "" {
		return r
	}
	hairpin := map[netip.Addr]bool{}
	for _, six := range []bool{false, true} {
		f := facesOf(svc, six, env)
		if !f.any {
			continue
		}
		for _, port := range svc.Spec.Ports {
			if protocols[port.Protocol] == 0 {
				continue
			}
			list := endpointsOf(all, port.Name, port.Protocol, !six, env.node)
			picked := choose(list, env)
			for _, e := range list {
				if e.local {
					hairpin[e.addr.Addr()] = true
				}
			}
			r.port(svc, port, six, f, picked, env)
			if localOnly(svc) && svc.Spec.HealthCheckNodePort != 0 {
				r.Health = localHealth{Port: uint16(svc.Spec.HealthCheckNodePort), Local: max(r.Health.Local, len(picked.local))}
			}
		}
	}
	r.Hairpin = sorted(hairpin)
	return r
}

func newRuleset() ruleset {
	return ruleset{Chains: map[string][]step{}, Entries: map[entry]string{}, Affinity: map[string]bool{}, UDP: map[entry][]netip.AddrPort{}}
}

func sorted(set map[netip.Addr]bool) (out []netip.Addr) {
	for a := range set {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// port adds the rules of one port in one address family. The chains:
//
//	svc   to any endpoint, for cluster addresses and as the goal of others
//	int   to this node's endpoints, for cluster addresses with internal policy Local
//	ext   from elsewhere: masquerade, then svc; or with policy Local to this node's endpoints as they are
//	lb    only from the load balancer's source ranges to ext
func (r *ruleset) port(svc *corev1.Service, port corev1.ServicePort, six bool, f faces, to choice, env environment) {
	proto, family := protocols[port.Protocol], "4"
	if six {
		family = "6"
	}
	name := func(kind string) string {
		return fmt.Sprintf("%s%s/%s/%s/%s/%d", kind, family, svc.Namespace, svc.Name, strings.ToLower(string(port.Protocol)), port.Port)
	}
	enter := func(addrs []netip.Addr, chain string, ends []netip.AddrPort) {
		for _, a := range addrs {
			e := entry{Addr: a, Proto: proto, Port: uint16(port.Port), Six: six}
			if !a.IsValid() {
				e.Port = uint16(port.NodePort)
			}
			if _, taken := r.Entries[e]; taken {
				continue
			}
			r.Entries[e] = chain
			if port.Protocol == corev1.ProtocolUDP {
				r.UDP[e] = ends
			}
		}
	}
	external := slices.Concat(f.external, f.nodePort(port))
	if !to.known {
		enter(slices.Concat(f.cluster, external, f.balanced), "", nil)
		return
	}
	balance := func(ends []netip.AddrPort) []step {
		if len(ends) == 0 {
			return []step{{Drop: true}}
		}
		b := &balance{To: ends}
		if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			b.Affinity, b.Timeout = name("aff"), affinityTimeout(svc)
			r.Affinity[b.Affinity] = six
		}
		return []step{{Balance: b}}
	}
	var outside []step
	if env.pods {
		outside = []step{{From: fromOutside, Mark: true}}
	}
	r.Chains[name("svc")] = slices.Concat(outside, balance(to.cluster))
	if svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal {
		r.Chains[name("int")] = slices.Concat(outside, balance(to.local))
		enter(f.cluster, name("int"), to.local)
	} else {
		enter(f.cluster, name("svc"), to.cluster)
	}
	if len(external)+len(f.balanced) == 0 {
		return
	}
	ends := to.cluster
	if localOnly(svc) {
		ext := []step{{From: fromHost, Mark: true, Goto: name("svc")}}
		if env.pods { // pods and the node itself need no load balancer: for them the policy is Cluster
			ext = append([]step{{From: fromPods, Goto: name("svc")}}, ext...)
		}
		ends = slices.Concat(to.local, to.cluster)
		r.Chains[name("ext")] = append(ext, balance(to.local)...)
	} else {
		r.Chains[name("ext")] = []step{{Mark: true}, {Goto: name("svc")}}
	}
	enter(external, name("ext"), ends)
	if len(f.ranges) == 0 {
		enter(f.balanced, name("ext"), ends)
		return
	}
	var lb []step
	for _, p := range f.ranges {
		if p.Addr().Is4() != six {
			lb = append(lb, step{From: fromPrefix, Prefix: p, Goto: name("ext")})
		}
	}
	r.Chains[name("lb")] = append(lb, step{Drop: true})
	enter(f.balanced, name("lb"), ends)
}

// faces are the addresses of one family on which a service answers.
type faces struct {
	any      bool
	cluster  []netip.Addr
	external []netip.Addr
	balanced []netip.Addr // of its load balancer
	nodes    bool         // node ports count
	ranges   []netip.Prefix
}

func (f faces) nodePort(p corev1.ServicePort) []netip.Addr {
	if !f.nodes || p.NodePort == 0 {
		return nil
	}
	return []netip.Addr{{}}
}

func facesOf(svc *corev1.Service, six bool, env environment) faces {
	pick := func(texts ...string) (out []netip.Addr) {
		for _, t := range texts {
			if a, err := netip.ParseAddr(t); err == nil && a.Is4() != six && reachable(a) {
				out = append(out, a)
			}
		}
		return without(out, env.local)
	}
	f := faces{external: pick(svc.Spec.ExternalIPs...)}
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	f.cluster = pick(ips...)
	for _, ip := range ips { // the families of a service are those of its cluster addresses
		if a, err := netip.ParseAddr(ip); err == nil && a.Is4() != six {
			f.nodes = svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
				f.balanced = append(f.balanced, pick(in.IP)...)
			}
		}
		for _, text := range svc.Spec.LoadBalancerSourceRanges {
			if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
				f.ranges = append(f.ranges, p.Masked())
			}
		}
	}
	f.any = len(f.cluster)+len(f.external)+len(f.balanced) > 0 || f.nodes
	return f
}

func localOnly(svc *corev1.Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func affinityTimeout(svc *corev1.Service) time.Duration {
	seconds := int32(corev1.DefaultClientIPServiceAffinitySeconds)
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
		seconds = deref(c.ClientIP.TimeoutSeconds, seconds)
	}
	return time.Duration(seconds) * time.Second
}
