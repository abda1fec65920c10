package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

func TestPods(t *testing.T) {
	l := newLab(t)
	for i := 1; i <= 3; i++ {
		l.view.Set(node(i))
	}
	stop := l.run()
	all := func(when string) {
		t.Helper()
		for i, from := range l.pods {
			for _, f := range []struct{ pod, world, node string }{{"10.244.%d.2", "203.0.113.1", nodeIP[i]}, {"fd44:%d::2", "2001:db8:3::1", nodeIP6[i]}} {
				own := fmt.Sprintf(f.pod, i+1)
				for j := range l.pods {
					if saw, err := ask(from, fmt.Sprintf(f.pod, j+1), 5*time.Second); err != nil || saw != own {
						t.Errorf("%s: pod of n%d to pod of n%d: it saw %q (%v), want %s", when, i+1, j+1, saw, err, own)
					}
				}
				if saw, err := ask(from, f.world, 5*time.Second); err != nil || saw != f.node {
					t.Errorf("%s: pod of n%d to the world: it saw %q (%v), want the node's %s", when, i+1, saw, err, f.node)
				}
				if _, err := ask(l.nodes[i], fmt.Sprintf(f.pod, (i+1)%3+1), 5*time.Second); err != nil {
					t.Errorf("%s: node n%d to a pod of the next: %v", when, i+1, err)
				}
			}
		}
	}
	all("at first")
	const whole = `10.244.2.0/24 via 192.0.2.2 dev eth0
10.244.3.0/24 via 10.244.3.0 dev lighter.1
fd44:2::/64 via 2001:db8:1::2 dev eth0
fd44:3::/64 via fd44:3:: dev lighter.1
table lighter-network
tunnel 10.244.3.0 at 0a:6c:c6:33:64:03
tunnel 198.51.100.3 at 0a:6c:c6:33:64:03
tunnel fd44:3:: at 0a:6c:c6:33:64:03`
	if got := l.traces(1); got != whole {
		t.Errorf("n1 has:\n%s\nwant:\n%s", got, whole)
	}

	stop()
	all("with no one running")
	l.run()
	all("after a restart")
	if got := l.traces(1); got != whole {
		t.Errorf("after a restart n1 has:\n%s\nwant:\n%s", got, whole)
	}

	l.view.Delete("", "n2")
	l.eventually("the route to n2 goes", func() bool {
		return !strings.Contains(l.traces(1), ":2::") && !strings.Contains(l.traces(1), "10.244.2.0")
	})
	moved := node(3)
	moved.Spec.PodCIDR, moved.Spec.PodCIDRs = "10.244.7.0/24", []string{"10.244.7.0/24"}
	l.view.Set(moved)
	l.eventually("the pods of n3 have other addresses", func() bool {
		return l.traces(1) == `10.244.7.0/24 via 10.244.7.0 dev lighter.1
table lighter-network
tunnel 10.244.7.0 at 0a:6c:c6:33:64:03
tunnel 198.51.100.3 at 0a:6c:c6:33:64:03`
	})
	l.view.Delete("", "n3")
	l.eventually("the tunnel goes with the last that needs it", func() bool { return l.traces(1) == "table lighter-network" })
}

func TestCleanup(t *testing.T) {
	l := newLab(t)
	before := l.traces(1)
	for i := 1; i <= 3; i++ {
		l.view.Set(node(i))
	}
	c := l.config(1)
	c.Before = filepath.Join(t.TempDir(), "before")
	forwarding := func() (text string) {
		if err := within(c.NetNS, func() error {
			data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
			text = strings.TrimSpace(string(data))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return text
	}
	if err := within(c.NetNS, func() error {
		return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644), Remember(c.Before))
	}); err != nil {
		t.Fatal(err)
	}
	l.run()()
	if l.traces(1) == before || forwarding() != "1" {
		t.Fatal("nothing was there to clean up")
	}
	for range 2 { // the second finds nothing
		if err := Cleanup(c); err != nil {
			t.Fatal(err)
		}
	}
	if forwarding() != "0" {
		t.Error("packets are forwarded that were not before")
	}
	if got := l.traces(1); got != before {
		t.Errorf("after the cleanup:\n%s\nbefore:\n%s", got, before)
	}
}

