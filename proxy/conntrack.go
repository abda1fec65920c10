package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forget removes the UDP connections that lead where their entry no longer does. UDP has no end that
// the kernel could see: a client that keeps sending from one port would reach a dead endpoint for ever.
func (k *kernel) forget(udp staleUDP) error {
	h, err := k.netlink(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	filter := staleFlows{udp, map[netip.Addr]bool{}}
	addrs, err := k.addresses()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		filter.node[addrOf(a.IP)] = true
	}
	for _, fam := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, fam, filter); err != nil {
			return fmt.Errorf("delete connections: %w", err)
		}
	}
	return nil
}

func (k *kernel) addresses() ([]netlink.Addr, error) {
	h, err := k.netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return addrs, nil
}

// staleUDP says which connections to remove. Its keys are the entries, its values where they may lead.
type staleUDP map[entry][]netip.AddrPort

// staleFlows matches connections to remove.
type staleFlows struct {
	udp  staleUDP
	node map[netip.Addr]bool // this node's addresses
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, from := addrOf(f.Forward.DstIP), addrOf(f.Reverse.SrcIP)
	at := entry{Addr: to, Proto: unix.IPPROTO_UDP, Port: f.Forward.DstPort, Six: !to.Is4()}
	anywhere := at
	anywhere.Addr = netip.Addr{}
	ends, ok := s.udp[at]
	if !ok && to == from && !s.node[to] {
		return false // not translated and not for this node
	}
	for _, e := range []entry{at, anywhere} { // in the order of the rules
		if !ok {
			e.Host = true
			ends, ok = s.udp[e]
		}
	}
	if !ok && to != from {
		ends, ok = s.udp[anywhere]
	}
	return ok && !slices.Contains(ends, netip.AddrPortFrom(from, f.Reverse.SrcPort))
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
