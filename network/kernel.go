package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	routeProtocol = 0x4d // marks our routes, so that we remove no one else's
	tunnelName    = "lighter.1"
	tunnelID      = 1
	tunnelPort    = 4789
)

// kernel brings routes, tunnel and rules of one network namespace to a plan.
type kernel struct {
	Config
	rules rules // as last written
}

func (k *kernel) netlink() (*netlink.Handle, error) {
	h, err := func() (*netlink.Handle, error) {
		if k.NetNS > 0 {
			return netlink.NewHandleAt(netns.NsHandle(k.NetNS), unix.NETLINK_ROUTE)
		}
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}()
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}

// apply makes the ways to the peers, and only those.
func (k *kernel) apply(self peer, peers []peer) error {
	h, err := k.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	ips := k.NodeIPs
	if len(ips) == 0 {
		ips = self.ips
	}
	if len(ips) == 0 {
		return errors.New("this node has no address")
	}
	p := planFor(ips[0], self.pods, peers, func(a netip.Addr) int { return onLink(h, a) })
	tunnel, err := k.tunnel(h, p, ips[0], self)
	if err != nil {
		return err
	}
	return errors.Join(k.routes(h, p, tunnel), k.masquerade(self))
}

// onLink returns the index of the link on whose network the address is, or 0.
func onLink(h *netlink.Handle, a netip.Addr) int {
	routes, err := h.RouteGet(a.AsSlice())
	if err != nil || len(routes) == 0 || len(routes[0].Gw) > 0 || routes[0].Type != unix.RTN_UNICAST {
		return 0
	}
	return routes[0].LinkIndex
}

// routes adds and replaces the plan's routes and removes our others.
func (k *kernel) routes(h *netlink.Handle, p plan, tunnel int) error {
	have, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var all error
	done := map[netip.Prefix]bool{}
	for _, r := range have {
		cidr := prefixOf(r.Dst)
		want, ok := p.routes[cidr]
		link := want.link
		if want.tunnel {
			link = tunnel
		}
		if ok && r.LinkIndex == link && addrOf(r.Gw) == want.via {
			done[cidr] = true
		} else if !ok {
			if err := h.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
				all = errors.Join(all, fmt.Errorf("remove route %s: %w", cidr, err))
			}
		}
	}
	for cidr, want := range p.routes {
		if done[cidr] {
			continue
		}
		r := netlink.Route{Dst: ipNet(cidr), Gw: want.via.AsSlice(), LinkIndex: want.link, Protocol: routeProtocol}
		if want.tunnel {
			r.LinkIndex = tunnel
			r.SetFlag(netlink.FLAG_ONLINK)
		}
		if err := h.RouteReplace(&r); err != nil {
			all = errors.Join(all, fmt.Errorf("add route %s: %w", cidr, err))
		}
	}
	return all
}

// tunnel makes the tunnel and its other ends as the plan wants them and returns its link, or removes it.
func (k *kernel) tunnel(h *netlink.Handle, p plan, from netip.Addr, self peer) (int, error) {
	link, err := h.LinkByName(tunnelName)
	var missing netlink.LinkNotFoundError
	switch {
	case err != nil && !errors.As(err, &missing):
		return 0, fmt.Errorf("find tunnel: %w", err)
	case len(p.tunnel) == 0:
		if err == nil {
			if err := h.LinkDel(link); err != nil {
				return 0, fmt.Errorf("remove tunnel: %w", err)
			}
		}
		return 0, nil
	}
	if link, err = k.tunnelLink(h, link, from); err != nil {
		return 0, err
	}
	index := link.Attrs().Index
	for _, cidr := range self.pods { // an address, so that what the node itself sends has a source
		bits := cidr.Addr().BitLen()
		a := &netlink.Addr{IPNet: &net.IPNet{IP: cidr.Addr().AsSlice(), Mask: net.CIDRMask(bits, bits)}, Flags: unix.IFA_F_NODAD}
		if cidr.Addr().Is4() {
			a.Flags = 0
		}
		if err := h.AddrReplace(link, a); err != nil {
			return 0, fmt.Errorf("give tunnel its address: %w", err)
		}
	}
	return index, k.remotes(h, index, p.tunnel)
}

