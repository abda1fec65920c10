package proxy

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

func nodePort(n int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = n
		}
	}
}

func TestClusterAddress(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11", "10.244.1.12"))
	l.run(l.config())
	for what, tt := range map[string]struct {
		from int // pod, or -1 for the node
		net  string
	}{
		"from the node":        {-1, "tcp"},
		"from the node by UDP": {-1, "udp"},
		"from a pod":           {2, "tcp"},
		"from a pod by UDP":    {2, "udp"},
		"from an endpoint":     {0, "tcp"}, // that is hairpin half the time
		"from it, by UDP":      {0, "udp"},
	} {
		ns := l.node
		if tt.from >= 0 {
			ns = l.pods[tt.from]
		}
		got := l.spread(ns, tt.net, "10.96.0.5:80", 30)
		if got["p1"] == 0 || got["p2"] == 0 || got["p1"]+got["p2"] != 30 {
			t.Errorf("%s: answers by pod %v, want 30 of p1 and p2", what, got)
		}
	}
	if _, saw, err := ask(l.pods[2], "tcp", "10.96.0.5:80"); err != nil || saw != "10.244.1.13" {
		t.Errorf("pod to pod: the server saw %q (%v), want the pod's own address", saw, err)
	}
}

// TestEntries asks through every kind of entry and looks at whom the pod saw: the client itself or this node.
func TestEntries(t *testing.T) {
	l := newLab(t)
	both := []string{"10.244.1.11", "10.244.1.12"}
	add := func(name, ip string, ends []string, change ...func(*corev1.Service)) {
		l.services.Set(service(name, ip, change...))
		l.slices.Set(slice(name, ends...))
	}
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	balancer := func(ip string, ranges ...string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
			s.Spec.LoadBalancerSourceRanges = ranges
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		}
	}
	add("np", "10.96.0.10", both, nodePort(30080))
	add("npl", "10.96.0.11", []string{"10.244.1.11", "10.244.1.99@n2"}, nodePort(30081), local)
	add("far", "10.96.0.12", []string{"10.244.1.12@n2"}, nodePort(30082), local)
	add("ext", "10.96.0.13", both, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"203.0.113.1"} })
	add("lb", "10.96.0.14", both, balancer("203.0.113.2"))
	add("lbr", "10.96.0.15", both, balancer("203.0.113.3", "192.0.2.0/28"))
	add("lbx", "10.96.0.16", both, balancer("203.0.113.4", "198.51.100.0/24"))
	add("none", "10.96.0.17", nil, nodePort(30083))
	add("in", "10.96.0.18", []string{"10.244.1.11", "10.244.1.12@n2"}, func(s *corev1.Service) {
		p := corev1.ServiceInternalTrafficPolicyLocal
		s.Spec.InternalTrafficPolicy = &p
	})
	add("one", "10.96.0.19", []string{"10.244.1.11"})
	add("drain", "10.96.0.20", []string{"!10.244.1.12", "-10.244.1.13"})
	add("host", "10.96.0.21", []string{"10.244.1.12"}, balancer("192.0.2.1"))
	add("self", "10.96.0.22", []string{"192.0.2.1"})
	l.serve(l.node, "node")
	c := l.config()
	c.LocalAddresses = []netip.Addr{netip.MustParseAddr("10.96.0.53")}
	add("dns", "10.96.0.53", both)
	l.address(l.node, "lo", "10.96.0.53/32")
	l.run(c)

	const refused, silent = "connection refused", "timeout"
	for what, tt := range map[string]struct {
		from     string
		to       string
		saw, err string
		only     string
	}{
		"node port from outside":                     {"client", "192.0.2.1:30080", "10.244.1.1", "", ""},
		"node port from the node":                    {"node", "192.0.2.1:30080", "10.244.1.1", "", ""},
		"node port from a pod":                       {"p3", "192.0.2.1:30080", "10.244.1.1", "", ""},
		"node port on the bridge's address":          {"p3", "10.244.1.1:30080", "10.244.1.1", "", ""},
		"policy Local keeps the client's address":    {"client", "192.0.2.1:30081", "192.0.2.9", "", "p1"},
		"policy Local with its endpoints elsewhere":  {"client", "192.0.2.1:30082", "", silent, ""},
		"the same from a pod is policy Cluster":      {"p1", "192.0.2.1:30082", "10.244.1.11", "", "p2"},
		"the same from the node is policy Cluster":   {"node", "192.0.2.1:30082", "10.244.1.1", "", "p2"},
		"external address from outside":              {"client", "203.0.113.1:80", "10.244.1.1", "", ""},
		"external address from a pod":                {"p3", "203.0.113.1:80", "10.244.1.1", "", ""},
		"load balancer address":                      {"client", "203.0.113.2:80", "10.244.1.1", "", ""},
		"load balancer, source in its ranges":        {"client", "203.0.113.3:80", "10.244.1.1", "", ""},
		"load balancer, source not in its ranges":    {"client", "203.0.113.4:80", "", silent, ""},
		"load balancer address that is the node's":   {"client", "192.0.2.1:80", "10.244.1.1", "", "p2"},
		"the same from the node":                     {"node", "192.0.2.1:80", "10.244.1.1", "", "p2"},
		"no endpoints, cluster address from a pod":   {"p1", "10.96.0.17:80", "", refused, ""},
		"no endpoints, cluster address from node":    {"node", "10.96.0.17:80", "", refused, ""},
		"no endpoints, node port from outside":       {"client", "192.0.2.1:30083", "", refused, ""},
		"no such service, from a pod":                {"p1", "10.96.9.9:80", "", refused, ""},
		"no such service, from the node":             {"node", "10.96.9.9:80", "", refused, ""},
		"no such port":                               {"p1", "10.96.0.5:81", "", refused, ""},
		"internal policy Local":                      {"p3", "10.96.0.18:80", "10.244.1.13", "", "p1"},
		"hairpin is masqueraded":                     {"p1", "10.96.0.19:80", "10.244.1.1", "", "p1"},
		"terminating endpoint when no other is left": {"p3", "10.96.0.20:80", "10.244.1.13", "", "p2"},
		"endpoint that is the node, from a pod":      {"p3", "10.96.0.22:80", "10.244.1.13", "", "node"},
		"endpoint that is the node, from the node":   {"node", "10.96.0.22:80", "192.0.2.1", "", "node"},
		"address served by the node, from a pod":     {"p3", "10.96.0.53:8080", "10.244.1.13", "", "node"},
		"address served by the node, from the node":  {"node", "10.96.0.53:8080", "10.96.0.53", "", "node"},
		"its service is not translated":              {"p3", "10.96.0.53:80", "", refused, ""},
		"node to cluster address":                    {"node", "10.96.0.19:80", "10.244.1.1", "", "p1"},
	} {
		ns := map[string]int{"client": int(l.client), "node": int(l.node), "p1": int(l.pods[0]), "p3": int(l.pods[2])}[tt.from]
		patience := 5 * time.Second
		if tt.err == silent {
			patience = 100 * time.Millisecond
		}
		pod, saw, err := askFor(netns.NsHandle(ns), "tcp", tt.to, patience)
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: got %s %v, want %s", what, pod, err, tt.err)
		case tt.err == "" && (err != nil || saw != tt.saw || tt.only != "" && pod != tt.only):
			t.Errorf("%s: pod %q saw %q (%v), want %q %q", what, pod, saw, err, tt.only, tt.saw)
		}
	}
}

