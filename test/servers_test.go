package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/test/rig"
)

// tokenOf makes a token on a server.
func tokenOf(c *rig.Cluster, args ...string) string {
	c.T.Helper()
	out, err := c.Lighter("token", append([]string{"create", "--data-dir", c.Dir}, args...)...)
	if err != nil {
		c.T.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(out)
}

func apiOf(c *rig.Cluster) string { return fmt.Sprintf("https://%s:6443", c.IP) }

// further is a server that joins another one; it is not started.
func further(of *rig.Cluster, token string) *rig.Cluster {
	of.T.Helper()
	return rig.New(of.Wire.Machine(), "server", "--join", apiOf(of), "--token", token)
}

// members is what `lighter members list` prints on a server.
func members(c *rig.Cluster) string {
	c.T.Helper()
	out, err := c.Lighter("members", "list", "--data-dir", c.Dir)
	if err != nil {
		c.T.Fatalf("%v: %s", err, out)
	}
	return out
}

// follow waits until so many members follow the one that leads. A new one takes etcd up to seven seconds to answer when
// it lost the first try to make itself known; its server uses the others' members meanwhile.
func follow(c *rig.Cluster, n int) (out string) {
	c.T.Helper()
	c.Eventually(20*time.Second, fmt.Sprintf("%d members follow", n), func() error {
		if out = members(c); strings.Count(out, "follows") != n {
			return fmt.Errorf("members:\n%s", out)
		}
		return nil
	})
	return out
}

// refused begins a server that cannot join, and wants it to say why.
func refused(c *rig.Cluster, why string) {
	c.T.Helper()
	c.Begin()
	if said := c.Ended(30 * time.Second); !strings.Contains(said, why) {
		c.T.Errorf("want it to say %q, it said:\n%s", why, said)
	}
}

// TestServersJoin is the life of a cluster's servers: who may join, who goes, who comes back.
func TestServersJoin(t *testing.T) {
	wire := rig.NewWire(t)
	first := rig.New(wire.Machine(), "server", "--cluster-init")
	first.Up()
	if out := members(first); !strings.Contains(out, first.IP.String()) || !strings.Contains(out, "leads") {
		t.Errorf("members:\n%s", out)
	}

	good := tokenOf(first, "--server")
	id, pin, _ := strings.Cut(good, ":")
	wrong := rig.New(wire.Machine(), "server", "--join", apiOf(first), "--token", id[:7]+strings.Repeat("x", 16)+":"+pin)
	refused(wrong, "wrong or has expired")
	short := tokenOf(first, "--server", "--ttl", "1s")
	time.Sleep(1100 * time.Millisecond) // it expires by the calendar
	late := rig.New(wire.Machine(), "server", "--join", apiOf(first), "--token", short)
	refused(late, "wrong or has expired")
	node := rig.New(wire.Machine(), "server", "--join", apiOf(first), "--token", tokenOf(first))
	refused(node, "lets nodes join, not servers")
	other := rig.New(wire.Machine(), "server", "--join", apiOf(first), "--token", id+":"+strings.Repeat("0", 64))
	refused(other, "not the cluster that the token is for")

	second := further(first, good)
	second.Up()
	if out := members(second); !strings.Contains(out, "two servers survive the loss of neither") {
		t.Errorf("two members:\n%s", out)
	}
	third := further(first, good)
	third.Up()
	first.Kubectl("create", "configmap", "here", "--from-literal=a=b")
	for _, s := range []*rig.Cluster{second, third} {
		if got := s.Kubectl("get", "configmap", "here", "-o", "jsonpath={.data.a}"); got != "b" {
			t.Errorf("on %s: %q", s.IP, got)
		}
	}
	if out := follow(third, 2); !strings.Contains(out, "1 more may fail") {
		t.Errorf("three members:\n%s", out)
	}

	// A server comes back without the token, which may be gone.
	second.Kill()
	if out, err := first.Lighter("members", "remove", third.IP.String(), "--data-dir", first.Dir); err == nil || !strings.Contains(out, "writes need") {
		t.Errorf("a removal that leaves too few: %v, %s", err, out)
	}
	// One may join while another is down: there are enough to agree.
	fourth := further(first, good)
	fourth.Up()
	if _, err := first.Lighter("token", "delete", id[:6], "--data-dir", first.Dir); err != nil {
		t.Error(err)
	}
	second.Up()

	// Who is removed says so and ends; it comes back with a new token.
	if out, err := first.Lighter("members", "remove", fourth.IP.String(), "--data-dir", first.Dir); err != nil {
		t.Errorf("remove: %v, %s", err, out)
	}
	if said := fourth.Ended(30 * time.Second); !strings.Contains(said, "was removed from its cluster") {
		t.Errorf("removed, it said:\n%s", said)
	}
	fourth.Args("server", "--join", apiOf(second), "--token", tokenOf(second, "--server"))
	fourth.Up()
	follow(first, 3)

	// A stop in order takes a server out of the Service at once, and its reset out of the cluster.
	fourth.Signal(15)
	if list := first.Kubectl("get", "endpointslice", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[0]}"); strings.Contains(list, fourth.IP.String()) {
		t.Errorf("after its end %s is among %s", fourth.IP, list)
	}
	if out, err := fourth.Lighter("reset", "--yes", "--data-dir", fourth.Dir); err != nil {
		t.Errorf("reset: %v, %s", err, out)
	}
	if out := members(first); strings.Contains(out, fourth.IP.String()) {
		t.Errorf("after the reset:\n%s", out)
	}

	// Two of three are lost for good: the last one goes on alone with what it has.
	second.Kill()
	third.Kill()
	first.Signal(15)
	if out, err := first.Lighter("server", "--cluster-reset", "--data-dir", first.Dir); err != nil {
		t.Fatalf("cluster reset: %v, %s", err, out)
	}
	first.Args("server")
	first.Up()
	if got := first.Kubectl("get", "configmap", "here", "-o", "jsonpath={.data.a}"); got != "b" {
		t.Errorf("after the reset of the cluster: %q", got)
	}
	if out := members(first); !strings.Contains(out, "one server") {
		t.Errorf("alone:\n%s", out)
	}
}
