package proxy

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

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// lab is a node with pods p1, p2, p3 on a bridge, and a client outside, each in a network namespace without
// a name, so that nothing is left when the test ends. The node has no default route.
//
//	client 192.0.2.9 --- 192.0.2.1 node 10.244.1.1 --- p1 10.244.1.11, p2 .12, p3 .13
//	       2001:db8::9    2001:db8::1   fd44::1            fd44::11 ...
type lab struct {
	t            *testing.T
	node, client netns.NsHandle
	pods         []netns.NsHandle
	services     *clienttest.View
	slices       *clienttest.View
	nodes        *clienttest.View
	objects      *clienttest.View // pods
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and rules")
	}
	l := &lab{t: t, services: clienttest.NewView(), slices: clienttest.NewView(), objects: clienttest.NewView(),
		nodes: clienttest.NewView(&corev1.Node{ObjectMeta: v1.ObjectMeta{Name: "n1"}})}
	l.node, l.client = newNS(t), newNS(t)
	l.wire("eth0", l.client, "eth0")
	l.address(l.node, "eth0", "192.0.2.1/24", "2001:db8::1/64")
	l.address(l.client, "eth0", "192.0.2.9/24", "2001:db8::9/64")
	l.route(l.client, "203.0.113.0/24", "192.0.2.1")
	l.inside(l.node, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: new(false)}); err != nil {
			return err
		}
		for _, s := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/"+s, []byte("1"), 0o644); err != nil {
				return err
			}
		}
		if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0o644); err != nil {
			t.Skip("needs the kernel's br_netfilter")
		}
		return nil
	})
	l.address(l.node, "br0", "10.244.1.1/24", "fd44::1/64")
	for i := 1; i <= 3; i++ {
		pod := newNS(t)
		l.pods = append(l.pods, pod)
		name := fmt.Sprintf("p%d", i)
		l.wire(name, pod, "eth0")
		l.inside(l.node, func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			br, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(link, br); err != nil {
				return err
			}
			if err := netlink.LinkSetHairpin(link, true); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
		l.address(pod, "eth0", fmt.Sprintf("10.244.1.1%d/24", i), fmt.Sprintf("fd44::1%d/64", i))
		l.route(pod, "0.0.0.0/0", "10.244.1.1")
		l.route(pod, "::/0", "fd44::1")
		l.serve(pod, name)
	}
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

// inside runs f on a thread in the namespace.
func (l *lab) inside(ns netns.NsHandle, f func() error) {
	l.t.Helper()
	if err := within(ns, f); err != nil {
		l.t.Fatal(err)
	}
}

func within(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		return err
	}
	defer own.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	err = f()
	if back := netns.Set(own); back != nil {
		return back // and the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// wire joins the node to another namespace.
func (l *lab) wire(here string, there netns.NsHandle, name string) {
	l.inside(l.node, func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: here}, PeerName: name, PeerNamespace: netlink.NsFd(int(there))}
		return netlink.LinkAdd(pair)
	})
}

func (l *lab) address(ns netns.NsHandle, link string, addrs ...string) {
	l.inside(ns, func() error {
		for _, name := range slices.Compact([]string{"lo", link}) {
			dev, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(dev); err != nil {
				return err
			}
			for _, text := range addrs {
				a, err := netlink.ParseAddr(text)
				if err != nil {
					return err
				}
				a.Flags = 0x02 // IFA_F_NODAD: usable at once
				if name == "lo" {
					a.Scope = int(netlink.SCOPE_HOST) // never a source
				}
				if name == link {
					if err := netlink.AddrAdd(dev, a); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

func (l *lab) route(ns netns.NsHandle, to, via string) {
	l.inside(ns, func() error {
		_, dst, err := net.ParseCIDR(to)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)})
	})
}

// serve answers each TCP connection and UDP packet on port 8080 with "name from-address".
func (l *lab) serve(ns netns.NsHandle, name string) {
	l.inside(ns, func() error {
		tcp, err := net.Listen("tcp", ":8080")
		if err != nil {
			return err
		}
		udp, err := net.ListenPacket("udp", ":8080")
		if err != nil {
			return err
		}
		l.t.Cleanup(func() { tcp.Close(); udp.Close() })
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				fmt.Fprintf(c, "%s %s", name, host)
				c.Close()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(from.String())
				udp.WriteTo([]byte(name+" "+host), from)
			}
		}()
		return nil
	})
}

// ask opens a connection from a namespace and returns the answer's two words: which pod, whom it saw.
func ask(ns netns.NsHandle, network, to string) (pod, saw string, err error) {
	return askFor(ns, network, to, 5*time.Second)
}

func askFor(ns netns.NsHandle, network, to string, patience time.Duration) (pod, saw string, err error) {
	return askFrom(ns, network, "", to, patience)
}

// askFrom is the same from a source address; what is no address is any.
func askFrom(ns netns.NsHandle, network, from, to string, patience time.Duration) (pod, saw string, err error) {
	d := net.Dialer{Timeout: patience}
	if ip := net.ParseIP(from); ip != nil {
		d.LocalAddr = &net.TCPAddr{IP: ip}
		if network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: ip}
		}
	}
	err = within(ns, func() error {
		c, err := d.Dial(network, to)
		if err != nil {
			return err
		}
		defer c.Close()
		if network == "udp" {
			fmt.Fprint(c, "?")
		}
		c.SetDeadline(time.Now().Add(patience))
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil && err != io.EOF {
			return err
		}
		pod, saw, _ = strings.Cut(string(buf[:n]), " ")
		return nil
	})
	return pod, saw, err
}

