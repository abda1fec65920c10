package network

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// lab is three nodes with one pod each, all in network namespaces without a name, so that nothing is left
// when the test ends. n1 and n2 are on one network; n3 is behind a router, which is also the world outside.
//
//	n1 192.0.2.1 ---+
//	n2 192.0.2.2 ---+--- router 192.0.2.254, 198.51.100.254, 203.0.113.1 --- 198.51.100.3 n3
//	pod of n<i>: 10.244.<i>.2 and fd44:<i>::2; the same with IPv6: 2001:db8:1::/64 and 2001:db8:2::/64
type lab struct {
	t      *testing.T
	router netns.NsHandle
	nodes  []netns.NsHandle
	pods   []netns.NsHandle
	view   *clienttest.View
}

var (
	nodeIP  = []string{"192.0.2.1", "192.0.2.2", "198.51.100.3"}
	nodeIP6 = []string{"2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::3"}
)

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and routes")
	}
	l := &lab{t: t, router: newNS(t), view: clienttest.NewView()}
	l.must(l.router, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "wire"}}); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0o644); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
	l.address(l.router, "wire", "192.0.2.254/24", "2001:db8:1::ffff/64")
	l.address(l.router, "lo", "203.0.113.1/32", "2001:db8:3::1/128")
	for i := range nodeIP {
		node, pod := newNS(t), newNS(t)
		l.nodes, l.pods = append(l.nodes, node), append(l.pods, pod)
		name := fmt.Sprintf("n%d", i+1)
		l.pair(l.router, name, node, "eth0")
		gateway, gateway6 := "192.0.2.254", "2001:db8:1::ffff"
		if i == 2 {
			gateway, gateway6 = "198.51.100.254", "2001:db8:2::ffff"
			l.address(l.router, name, gateway+"/24", gateway6+"/64")
		} else {
			l.must(l.router, func() error { return enslave(name, "wire") })
		}
		l.address(node, "eth0", nodeIP[i]+"/24", nodeIP6[i]+"/64")
		l.route(node, gateway, gateway6)
		l.must(node, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}}) })
		l.address(node, "cni0", fmt.Sprintf("10.244.%d.1/24", i+1), fmt.Sprintf("fd44:%d::1/64", i+1))
		l.pair(node, "pod", pod, "eth0")
		l.must(node, func() error { return enslave("pod", "cni0") })
		l.address(pod, "lo", "127.0.0.1/8")
		l.address(pod, "eth0", fmt.Sprintf("10.244.%d.2/24", i+1), fmt.Sprintf("fd44:%d::2/64", i+1))
		l.route(pod, fmt.Sprintf("10.244.%d.1", i+1), fmt.Sprintf("fd44:%d::1", i+1))
		l.serve(pod)
	}
	l.serve(l.router)
	return l
}

func newNS(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	made, err := netns.New()
	if err != nil {
		t.Skipf("needs network namespaces: %v", err)
	}
	if err := netns.Set(own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { made.Close() })
	return made
}

func (l *lab) must(ns netns.NsHandle, f func() error) {
	l.t.Helper()
	if err := within(int(ns), f); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) pair(ns netns.NsHandle, name string, there netns.NsHandle, thereName string) {
	l.t.Helper()
	l.must(ns, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: thereName, PeerNamespace: netlink.NsFd(int(there))})
	})
}

func enslave(name, bridge string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(link, br); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func (l *lab) address(ns netns.NsHandle, link string, addrs ...string) {
	l.t.Helper()
	l.must(ns, func() error {
		dev, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		for _, text := range addrs {
			a, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			if strings.Contains(text, ":") {
				a.Flags = 0x02 // IFA_F_NODAD: usable at once
			}
			if err := netlink.AddrAdd(dev, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(dev)
	})
}

func (l *lab) route(ns netns.NsHandle, vias ...string) {
	l.t.Helper()
	l.must(ns, func() error {
		for _, via := range vias {
			if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// serve tells everyone who connects to port 8080 from which address they come.
func (l *lab) serve(ns netns.NsHandle) {
	l.t.Helper()
	l.must(ns, func() error {
		listener, err := net.Listen("tcp", ":8080")
		if err != nil {
			return err
		}
		l.t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				io.WriteString(c, host)
				c.Close()
			}
		}()
		return nil
	})
}

// ask connects from a namespace and returns the address that the other side saw.
func ask(ns netns.NsHandle, to string, patience time.Duration) (saw string, err error) {
	err = within(int(ns), func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(to, "8080"), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		text, err := io.ReadAll(c)
		saw = string(text)
		return err
	})
	return saw, err
}

// node is node i's object.
func node(i int) *corev1.Node {
	cidr, cidr6 := fmt.Sprintf("10.244.%d.0/24", i), fmt.Sprintf("fd44:%d::/64", i)
	return &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}, Spec: corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr, cidr6}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeInternalIP, Address: nodeIP[i-1]},
			{Type: corev1.NodeInternalIP, Address: nodeIP6[i-1]}}}}
}

type nodes struct {
	client.Client
	view *clienttest.View
}

func (n nodes) View(context.Context, client.Resource, client.Selection) client.View { return n.view }

func (l *lab) config(i int) Config {
	return Config{Client: nodes{view: l.view}, NodeName: fmt.Sprintf("n%d", i), NodeIPs: []netip.Addr{netip.MustParseAddr(nodeIP[i-1]), netip.MustParseAddr(nodeIP6[i-1])},
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/16")}, NetNS: int(l.nodes[i-1]),
		Log: slog.New(slog.NewTextHandler(l.t.Output(), nil))}
}

// run runs the network of all nodes until stop is called, and returns when they are ready.
func (l *lab) run() (stop func()) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	ready, done := make(chan struct{}, 3), make(chan error, 3)
	for i := 1; i <= 3; i++ {
		c := l.config(i)
		c.Ready = func() { ready <- struct{}{} }
		go func() { done <- Run(ctx, c) }()
	}
	for range 3 {
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			l.t.Fatal("not ready")
		}
	}
	stopped := false
	stop = func() {
		cancel()
		for range 3 {
			if stopped {
				return
			}
			if err := <-done; err != nil {
				l.t.Errorf("run: %v", err)
			}
		}
		stopped = true
	}
	l.t.Cleanup(stop)
	return stop
}

func (l *lab) eventually(what string, f func() bool) {
	l.t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			l.t.Fatalf("never: %s\n%s", what, l.traces(1))
		}
	}
}

// traces lists a node's routes to pods, tunnel and tables.
func (l *lab) traces(i int) string {
	var out []string
	l.must(l.nodes[i-1], func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, r := range routes {
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err != nil {
				continue // it went meanwhile
			}
			if r.Dst != nil && (strings.HasPrefix(r.Dst.String(), "10.244.") || strings.HasPrefix(r.Dst.String(), "fd44:")) && len(r.Gw) > 0 {
				out = append(out, fmt.Sprintf("%s via %s dev %s", r.Dst, r.Gw, link.Attrs().Name))
			}
		}
		if link, err := netlink.LinkByName(tunnelName); err == nil {
			for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, 7} { // 7 is the bridge's: where link addresses are
				have, err := netlink.NeighList(link.Attrs().Index, family)
				if err != nil {
					return nil
				}
				for _, n := range have {
					if n.State&netlink.NUD_PERMANENT != 0 {
						out = append(out, fmt.Sprintf("tunnel %s at %s", n.IP, n.HardwareAddr))
					}
				}
			}
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		for _, table := range tables {
			out = append(out, "table "+table.Name)
		}
		return err
	})
	slices.Sort(out)
	return strings.Join(out, "\n")
}
