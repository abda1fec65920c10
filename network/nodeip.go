package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// NodeIP is the address by which other machines reach this one: that of the default route's
// interface; without such a route the first global one of any interface that is up; else loopback.
func NodeIP() (netip.Addr, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() || r.Gw == nil && r.LinkIndex == 0 {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Src.To4()); ok {
			return a, nil
		}
		if link, err := net.InterfaceByIndex(r.LinkIndex); err == nil {
			if a, ok := global(link); ok {
				return a, nil
			}
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list interfaces: %w", err)
	}
	for n := range links {
		if links[n].Flags&net.FlagUp == 0 || links[n].Flags&net.FlagLoopback != 0 {
			continue
		}
		if a, ok := global(&links[n]); ok {
			return a, nil
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
}

// global is an interface's first global address, IPv4 before IPv6.
func global(link *net.Interface) (found netip.Addr, ok bool) {
	addrs, err := link.Addrs()
	if err != nil {
		return found, false
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().IsGlobalUnicast() {
			continue
		}
		if p.Addr().Is4() {
			return p.Addr(), true
		}
		if !ok {
			found, ok = p.Addr(), true
		}
	}
	return found, ok
}