func TestIPv6(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "fd96::5", nodePort(30080)))
	l.slices.Set(slice("web", "fd44::11", "fd44::12"))
	l.run(l.config())
	for what, tt := range map[string]struct {
		ns netns.NsHandle
		to string
	}{
		"from a pod":             {l.pods[2], "[fd96::5]:80"},
		"from an endpoint":       {l.pods[0], "[fd96::5]:80"},
		"from the node":          {l.node, "[fd96::5]:80"},
		"node port from outside": {l.client, "[2001:db8::1]:30080"},
	} {
		if got := l.spread(tt.ns, "tcp", tt.to, 20); got["p1"] == 0 || got["p2"] == 0 {
			t.Errorf("%s: answers by pod %v, want some of p1 and p2", what, got)
		}
	}
	if _, _, err := ask(l.pods[0], "tcp", "[fd96::6]:80"); err == nil {
		t.Error("an unclaimed cluster address answered")
	}
}

func TestAffinity(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }))
	l.slices.Set(slice("web", "10.244.1.11", "10.244.1.12", "10.244.1.13"))
	stop := l.run(l.config())
	first := l.spread(l.node, "tcp", "10.96.0.5:80", 12)
	if len(first) != 1 {
		t.Fatalf("one client was sent to %v, want one pod", first)
	}
	stuck := slices.Collect(maps.Keys(first))[0]

	stop()
	l.run(l.config())
	if got := l.spread(l.node, "tcp", "10.96.0.5:80", 12); got[stuck] != 12 {
		t.Errorf("after a restart %v, want all on %s", got, stuck)
	}

	var rest []string
	for i := 1; i <= 3; i++ {
		if name := fmt.Sprintf("p%d", i); name != stuck {
			rest = append(rest, fmt.Sprintf("10.244.1.1%d", i))
		}
	}
	l.slices.Set(slice("web", rest...))
	l.eventually("the client moves when its endpoint goes", func() bool {
		pod, _, err := ask(l.node, "tcp", "10.96.0.5:80")
		return err == nil && pod != stuck
	})
	if got := l.spread(l.node, "tcp", "10.96.0.5:80", 12); len(got) != 1 {
		t.Errorf("after its endpoint went the client was sent to %v, want one pod", got)
	}
}

