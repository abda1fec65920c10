package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// BindAddress gives the node the address on its loopback device, so that a server can listen on it and
// pods, whose default route is the node, reach it there. It is done when it is there already. ns is the file
// descriptor of a network namespace; 0 is the process's own.
func BindAddress(ip netip.Addr, ns int) error {
	return onLoopback(ns, func(h *netlink.Handle, lo netlink.Link) error {
		if err := h.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		if err := h.AddrReplace(lo, address(ip)); err != nil {
			return fmt.Errorf("add address %s: %w", ip, err)
		}
		return nil
	})
}

// ReleaseAddress takes the address away again; it is done when it is not there.
func ReleaseAddress(ip netip.Addr, ns int) error {
	return onLoopback(ns, func(h *netlink.Handle, lo netlink.Link) error {
		if err := h.AddrDel(lo, address(ip)); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s: %w", ip, err)
		}
		return nil
	})
}

func onLoopback(ns int, f func(*netlink.Handle, netlink.Link) error) error {
	handle := func() (*netlink.Handle, error) { return netlink.NewHandle(syscall.NETLINK_ROUTE) }
	if ns > 0 {
		handle = func() (*netlink.Handle, error) {
			return netlink.NewHandleAt(netns.NsHandle(ns), syscall.NETLINK_ROUTE)
		}
	}
	h, err := handle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return f(h, lo)
}

func address(ip netip.Addr) *netlink.Addr {
	bits := ip.BitLen()
	// Scope host: the kernel must not choose it as the source of what the node sends.
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, bits)}, Scope: int(netlink.SCOPE_HOST)}
	if ip.Is6() {
		a.Flags = 0x02 // IFA_F_NODAD: usable at once
	}
	return a
}
