package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A process of the node that has just been asked answers within this time, or its answer is late anyway.
const (
	answerTime = 20 * time.Millisecond
	passes     = 20
)

// forget removes the UDP connections that lead where their entry no longer does. UDP has no end that
// the kernel could see: a client that keeps sending from one port would reach a dead endpoint for ever.
func (k *kernel) forget(udp staleUDP) error {
	h, err := k.netlink(unix.NETLINK_NETFILTER, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	filter := &staleFlows{udp: udp, node: map[netip.Addr]bool{}}
	for _, a := range addrs {
		if ip := addrOf(a.IP); !slices.Contains(k.LocalAddresses, ip) {
			filter.node[ip] = true
		}
	}
	// A process of the node whose port a pod has got may answer what it was sent before, after the connection
	// was removed. That makes a new one, which leads to it again.
	for range passes {
		filter.taken = false
		for _, fam := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, fam, filter); err != nil {
				return fmt.Errorf("delete connections: %w", err)
			}
		}
		if !filter.taken {
			break
		}
		time.Sleep(answerTime)
	}
	return nil
}

// staleUDP says which connections to remove. Its keys are the entries, its values where they may lead.
type staleUDP map[entry][]netip.AddrPort

// staleFlows matches connections to remove.
type staleFlows struct {
	udp   staleUDP
	node  map[netip.Addr]bool // this node's addresses on which host ports answer
	taken bool                // matched one with a process of the node whose port a pod has
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s *staleFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to := netip.AddrPortFrom(addrOf(f.Forward.DstIP), f.Forward.DstPort)
	end := netip.AddrPortFrom(addrOf(f.Reverse.SrcIP), f.Reverse.SrcPort)
	if to == end { // not translated
		begun := netip.AddrPortFrom(addrOf(f.Forward.SrcIP), f.Forward.SrcPort)
		if s.ofPod(to) || s.ofPod(begun) {
			s.taken = true
			return true
		}
		_, ok := s.udp[entryAt(to)]
		return ok
	}
	at := entryAt(to)
	anywhere := at
	anywhere.Addr = netip.Addr{}
	for _, e := range []entry{at, host(at), host(anywhere), anywhere} { // in the order of the rules
		if ends, ok := s.udp[e]; ok {
			return !slices.Contains(ends, end)
		}
	}
	return false
}

// ofPod says whether a pod has the node's port.
func (s *staleFlows) ofPod(a netip.AddrPort) bool {
	e := host(entryAt(a))
	if ends := s.udp[e]; len(ends) > 0 {
		return s.node[a.Addr()]
	}
	e.Addr = netip.Addr{}
	return len(s.udp[e]) > 0 && s.node[a.Addr()] && !a.Addr().IsLoopback()
}

func entryAt(a netip.AddrPort) entry {
	return entry{Addr: a.Addr(), Proto: unix.IPPROTO_UDP, Port: a.Port(), Six: !a.Addr().Is4()}
}

func host(e entry) entry {
	e.Host = true
	return e
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