// TestUDPMoves keeps one socket: its packets must follow the service from a dead endpoint to a new one.
func TestUDPMoves(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11"))
	l.run(l.config())
	l.inside(l.pods[2], func() error {
		c, err := net.Dial("udp", "10.96.0.5:80")
		if err != nil {
			return err
		}
		defer c.Close()
		buf := make([]byte, 100)
		answer := func() string {
			fmt.Fprint(c, "?")
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			n, _ := c.Read(buf)
			return string(buf[:n])
		}
		l.eventually("the socket reaches p1", func() bool { return answer() == "p1 10.244.1.13" })
		l.slices.Set(slice("web", "10.244.1.12"))
		l.eventually("the same socket reaches p2", func() bool { return answer() == "p2 10.244.1.13" })
		return nil
	})
}

// TestNoGap connects without pause while endpoints come and go and the proxy restarts: no connection may
// fail, and none may reach an endpoint after the rules without it were committed.
func TestNoGap(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11", "10.244.1.12"))
	stop := l.run(l.config())
	end := make(chan struct{})
	var asked, failed int
	var probing sync.WaitGroup
	finish := sync.OnceFunc(func() { close(end); probing.Wait() })
	defer finish()
	probing.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			asked++
			if _, _, err := ask(l.pods[2], "tcp", "10.96.0.5:80"); err != nil {
				failed++
				t.Errorf("connection %d: %v", asked, err)
				if failed > 5 {
					return
				}
			}
		}
	})
	for i := range 8 {
		l.slices.Set(slice("web", "10.244.1.12", "!10.244.1.11"))
		l.services.Set(service(fmt.Sprintf("other%d", i), fmt.Sprintf("10.96.1.%d", i+1)))
		l.eventually("p1 is left", func() bool { return l.spread(l.node, "tcp", "10.96.0.5:80", 8)["p1"] == 0 })
		l.slices.Set(slice("web", "10.244.1.11", "!10.244.1.12"))
		l.eventually("p2 is left", func() bool { return l.spread(l.node, "tcp", "10.96.0.5:80", 8)["p2"] == 0 })
		if i%3 == 2 {
			stop()
			stop = l.run(l.config())
		}
	}
	finish()
	if asked < 30 {
		t.Errorf("only %d connections were tried", asked)
	}
}

// TestNoGapInReplace writes the whole table anew, as each start of the proxy does, while clients connect: none
// of their packets may be in the old table at a moment when it is refused.
func TestNoGapInReplace(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11", "10.244.1.12"))
	l.run(l.config())()
	c := l.config()
	c.fill()
	tab := newTable()
	tab.put(types.NamespacedName{Namespace: "a", Name: "web"}, compile(service("web", "10.96.0.5"),
		[]*discoveryv1.EndpointSlice{slice("web", "10.244.1.11", "10.244.1.12")}, environment{node: "n1", pods: true}))
	k, all := newKernel(c), tab.all()
	end := make(chan struct{})
	var clients sync.WaitGroup
	for _, ns := range []netns.NsHandle{l.pods[2], l.node} {
		clients.Go(func() {
			for failed := 0; failed < 5; {
				select {
				case <-end:
					return
				default:
				}
				if _, _, err := ask(ns, "tcp", "10.96.0.5:80"); err != nil {
					failed++
					t.Error(err)
				}
			}
		})
	}
	for range 100 {
		if err := k.replace(all); err != nil {
			t.Fatal(err)
		}
	}
	close(end)
	clients.Wait()
}

// TestConnectionOutlivesEndpoint holds a connection open while its endpoint leaves the service.
func TestConnectionOutlivesEndpoint(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort.IntVal = 9090 }))
	long := func(end string) { s := slice("web", end); s.Ports[0].Port = new(int32(9090)); l.slices.Set(s) }
	l.inside(l.pods[0], func() error {
		listener, err := net.Listen("tcp", ":9090")
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			if c, err := listener.Accept(); err == nil {
				io.Copy(c, c)
				c.Close()
			}
		}()
		return nil
	})
	long("10.244.1.11")
	l.run(l.config())
	l.inside(l.pods[2], func() error {
		c, err := net.DialTimeout("tcp", "10.96.0.5:80", 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		long("!10.244.1.11")
		s := slice("web", "10.244.1.12", "!10.244.1.11")
		l.slices.Set(s)
		l.eventually("new connections go to p2", func() bool {
			pod, _, _ := askFor(l.node, "tcp", "10.96.0.5:80", 200*time.Millisecond)
			return pod == "p2"
		})
		c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(c, "still")
		buf := make([]byte, 5)
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "still" {
			t.Errorf("the open connection: %q %v, want its echo", buf, err)
		}
		return nil
	})
}