func TestNodeIPs(t *testing.T) {
	l := newLab(t)
	check := func(what string, i int, want string) {
		t.Helper()
		got, err := NodeIPs(int(l.nodes[i]))
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v (%v), want %s", what, got, err, want)
		}
	}
	check("by the default route", 0, "[192.0.2.1 2001:db8:1::1]")
	l.must(l.nodes[0], func() error { return netlink.RouteDel(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0"))}) })
	check("by any interface", 0, "[192.0.2.1 2001:db8:1::1]")
	bare := newNS(t)
	if got, err := NodeIPs(int(bare)); err != nil || fmt.Sprint(got) != "[127.0.0.1]" {
		t.Errorf("with no interface: %v (%v), want 127.0.0.1", got, err)
	}
}

func TestPlan(t *testing.T) {
	near := func(a netip.Addr) int {
		if netip.MustParsePrefix("192.0.2.0/24").Contains(a) || netip.MustParsePrefix("2001:db8::/64").Contains(a) {
			return 2
		}
		return 0
	}
	make := func(name, ips, pods string) *corev1.Node {
		n := node(1)
		n.Name, n.Status.Addresses, n.Spec.PodCIDR, n.Spec.PodCIDRs = name, nil, "", nil
		for _, ip := range strings.Fields(ips) {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
		}
		n.Spec.PodCIDRs = strings.Fields(pods)
		return n
	}
	for what, tt := range map[string]struct {
		nodes []*corev1.Node
		want  string
	}{
		"on our network":        {[]*corev1.Node{make("b", "192.0.2.2", "10.244.2.0/24")}, "map[10.244.2.0/24:192.0.2.2/2/false] 0"},
		"both families":         {[]*corev1.Node{make("b", "192.0.2.2 2001:db8::2", "10.244.2.0/24 fd44:2::/64")}, "map[10.244.2.0/24:192.0.2.2/2/false fd44:2::/64:2001:db8::2/2/false] 0"},
		"elsewhere":             {[]*corev1.Node{make("b", "198.51.100.2", "10.244.2.0/24 fd44:2::/64")}, "map[10.244.2.0/24:10.244.2.0/0/true fd44:2::/64:fd44:2::/0/true] 1"},
		"no address yet":        {[]*corev1.Node{make("b", "", "10.244.2.0/24")}, "map[] 0"},
		"no pods yet":           {[]*corev1.Node{make("b", "192.0.2.2", "")}, "map[] 0"},
		"loopback as address":   {[]*corev1.Node{make("b", "127.0.0.1", "10.244.2.0/24")}, "map[] 0"},
		"nonsense":              {[]*corev1.Node{make("b", "x", "y 127.0.0.0/8")}, "map[] 0"},
		"our own pods claimed":  {[]*corev1.Node{make("b", "192.0.2.2", "10.244.1.0/24")}, "map[] 0"},
		"our own address":       {[]*corev1.Node{make("b", "198.51.100.1", "10.244.2.0/24")}, "map[] 0"},
		"the same pods, twice":  {[]*corev1.Node{make("b", "192.0.2.2", "10.244.2.0/24"), make("c", "192.0.2.3", "10.244.2.0/24")}, "map[10.244.2.0/24:192.0.2.2/2/false] 0"},
		"ourselves are no peer": {[]*corev1.Node{make("a", "198.51.100.1", "10.244.1.0/24")}, "map[] 0"},
	} {
		_, peers := sides(tt.nodes, "a")
		p := planFor(netip.MustParseAddr("198.51.100.1"), []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, peers, near)
		if got := show(p); got != tt.want {
			t.Errorf("%s: %s, want %s", what, got, tt.want)
		}
	}
}

// show prints a plan: each way as address/link/tunnel, and the number of tunnel ends.
func show(p plan) string {
	ways := map[string]string{}
	for cidr, w := range p.routes {
		ways[cidr.String()] = fmt.Sprintf("%s/%d/%v", w.via, w.link, w.tunnel)
	}
	return fmt.Sprint(ways, len(p.tunnel))
}