// tunnelLink makes the tunnel's device, anew when it is there but begins elsewhere.
func (k *kernel) tunnelLink(h *netlink.Handle, have netlink.Link, from netip.Addr) (netlink.Link, error) {
	want := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: tunnelName, HardwareAddr: tunnelMAC(from), MTU: k.mtu(h, from)},
		VxlanId: tunnelID, Port: tunnelPort, SrcAddr: from.AsSlice(), Learning: false}
	if old, ok := have.(*netlink.Vxlan); ok && addrOf(old.SrcAddr) == from && old.VxlanId == tunnelID && old.Port == tunnelPort &&
		slices.Equal(old.HardwareAddr, want.HardwareAddr) && old.MTU == want.MTU {
		return old, nil
	}
	if have != nil {
		if err := h.LinkDel(have); err != nil {
			return nil, fmt.Errorf("remove old tunnel: %w", err)
		}
	}
	if err := h.LinkAdd(want); err != nil {
		return nil, fmt.Errorf("make tunnel: %w", err)
	}
	link, err := h.LinkByName(tunnelName)
	if err != nil {
		return nil, fmt.Errorf("find tunnel: %w", err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set tunnel up: %w", err)
	}
	return link, nil
}

// mtu is what fits through the tunnel: the size of the link it goes over less its own headers.
func (k *kernel) mtu(h *netlink.Handle, from netip.Addr) int {
	size, headers := 1500, 50
	if from.Is6() {
		headers = 70
	}
	links, err := h.LinkList()
	if err != nil {
		return size - headers
	}
	for _, l := range links {
		addrs, _ := h.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if addrOf(a.IP) == from && l.Attrs().MTU > 1280 && l.Attrs().Flags&net.FlagLoopback == 0 {
				size = l.Attrs().MTU
			}
		}
	}
	return size - headers
}

// remotes makes the neighbours of the tunnel: to which node a link address is sent, and which link address
// a tunnel address has. Both are permanent: nothing is asked over the wire.
func (k *kernel) remotes(h *netlink.Handle, index int, want []remote) error {
	var all error
	keep := map[string]bool{}
	set := func(n netlink.Neigh) {
		keep[neighKey(n)] = true
		n.LinkIndex, n.State = index, netlink.NUD_PERMANENT
		if err := h.NeighSet(&n); err != nil {
			all = errors.Join(all, fmt.Errorf("set tunnel's neighbour %s: %w", n.IP, err))
		}
	}
	for _, r := range want {
		set(netlink.Neigh{Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, HardwareAddr: r.mac, IP: r.node.AsSlice()})
		for _, ip := range r.ips {
			set(netlink.Neigh{Family: familyOf(ip), HardwareAddr: r.mac, IP: ip.AsSlice()})
		}
	}
	for _, f := range []int{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		have, err := h.NeighList(index, f)
		if err != nil {
			return errors.Join(all, fmt.Errorf("list tunnel's neighbours: %w", err))
		}
		for _, n := range have {
			n.Family = f
			if n.State&netlink.NUD_PERMANENT != 0 && !keep[neighKey(n)] {
				if err := h.NeighDel(&n); err != nil && !errors.Is(err, syscall.ENOENT) {
					all = errors.Join(all, fmt.Errorf("remove tunnel's neighbour %s: %w", n.IP, err))
				}
			}
		}
	}
	return all
}

func neighKey(n netlink.Neigh) string {
	return fmt.Sprint(n.Family, n.HardwareAddr, addrOf(n.IP))
}

// remove takes away all that apply makes.
func (k *kernel) remove() error {
	h, err := k.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	all := k.routes(h, plan{}, 0)
	if _, err := k.tunnel(h, plan{}, netip.Addr{}, peer{}); err != nil {
		all = errors.Join(all, err)
	}
	return errors.Join(all, k.removeRules())
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