func TestCleanup(t *testing.T) {
	l := newLab(t)
	before := l.traces()
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11"))
	stop := l.run(l.config())
	if l.traces() == before {
		t.Fatal("the proxy left no trace to clean up")
	}
	stop()
	for range 2 { // the second finds nothing
		if err := Cleanup(l.config()); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.traces(); got != before {
		t.Errorf("after the cleanup: %s\nbefore: %s", got, before)
	}
}

// TestFlushed removes all rules, as restarting the distribution's firewall does.
func TestFlushed(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11"))
	c := l.config()
	c.checkEvery = 10 * time.Millisecond
	l.run(c)
	l.inside(l.node, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		conn.FlushRuleset()
		return conn.Flush()
	})
	l.eventually("the service is back", func() bool {
		_, _, err := askFor(l.pods[2], "tcp", "10.96.0.5:80", 200*time.Millisecond)
		return err == nil
	})
}

// traces lists the node's tables and routes.
func (l *lab) traces() string {
	var out []string
	l.inside(l.node, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		if err != nil {
			return err
		}
		for _, table := range tables {
			out = append(out, "table "+table.Name)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP.IsLinkLocalUnicast() {
				continue // the kernel's own, in its own time
			}
			out = append(out, r.String())
		}
		return err
	})
	return strings.Join(out, "\n")
}

func TestHealthCheckPort(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5", nodePort(30080), func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = 31999
	}))
	l.slices.Set(slice("web", "10.244.1.11", "10.244.1.12@n2"))
	l.run(l.config())
	get := func() (code int, body string) {
		within(l.client, func() error {
			c, err := net.DialTimeout("tcp", "192.0.2.1:31999", 2*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			fmt.Fprint(c, "GET /healthz HTTP/1.0\r\n\r\n")
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return err
			}
			text, _ := io.ReadAll(answer.Body)
			code, body = answer.StatusCode, string(text)
			return nil
		})
		return
	}
	l.eventually("healthy with one endpoint here", func() bool {
		code, body := get()
		return code == 200 && strings.Contains(body, `"localEndpoints": 1,`)
	})
	l.slices.Set(slice("web", "10.244.1.12@n2"))
	l.eventually("unhealthy with none here", func() bool { code, _ := get(); return code == 503 })
}

// TestThousands puts many services into the kernel at once, and looks at what one more change costs there.
func TestThousands(t *testing.T) {
	const n = 1000
	l := newLab(t)
	k := newKernel(l.config())
	k.TableName = "lighter"
	k.table.Name = "lighter"
	tab, env := newTable(), environment{node: "n1", pods: true}
	of := func(i int, ends ...string) (types.NamespacedName, ruleset) {
		name := fmt.Sprintf("s%d", i)
		return types.NamespacedName{Namespace: "a", Name: name},
			compile(service(name, fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)), []*discoveryv1.EndpointSlice{slice(name, ends...)}, env)
	}
	for i := range n {
		tab.put(of(i, "10.244.1.11", "10.244.1.12", "10.244.1.13"))
	}
	tab.flush()
	begin := time.Now()
	for range 2 { // into nothing, and in place of itself
		if err := k.replace(tab.all()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d services, replaced twice: %v", n, time.Since(begin))
	begin = time.Now()
	const changes = 50
	for i := range changes {
		tab.put(of(i, "10.244.1.11"))
		if err := k.apply(tab.flush()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("one service changed: %v", time.Since(begin)/changes)
	var ends []string
	for i := range 700 { // more than one message carries
		ends = append(ends, fmt.Sprintf("10.244.%d.%d", 2+i/250, i%250+1))
	}
	big := types.NamespacedName{Namespace: "a", Name: "big"}
	tab.put(big, compile(service("big", "10.96.9.1", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }),
		[]*discoveryv1.EndpointSlice{slice("big", ends...)}, env))
	if err := k.apply(tab.flush()); err != nil {
		t.Fatal(err)
	}
	conn, err := k.conn()
	if err != nil {
		t.Fatal(err)
	}
	sets, err := conn.GetSets(k.table)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, s := range sets {
		if !strings.HasPrefix(s.Name, "__") {
			continue
		}
		if elements, err := conn.GetSetElements(s); err == nil && len(elements) == len(ends) {
			whole++
		}
	}
	if whole != 6 { // of each of two ports: the set of endpoints, the map that chooses, the map for when memory is full
		t.Errorf("%d sets have all %d endpoints, want 6", whole, len(ends))
	}
	tab.put(big, ruleset{})
	if err := k.apply(tab.flush()); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"10.96.0.1:80", "10.96.3.250:80"} {
		if _, _, err := ask(l.pods[2], "tcp", to); err != nil {
			t.Errorf("ask %s: %v", to, err)
		}
	}
}
