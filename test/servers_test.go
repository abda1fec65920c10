package test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
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
func further(of *rig.Cluster, token string, args ...string) *rig.Cluster {
	of.T.Helper()
	return rig.New(of.Wire.Machine(), append([]string{"server", "--join", apiOf(of), "--token", token}, args...)...)
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
	if out, err := second.Lighter("status", "--data-dir", second.Dir); err != nil || !strings.Contains(out, first.IP.String()) || !strings.Contains(out, "etcd ") {
		t.Errorf("status: %v\n%s", err, out)
	}
	third := further(first, good)
	third.Up()
	first.Kubectl("create", "configmap", "here", "--from-literal=a=b")
	for _, s := range []*rig.Cluster{second, third} {
		if got := s.Kubectl("get", "configmap", "here", "-o", "jsonpath={.data.a}"); got != "b" {
			t.Errorf("on %s: %q", s.IP, got)
		}
	}
	if out := members(third); !strings.Contains(out, third.IP.String()) || !strings.Contains(out, "writes need 2 of 3 servers") {
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

// TestServersFailOver kills and stops the server that leads the controllers, while a node hangs on it: another one leads
// within 5 s, at once after a stop in order; the Service leads to live servers; the node stays.
func TestServersFailOver(t *testing.T) {
	x := newTrio(t)
	first := x.servers[0]
	agent := rig.New(x.wire.Machine(), "agent", "--server", apiOf(first), "--token", tokenOf(first))
	agent.Up()
	agent.Eventually(10*time.Second, "the agent knows all servers", func() error {
		data, err := os.ReadFile(agent.Dir + "/agent/servers.json")
		for _, s := range x.servers {
			if err == nil && !strings.Contains(string(data), s.IP.String()+":6443") {
				err = fmt.Errorf("%s", data)
			}
		}
		return err
	})
	live := func(c *rig.Cluster, want ...*rig.Cluster) {
		t.Helper()
		c.Eventually(15*time.Second, "the Service leads to live servers", func() error {
			for _, kind := range []string{"endpointslice/kubernetes -o jsonpath={.endpoints[*].addresses[0]}", "endpoints/kubernetes -o jsonpath={.subsets[*].addresses[*].ip}"} {
				out, err := c.TryKubectl(append([]string{"get"}, strings.Fields(kind)...)...)
				if err != nil {
					return err
				}
				for _, s := range x.servers {
					if strings.Contains(out+" ", s.IP.String()+" ") != slices.Contains(want, s) {
						return fmt.Errorf("%s: %s", kind, out)
					}
				}
			}
			return nil
		})
	}
	live(first, x.servers...)

	// holder is who holds a Lease, asked on a server.
	lease := func(on *rig.Cluster, name string) (holder string) {
		l, err := client.Leases.Get(t.Context(), on.Client, "kube-system", name)
		if err == nil && l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		return holder
	}
	leases := []string{"kube-controller-manager", "kube-scheduler", "cloud-controller-manager"}
	identity := func(s *rig.Cluster) string {
		data, err := os.ReadFile(s.Dir + "/server/identity")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	// changed waits until none of the leases is the victim's, and a Deployment that was made after it went gets its pod on
	// the node. It is late when that took longer than most, and longer than the store needed, which elects a leader too.
	changed := func(victim *rig.Cluster, began time.Time, name string, most time.Duration) {
		t.Helper()
		on := x.servers[(slices.Index(x.servers, victim)+1)%3]
		was := identity(victim)
		written := make(chan time.Duration, 1)
		go func() {
			for n := 0; ; n++ {
				limited, stop := context.WithTimeout(t.Context(), time.Second)
				m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", name, n)}}
				_, err := client.ConfigMaps.Create(limited, on.Client, m)
				stop()
				if err == nil || t.Context().Err() != nil {
					written <- time.Since(began)
					return
				}
				time.Sleep(20 * time.Millisecond) // servers that elect are not to be pressed
			}
		}()
		on.Eventually(20*time.Second, "another server leads", func() error {
			for _, l := range leases {
				if h := lease(on, l); h == was || h == "" {
					return fmt.Errorf("%s is held by %q", l, h)
				}
			}
			return nil
		})
		took, store := time.Since(began), <-written
		if took > max(most, store+time.Second) {
			t.Errorf("another server led only %s after the first one went; the store was written again after %s", took, store)
		}
		on.Eventually(20*time.Second, "controllers and scheduler act", func() error {
			if out, err := on.TryKubectl("create", "deployment", name, "--image=none.example/none"); err != nil && !strings.Contains(out, "already exists") {
				return fmt.Errorf("%w: %s", err, out)
			}
			out, err := on.TryKubectl("get", "pods", "-l", "app="+name, "-o", "jsonpath={.items[*].spec.nodeName}")
			if err == nil && out != agent.Name {
				err = fmt.Errorf("bound to %q", out)
			}
			return err
		})
		t.Logf("another server leads %s after the first one went, the store is written after %s, and controllers and scheduler have placed a pod after %s", took, store, time.Since(began))
	}
	victim := func() *rig.Cluster {
		holder := lease(first, leases[0])
		for _, s := range x.servers {
			if identity(s) == holder {
				return s
			}
		}
		t.Fatalf("nobody leads: %q", holder)
		return nil
	}

	v := victim()
	v.Eventually(15*time.Second, "its kubeconfig knows all servers", func() error {
		v.Connect(v.Kubeconfig()) // written anew
		data, err := os.ReadFile(v.Kubeconfig())
		for _, s := range x.servers {
			if err == nil && s != v && !strings.Contains(string(data), s.IP.String()) {
				err = fmt.Errorf("%s is not in it", s.IP)
			}
		}
		return err
	})
	began := time.Now()
	v.Crash()
	changed(v, began, "killed", 5*time.Second)
	if out, err := v.TryKubectl("get", "node", agent.Name, "-o", "name"); err != nil || !strings.Contains(out, "node/"+agent.Name) {
		t.Errorf("kubectl beside the dead server: %v: %s", err, out)
	}
	others := slices.DeleteFunc(slices.Clone(x.servers), func(s *rig.Cluster) bool { return s == v })
	live(others[0], others...)
	t.Logf("the dead server was out of the Service after %s", time.Since(began))
	node := func() string {
		return others[0].Kubectl("get", "node", agent.Name, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}")
	}
	others[0].Eventually(20*time.Second, "the node's lease is renewed through another server", func() error {
		l, err := client.Leases.Get(t.Context(), others[0].Client, "kube-node-lease", agent.Name)
		if err == nil && !l.Spec.RenewTime.After(began.Add(3*time.Second)) {
			err = fmt.Errorf("renewed %s", l.Spec.RenewTime)
		}
		return err
	})
	if got := node(); got != "True" {
		t.Errorf("the node is %q", got)
	}
	v.Up()
	live(v, x.servers...)

	first = others[0]
	v = victim()
	began = time.Now()
	done := make(chan struct{})
	go func() { v.Signal(syscall.SIGTERM); close(done) }()
	changed(v, began, "stopped", 2*time.Second)
	<-done
}