// spread asks n times and counts the pods that answered.
func (l *lab) spread(ns netns.NsHandle, network, to string, n int) map[string]int {
	l.t.Helper()
	got := map[string]int{}
	for range n {
		pod, _, err := ask(ns, network, to)
		if err != nil {
			l.t.Fatalf("ask %s %s: %v", network, to, err)
		}
		got[pod]++
	}
	return got
}

// parts is a Client that has nothing but the lab's views.
type parts struct {
	client.Client
	l *lab
}

func (p parts) View(_ context.Context, r client.Resource, _ client.Selection) client.View {
	switch r.Resource {
	case "services":
		return p.l.services
	case "endpointslices":
		return p.l.slices
	case "pods":
		return p.l.objects
	}
	return p.l.nodes
}

func (l *lab) config() Config {
	return Config{Client: parts{l: l}, NodeName: "n1", NetNS: int(l.node),
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/16")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd96::/112")},
		NodeIPs:      []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Log:          slog.New(slog.NewTextHandler(l.t.Output(), nil))}
}

// run starts the proxy and returns when its rules are in the kernel; stop ends it, and leaves the rules.
func (l *lab) run(c Config) (stop func()) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	c.Ready = func() { close(ready) }
	go func() { done <- Run(ctx, c) }()
	select {
	case <-ready:
	case err := <-done:
		l.t.Fatalf("run: %v", err)
	case <-time.After(20 * time.Second):
		l.t.Fatal("the proxy did not become ready")
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				l.t.Errorf("run: %v", err)
			}
		}
	}
	l.t.Cleanup(stop)
	return stop
}

// eventually waits until f holds: rules follow objects within milliseconds.
func (l *lab) eventually(what string, f func() bool) {
	l.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		if f() {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("never: %s", what)
		}
		runtime.Gosched()
	}
}

func service(name, ip string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: v1.ObjectMeta{Namespace: "a", Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{
			{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80}, {Name: "chat", Protocol: corev1.ProtocolUDP, Port: 80}}}}
	for _, f := range change {
		f(s)
	}
	return s
}

// slice makes the slice of a service with one ready endpoint on node n1 for each address; "!" before it makes
// it terminating and serving, "-" unready, and "@node" after it puts it there.
func slice(service string, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: v1.ObjectMeta{Namespace: "a", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4}
	for _, p := range []discoveryv1.EndpointPort{{Name: new("web"), Protocol: new(corev1.ProtocolTCP)}, {Name: new("chat"), Protocol: new(corev1.ProtocolUDP)}} {
		p.Port = new(int32(8080))
		s.Ports = append(s.Ports, p)
	}
	for _, text := range endpoints {
		addr, node, there := strings.Cut(text, "@")
		if !there {
			node = "n1"
		}
		e := discoveryv1.Endpoint{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}}
		switch addr[0] {
		case '!':
			e.Conditions.Ready, e.Conditions.Terminating = new(false), new(true)
		case '-':
			e.Conditions.Ready, e.Conditions.Serving = new(false), new(false)
		}
		e.Addresses = []string{strings.TrimLeft(addr, "!-")}
		if strings.Contains(addr, ":") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}
