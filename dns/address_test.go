package dns

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func TestBindAddress(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	runtime.LockOSThread() // and the thread ends with the test: it is in another namespace
	ns, err := netns.New()
	if err != nil {
		t.Skipf("needs network namespaces: %v", err)
	}
	defer ns.Close()
	have := func() (out []string) {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		addrs, err := netlink.AddrList(lo, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if !a.IP.IsLoopback() {
				out = append(out, a.IPNet.String())
			}
		}
		return out
	}
	ips := []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd96::a")}
	for range 2 { // the second finds it done
		for _, ip := range ips {
			if err := BindAddress(ip, int(ns)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := have(); len(got) != 2 || got[0] != "10.96.0.10/32" || got[1] != "fd96::a/128" {
		t.Errorf("bound: %v", got)
	}
	for range 2 {
		for _, ip := range ips {
			if err := ReleaseAddress(ip, int(ns)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := have(); len(got) != 0 {
		t.Errorf("released: %v", got)
	}
}
