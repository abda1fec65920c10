package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// routeProtocol marks our routes, so that we remove no one else's.
const routeProtocol = 0x4c

// netlink opens a handle in the configured namespace.
func (k *kernel) netlink(families ...int) (*netlink.Handle, error) {
	if k.NetNS > 0 {
		return netlink.NewHandleAt(netns.NsHandle(k.NetNS), families...)
	}
	return netlink.NewHandle(families...)
}

// route sends the cluster addresses to the loopback device. A process of the node needs some route before
// its connect gets as far as our output chain, which then sends it on to an endpoint.
func (k *kernel) route() error {
	h, err := k.netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	for _, p := range k.ServiceCIDRs {
		r := netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipNet(p), Protocol: routeProtocol, Scope: netlink.SCOPE_UNIVERSE}
		for _, ip := range k.NodeIPs {
			if ip.Is4() == p.Addr().Is4() && !ip.IsLoopback() {
				r.Src = ip.AsSlice()
				break
			}
		}
		err := h.RouteReplace(&r)
		if errors.Is(err, syscall.EINVAL) && r.Src != nil { // the node does not have that address (any more)
			r.Src = nil
			err = h.RouteReplace(&r)
		}
		if err != nil {
			return fmt.Errorf("route %s: %w", p, err)
		}
	}
	return nil
}

func (k *kernel) unroute() error {
	h, err := k.netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	routes, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	var all error
	for _, r := range routes {
		if r.LinkIndex == lo.Attrs().Index {
			all = errors.Join(all, h.RouteDel(&r))
		}
	}
	return all
}

func ipNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
