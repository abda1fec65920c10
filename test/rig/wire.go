package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Wire is a network of its own for machines: a namespace with a bridge, 192.0.2.254/24, which is
// also the world outside. Namespaces have no name, so they are gone when the last user is.
type Wire struct {
	t        testing.TB
	ns       netns.NsHandle
	machines int
}

// Machine is a network namespace that stands for a machine: lo, eth0 on the wire, a default route.
type Machine struct {
	T    testing.TB
	Name string // as node name: unique on the host, since it names cgroups
	IP   netip.Addr
	Wire *Wire
	ns   netns.NsHandle
	port string // its end of the wire
}

const bridge = "wire"

// Root skips the test where there is no root or no binary.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and containers")
	}
	if os.Getenv("LIGHTER") == "" {
		t.Skip("needs the binary: set LIGHTER to its path, as `make test` does")
	}
}

// NewWire makes a network.
func NewWire(t testing.TB) *Wire {
	t.Helper()
	Root(t)
	w := &Wire{t: t, ns: namespace(t)}
	w.must(w.ns, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}); err != nil {
			return err
		}
		return errors.Join(address("lo", ""), address(bridge, "192.0.2.254/24"))
	})
	return w
}

// Machine adds a machine to the network.
func (w *Wire) Machine() *Machine {
	w.t.Helper()
	w.machines++
	m := &Machine{T: w.t, Wire: w, Name: fmt.Sprintf("t%d-%d-%d", os.Getpid(), int(w.ns), w.machines), ns: namespace(w.t),
		IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(w.machines)})}
	port := fmt.Sprintf("m%d", w.machines)
	m.port = port
	w.must(w.ns, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(m.ns))})
	})
	w.must(w.ns, func() error {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMaster(link, master), netlink.LinkSetUp(link))
	})
	w.must(m.ns, func() error {
		if err := errors.Join(address("lo", ""), address("eth0", m.IP.String()+"/24")); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 0, 2, 254)})
	})
	return m
}

// Outside is a machine on the wire that runs nothing: a client beyond the cluster.
func (w *Wire) Outside() *Machine { return &Machine{T: w.t, Name: "outside", ns: w.ns} }

func (w *Wire) must(ns netns.NsHandle, f func() error) {
	w.t.Helper()
	if err := within(ns, f); err != nil {
		w.t.Fatal(err)
	}
}

func namespace(t testing.TB) netns.NsHandle {
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

// within runs f on a thread that is in the namespace; sockets and processes that f makes stay there.
func within(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := netns.Get()
		if err == nil {
			if err = netns.Set(ns); err == nil {
				err = f()
			}
			if netns.Set(own) == nil {
				runtime.UnlockOSThread() // else the thread ends with this goroutine
			}
			own.Close()
		}
		done <- err
	}()
	return <-done
}

func address(name, addr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if addr != "" {
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// Dial connects from the machine; addr is an IP address and a port.
func (m *Machine) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = within(m.ns, func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// HTTP is a client on the machine that opens a new connection for each request and retries nothing.
func (m *Machine) HTTP(patience time.Duration) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.Dial}}
}

// Run starts a program on the machine.
func (m *Machine) Run(cmd *exec.Cmd) error { return within(m.ns, cmd.Start) }

// Enter is a path by which nsenter finds the machine's network while the test runs.
func (m *Machine) Enter() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(m.ns)) }

// Network lists what a machine's network is made of: links, addresses, routes, rules, tables, forwarding.
func (m *Machine) Network() (lines []string) {
	m.T.Helper()
	err := within(m.ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			lines = append(lines, "link "+l.Attrs().Name+" "+l.Type())
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				lines = append(lines, "address "+l.Attrs().Name+" "+a.IPNet.String())
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for _, r := range routes {
			lines = append(lines, "route "+r.String())
		}
		rules, err := netlink.RuleList(netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, r := range rules {
			lines = append(lines, "rule "+r.String())
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		for _, t := range tables {
			lines = append(lines, fmt.Sprintf("table %d %s", t.Family, t.Name))
		}
		for _, file := range []string{"/proc/sys/net/ipv4/ip_forward"} {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			lines = append(lines, filepath.Base(file)+" "+string(text[:1]))
		}
		return err
	})
	if err != nil {
		m.T.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// Rewire takes away what was made in the machine's network since it began, as a reboot does.
func (m *Machine) Rewire() {
	m.T.Helper()
	err := within(m.ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			name := l.Attrs().Name
			if name != "lo" && name != "eth0" {
				if err := netlink.LinkDel(l); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && netlink.LinkSetDown(l) == nil {
					return err
				}
				continue
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if !a.IP.IsLoopback() && a.IP.String() != m.IP.String() {
					if err := netlink.AddrDel(l, &a); err != nil {
						return err
					}
				}
			}
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Protocol != netlink.RouteProtocol(2) && (r.Dst != nil && r.Dst.String() != "0.0.0.0/0") { // 2: the kernel's own
				if err := netlink.RouteDel(&r); err != nil {
					return err
				}
			}
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return errors.Join(c.Flush(), os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644))
	})
	if err != nil {
		m.T.Fatal(err)
	}
}

// Cut takes the machine's wire away, or gives it back.
func (m *Machine) Cut(away bool) {
	m.T.Helper()
	m.Wire.must(m.Wire.ns, func() error {
		link, err := netlink.LinkByName(m.port)
		if err != nil {
			return err
		}
		if away {
			return netlink.LinkSetDown(link)
		}
		return netlink.LinkSetUp(link)
	})
}

const deafTable = "rig-deaf"

// Deaf makes the machine lose all that comes from some addresses, while what it sends arrives; without addresses it hears again.
func (m *Machine) Deaf(to ...netip.Addr) {
	m.T.Helper()
	m.Wire.must(m.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: deafTable, Family: nftables.TableFamilyIPv4}
		c.AddTable(table)
		c.DelTable(table)
		if len(to) > 0 {
			table = c.AddTable(table)
			accept := nftables.ChainPolicyAccept
			chain := c.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
				Priority: nftables.ChainPriorityFilter, Policy: &accept})
			for _, a := range to {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // the source address
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
					&expr.Verdict{Kind: expr.VerdictDrop},
				}})
			}
		}
		return c.Flush()
	})
}
