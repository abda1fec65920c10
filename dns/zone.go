package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// answer is what the cluster knows about a name.
type answer struct {
	exists    bool         // the name is there, be it without a record of the asked type
	addresses []netip.Addr // of the name, both families
	services  []*dns.SRV   // without header names
	extra     []hostAddr   // addresses of the targets in services
	texts     []string
	alias     string // where the name is another name for, with a dot at the end
}

// hostAddr is an address of another name than the one asked for.
type hostAddr struct {
	name string
	addr netip.Addr
}

// lookup answers a name of the domain, given relative to it. The specification's schema 1.1:
//
//	dns-version                                TXT "1.1.0"
//	<service>.<ns>.svc                         addresses: the cluster's, or those of ready endpoints
//	<hostname>.<service>.<ns>.svc              addresses of one endpoint of a headless service
//	_<port>._<proto>.<service>.<ns>.svc        SRV for a named port
//	<a>-<b>-<c>-<d>.<ns>.pod                   the address that it spells
func (x *index) lookup(labels []string) answer {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := len(labels)
	if n == 0 {
		return answer{exists: true}
	}
	switch last := labels[n-1]; {
	case last == "dns-version" && n == 1:
		return answer{exists: true, texts: []string{"1.1.0"}}
	case last != "svc" && last != "pod":
		return answer{}
	case n == 1:
		return answer{exists: true}
	case n == 2:
		return answer{exists: x.namespaces[labels[0]]}
	case last == "pod":
		if n != 3 || !x.namespaces[labels[1]] {
			return answer{}
		}
		a, ok := spelled(labels[0])
		if !ok {
			return answer{}
		}
		return answer{exists: true, addresses: []netip.Addr{a}}
	}
	key := types.NamespacedName{Namespace: labels[n-2], Name: labels[n-3]}
	svc := x.services[key]
	if svc == nil {
		return answer{}
	}
	rest := labels[:n-3]
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		if len(rest) > 0 {
			return answer{}
		}
		return answer{exists: true, alias: dns.Fqdn(svc.Spec.ExternalName)}
	}
	switch {
	case len(rest) == 0:
		return x.serviceAddresses(svc, key)
	case len(rest) == 1 && !strings.HasPrefix(rest[0], "_") && headless(svc):
		return x.hostAddresses(svc, key, rest[0])
	case len(rest) == 1: // "_tcp" is there when something is under it
		return answer{exists: slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
			return p.Name != "" && "_"+strings.ToLower(string(p.Protocol)) == rest[0]
		})}
	case len(rest) == 2 && strings.HasPrefix(rest[0], "_") && strings.HasPrefix(rest[1], "_"):
		return x.servicePorts(svc, key, rest[0][1:], rest[1][1:])
	}
	return answer{}
}

func (x *index) serviceAddresses(svc *corev1.Service, key types.NamespacedName) answer {
	if !headless(svc) {
		return answer{exists: true, addresses: clusterIPs(svc)}
	}
	var a answer
	for e := range x.ready(svc, key) {
		a.addresses = append(a.addresses, e.addr)
	}
	a.addresses = unique(a.addresses)
	a.exists = len(a.addresses) > 0 // without ready endpoints the specification wants NXDOMAIN
	return a
}

func (x *index) hostAddresses(svc *corev1.Service, key types.NamespacedName, host string) answer {
	var a answer
	for e := range x.ready(svc, key) {
		if e.host == host {
			a.addresses = append(a.addresses, e.addr)
		}
	}
	a.addresses = unique(a.addresses)
	a.exists = len(a.addresses) > 0
	return a
}

func (x *index) servicePorts(svc *corev1.Service, key types.NamespacedName, port, proto string) answer {
	var a answer
	add := func(number uint16, target string, addrs ...netip.Addr) {
		srv := &dns.SRV{Port: number, Target: target}
		if !slices.ContainsFunc(a.services, func(s *dns.SRV) bool { return s.Port == number && s.Target == target }) {
			a.services = append(a.services, srv)
		}
		for _, addr := range addrs {
			if h := (hostAddr{target, addr}); !slices.Contains(a.extra, h) {
				a.extra = append(a.extra, h)
			}
		}
	}
	if !headless(svc) {
		for _, p := range svc.Spec.Ports {
			if p.Name != "" && strings.EqualFold(p.Name, port) && strings.EqualFold(string(p.Protocol), proto) {
				add(uint16(p.Port), x.nameOf(key), clusterIPs(svc)...)
			}
		}
	} else if port != "" {
		for e := range x.ready(svc, key) {
			for _, p := range e.slice.Ports {
				if p.Name == nil || !strings.EqualFold(*p.Name, port) || p.Port == nil {
					continue
				}
				have := corev1.ProtocolTCP
				if p.Protocol != nil {
					have = *p.Protocol
				}
				if strings.EqualFold(string(have), proto) {
					add(uint16(*p.Port), e.host+"."+x.nameOf(key), e.addr)
				}
			}
		}
	}
	for _, s := range a.services {
		s.Weight = uint16(max(1, 100/len(a.services)))
	}
	a.exists = len(a.services) > 0
	return a
}

// pointers returns the names of an address.
func (x *index) pointers(a netip.Addr) (names []string) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, p := range x.reverse[a] {
		names = append(names, p.name)
	}
	return names
}

// spelled reads an address written with dashes: "10-0-0-1", "fd00--1".
func spelled(label string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil && a.Zone() == ""
}

// reversed reads the address out of a name under in-addr.arpa or ip6.arpa.
func reversed(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(rest, ".")
		slices.Reverse(parts)
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i := range 32 {
		digit, err := strconv.ParseUint(rest[2*(31-i):2*(31-i)+1], 16, 8)
		if err != nil || i > 0 && rest[2*(31-i)+1] != '.' {
			return netip.Addr{}, false
		}
		b[i/2] = b[i/2]<<4 | byte(digit)
	}
	return netip.AddrFrom16(b), true
}

func unique(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
