package network

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NodeIPs finds this node's addresses, the first of each family, IPv4 first: the address of the interface that the
// default route leaves by; without one, the first global address of any interface that is up and not a bridge
// (most are for containers, ours too); without any, 127.0.0.1. ns is the file descriptor of a network namespace; 0 is the process's own.
func NodeIPs(ns int) ([]netip.Addr, error) {
	h, err := (&kernel{Config: Config{NetNS: ns}}).netlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var out []netip.Addr
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		a := byDefaultRoute(h, f)
		if !a.IsValid() {
			a = anyGlobal(h, f)
		}
		if a.IsValid() {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		out = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return out, nil
}

// NodeIP is the first of NodeIPs in the process's own network namespace.
func NodeIP() (netip.Addr, error) {
	all, err := NodeIPs(0)
	if err != nil {
		return netip.Addr{}, err
	}
	return all[0], nil
}

func byDefaultRoute(h *netlink.Handle, family int) netip.Addr {
	routes, err := h.RouteList(nil, family)
	if err != nil {
		return netip.Addr{}
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
	for _, r := range routes {
		if r.Dst != nil && prefixOf(r.Dst).Bits() != 0 {
			continue
		}
		if a := addrOf(r.Src); a.IsGlobalUnicast() {
			return a
		}
		index := r.LinkIndex
		if index == 0 && len(r.MultiPath) > 0 {
			index = r.MultiPath[0].LinkIndex
		}
		if link, err := h.LinkByIndex(index); err == nil {
			if a := globalOf(h, link, family); a.IsValid() {
				return a
			}
		}
	}
	return netip.Addr{}
}

func anyGlobal(h *netlink.Handle, family int) netip.Addr {
	links, err := h.LinkList()
	if err != nil {
		return netip.Addr{}
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	for _, link := range links {
		flags := link.Attrs().Flags
		if flags&net.FlagUp == 0 || flags&net.FlagLoopback != 0 || link.Type() == "bridge" || link.Attrs().Name == tunnelName {
			continue
		}
		if a := globalOf(h, link, family); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

func globalOf(h *netlink.Handle, link netlink.Link, family int) netip.Addr {
	addrs, err := h.AddrList(link, family)
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		if ip := addrOf(a.IP); ip.IsGlobalUnicast() && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DEPRECATED|unix.IFA_F_TEMPORARY) == 0 {
			return ip
		}
	}
	return netip.Addr{}
}
