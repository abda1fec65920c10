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
	for _, fam := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, fam, udp); err != nil {
			return fmt.Errorf("delete connections: %w", err)
		}
	}
	return nil
}

// staleUDP matches connections to remove. Its keys are the entries, its values where they may lead.
type staleUDP map[entry][]netip.AddrPort

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleUDP) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, from := addrOf(f.Forward.DstIP), addrOf(f.Reverse.SrcIP)
	ends, ok := s[entry{Addr: to, Proto: unix.IPPROTO_UDP, Port: f.Forward.DstPort, Six: !to.Is4()}]
	if !ok {
		if to == from {
			return false // not translated: no node port's
		}
		ends, ok = s[entry{Proto: unix.IPPROTO_UDP, Port: f.Forward.DstPort, Six: !to.Is4()}]
	}
	return ok && !slices.Contains(ends, netip.AddrPortFrom(from, f.Reverse.SrcPort))
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
