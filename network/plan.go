package network

import (
	"net"
	"net/netip"
)

// plan is what the kernel should have for the other nodes' pods.
type plan struct {
	routes map[netip.Prefix]way
	tunnel []remote // empty when every node is on a network of ours
}

// way is how packets for some pods leave: to the node itself over a link, or through the tunnel to the
// tunnel address of the other side.
type way struct {
	via    netip.Addr
	link   int // index of the link; 0 for the tunnel
	tunnel bool
}

// remote is the other side of the tunnel.
type remote struct {
	node netip.Addr // where the packets go
	mac  net.HardwareAddr
	ips  []netip.Addr // its tunnel addresses
}

// planFor decides the ways. self is this node's address, whose family tunnels have; own are its pods. onLink
// tells on which link an address is directly reachable, 0 when it is not. Where two nodes claim the same pods
// the first has them.
func planFor(self netip.Addr, own []netip.Prefix, peers []peer, onLink func(netip.Addr) int) plan {
	p := plan{routes: map[netip.Prefix]way{}}
	taken := map[netip.Prefix]bool{}
	for _, cidr := range own {
		taken[cidr] = true
	}
	for _, node := range peers {
		var far *remote
		for _, cidr := range node.pods {
			if taken[cidr] {
				continue
			}
			taken[cidr] = true
			if via, link := direct(node.ips, cidr.Addr().Is4(), onLink); link != 0 {
				p.routes[cidr] = way{via: via, link: link}
				continue
			}
			end := sameFamily(node.ips, self.Is4())
			if !end.IsValid() || end == self {
				continue
			}
			if far == nil {
				p.tunnel = append(p.tunnel, remote{node: end, mac: tunnelMAC(end)})
				far = &p.tunnel[len(p.tunnel)-1]
			}
			far.ips = append(far.ips, cidr.Addr())
			p.routes[cidr] = way{via: cidr.Addr(), tunnel: true}
		}
	}
	return p
}

// direct finds an address of the family that is on one of our networks.
func direct(ips []netip.Addr, four bool, onLink func(netip.Addr) int) (netip.Addr, int) {
	for _, ip := range ips {
		if ip.Is4() == four {
			if link := onLink(ip); link != 0 {
				return ip, link
			}
		}
	}
	return netip.Addr{}, 0
}

func sameFamily(ips []netip.Addr, four bool) netip.Addr {
	for _, ip := range ips {
		if ip.Is4() == four {
			return ip
		}
	}
	return netip.Addr{}
}

// tunnelMAC is the link address of a node's end of the tunnel. Every node computes it from the node's
// address, so that no one has to announce it. 0x0a marks it as locally administered.
func tunnelMAC(node netip.Addr) net.HardwareAddr {
	b := node.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x6c}, b[len(b)-4:]...)
}
