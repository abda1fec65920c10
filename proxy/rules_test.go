package proxy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// text prints rules for people, in order, with lines that do not differ by run.
func text(r ruleset) string {
	var out []string
	for e, to := range r.Entries {
		where := "node"
		if e.Addr.IsValid() {
			where = e.Addr.String()
		}
		if e.Host {
			where = "host " + where
		}
		if to == "" {
			to = "refuse"
		}
		out = append(out, fmt.Sprintf("%s %d/%d -> %s", where, e.Port, e.Proto, to))
	}
	slices.Sort(out)
	from := []string{"", "from pods ", "from outside ", "from host ", "from "}
	for _, name := range slices.Sorted(maps.Keys(r.Chains)) {
		out = append(out, name)
		for _, rule := range r.Chains[name] {
			line := "  " + from[rule.From]
			if rule.From == fromPrefix {
				line += rule.Prefix.String() + " "
			}
			if rule.Mark {
				line += "mark "
			}
			switch {
			case rule.Goto != "":
				line += "goto " + rule.Goto
			case rule.Drop:
				line += "drop"
			case rule.Balance != nil:
				line += fmt.Sprint("to ", rule.Balance.To)
				if rule.Balance.Affinity != "" {
					line += fmt.Sprintf(" keep %s in %s", rule.Balance.Timeout, rule.Balance.Affinity)
				}
			}
			out = append(out, strings.TrimRight(line, " "))
		}
	}
	if r.Health.Port != 0 {
		out = append(out, fmt.Sprintf("health %d: %d", r.Health.Port, r.Health.Local))
	}
	return strings.Join(out, "\n")
}

// web is a service with one TCP port.
func web(change ...func(*corev1.Service)) *corev1.Service {
	one := func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }
	return service("web", "10.96.0.5", append([]func(*corev1.Service){one}, change...)...)
}

func TestCompile(t *testing.T) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	proxied := corev1.LoadBalancerIPModeProxy
	two := []*discoveryv1.EndpointSlice{slice("web", "10.0.0.2", "10.0.0.3@n2")}
	for what, tt := range map[string]struct {
		service *corev1.Service
		slices  []*discoveryv1.EndpointSlice
		want    string
	}{
		"no service":   {nil, two, ""},
		"headless":     {web(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), two, ""},
		"no address":   {web(func(s *corev1.Service) { s.Spec.ClusterIP = "" }), two, ""},
		"ExternalName": {web(func(s *corev1.Service) { s.Spec.Type = "ExternalName" }), two, ""},
		"another proxy's": {web(func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"}
		}), two, ""},
		"served by the node": {web(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.10", []string{"10.96.0.10"} }), two, ""},
		"no endpoints": {web(nodePort(30080)), nil,
			"10.96.0.5 80/6 -> refuse\nnode 30080/6 -> refuse"},
		"only unready endpoints": {web(), []*discoveryv1.EndpointSlice{slice("web", "-10.0.0.2")}, "10.96.0.5 80/6 -> refuse"},
		"endpoints that no pod can have": {web(), []*discoveryv1.EndpointSlice{slice("web", "127.0.0.1", "169.254.169.254", "224.0.0.1")},
			"10.96.0.5 80/6 -> refuse"},
		"cluster address": {web(), two, `10.96.0.5 80/6 -> svc4/a/web/tcp/80
svc4/a/web/tcp/80
  from outside mark
  to [10.0.0.2:8080 10.0.0.3:8080]`},
		"terminating beside ready is left out": {web(), []*discoveryv1.EndpointSlice{slice("web", "10.0.0.2", "!10.0.0.3")}, `10.96.0.5 80/6 -> svc4/a/web/tcp/80
svc4/a/web/tcp/80
  from outside mark
  to [10.0.0.2:8080]`},
		"affinity": {web(func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(60))}}
		}), two, `10.96.0.5 80/6 -> svc4/a/web/tcp/80
svc4/a/web/tcp/80
  from outside mark
  to [10.0.0.2:8080 10.0.0.3:8080] keep 1m0s in aff4/a/web/tcp/80`},
		"internal policy Local": {web(func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = &local }), two, `10.96.0.5 80/6 -> int4/a/web/tcp/80
int4/a/web/tcp/80
  from outside mark
  to [10.0.0.2:8080]
svc4/a/web/tcp/80
  from outside mark
  to [10.0.0.2:8080 10.0.0.3:8080]`},
		"load balancer, policy Local, source ranges": {web(nodePort(30080), func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "LoadBalancer", "Local", 31000
			s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.7/24", "2001:db8::/32"}
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}, {IP: "203.0.113.2", IPMode: &proxied}, {Hostname: "lb.example"}}
		}), two, `10.96.0.5 80/6 -> svc4/a/web/tcp/80
203.0.113.1 80/6 -> lb4/a/web/tcp/80
node 30080/6 -> ext4/a/web/tcp/80
ext4/a/web/tcp/80
  from pods goto svc4/a/web/tcp/80
  from host mark goto svc4/a/web/tcp/80
  to [10.0.0.2:8080]
lb4/a/web/tcp/80
  from 192.0.2.0/24 goto ext4/a/web/tcp/80
  drop
svc4/a/web/tcp/80
  from outside mark
  to [10.0.0.2:8080 10.0.0.3:8080]
health 31000: 1`},
	} {
		env := environment{node: "n1", pods: true, local: []netip.Addr{netip.MustParseAddr("10.96.0.10")}}
		if got := text(compile(tt.service, tt.slices, env)); got != tt.want {
			t.Errorf("%s:\n%s\nwant:\n%s", what, got, tt.want)
		}
	}
}

func TestDualStack(t *testing.T) {
	svc := web(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.5", "fd96::5"} }, nodePort(30080))
	six := slice("web", "fd44::2")
	six.Name = "web-6"
	r := compile(svc, []*discoveryv1.EndpointSlice{slice("web", "10.0.0.2"), six}, environment{node: "n1"})
	want := `10.96.0.5 80/6 -> svc4/a/web/tcp/80
fd96::5 80/6 -> svc6/a/web/tcp/80
node 30080/6 -> ext4/a/web/tcp/80
node 30080/6 -> ext6/a/web/tcp/80
ext4/a/web/tcp/80
  mark
  goto svc4/a/web/tcp/80
ext6/a/web/tcp/80
  mark
  goto svc6/a/web/tcp/80
svc4/a/web/tcp/80
  to [10.0.0.2:8080]
svc6/a/web/tcp/80
  to [[fd44::2]:8080]`
	if got := text(r); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestHints(t *testing.T) {
	zone := func(e endpoint, names ...string) endpoint {
		for _, n := range names {
			e.zones = append(e.zones, discoveryv1.ForZone{Name: n})
		}
		return e
	}
	on := func(e endpoint, node string) endpoint {
		e.nodes = append(e.nodes, discoveryv1.ForNode{Name: node})
		return e
	}
	at := func(text string) endpoint { return endpoint{addr: netip.MustParseAddrPort(text), ready: true} }
	a, b := at("10.0.0.1:80"), at("10.0.0.2:80")
	for what, tt := range map[string]struct {
		all  []endpoint
		want string
	}{
		"none has hints":                {[]endpoint{a, b}, "[10.0.0.1:80 10.0.0.2:80]"},
		"one is for this zone":          {[]endpoint{zone(a, "east"), zone(b, "west")}, "[10.0.0.1:80]"},
		"one has no hint":               {[]endpoint{zone(a, "east"), b}, "[10.0.0.1:80 10.0.0.2:80]"},
		"none is for this zone":         {[]endpoint{zone(a, "north"), zone(b, "west")}, "[10.0.0.1:80 10.0.0.2:80]"},
		"one is for this node":          {[]endpoint{on(zone(a, "east"), "n2"), on(zone(b, "east"), "n1")}, "[10.0.0.2:80]"},
		"none for this node, but zones": {[]endpoint{on(zone(a, "east"), "n2"), on(zone(b, "west"), "n3")}, "[10.0.0.1:80]"},
	} {
		if got := fmt.Sprint(choose(tt.all, environment{node: "n1", zone: "east"}).cluster); got != tt.want {
			t.Errorf("%s: %s, want %s", what, got, tt.want)
		}
	}
}

// TestTable looks at what a change touches: only its own service, and nothing when nothing changed.
func TestTable(t *testing.T) {
	key := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "a", Name: name} }
	env := environment{node: "n1"}
	of := func(name, ip string, ends ...string) ruleset {
		return compile(service(name, ip, func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }), []*discoveryv1.EndpointSlice{slice(name, ends...)}, env)
	}
	tab := newTable()
	tab.put(key("x"), of("x", "10.96.0.1", "10.0.0.1"))
	tab.put(key("y"), of("y", "10.96.0.2", "10.0.0.2"))
	if c := tab.flush(); len(c.Chains) != 2 || len(c.NewEntries) != 2 {
		t.Fatalf("first: %d chains and %d entries, want 2 and 2", len(c.Chains), len(c.NewEntries))
	}
	tab.put(key("x"), of("x", "10.96.0.1", "10.0.0.1"))
	if c := tab.flush(); !c.empty() {
		t.Errorf("nothing changed, yet %+v", c)
	}
	tab.put(key("x"), of("x", "10.96.0.1", "10.0.0.1", "10.0.0.3@n2"))
	if c := tab.flush(); len(c.Chains) != 1 || len(c.NewEntries)+len(c.OldEntries)+len(c.NewHairpin) != 0 {
		t.Errorf("one more endpoint: %+v, want one chain", c)
	}
	tab.put(key("x"), of("x", "10.96.0.1"))
	if c := tab.flush(); len(c.OldChains) != 1 || len(c.OldEntries) != 1 || len(c.NewEntries) != 1 {
		t.Errorf("no endpoint left: %+v, want the chain gone and the entry refused", c)
	}
	// Two services with one address: the first by name has it until it goes.
	tab.put(key("w"), of("w", "10.96.0.2", "10.0.0.9"))
	if c := tab.flush(); c.NewEntries[entry{Addr: netip.MustParseAddr("10.96.0.2"), Proto: 6, Port: 80}] != "svc4/a/w/tcp/80" {
		t.Errorf("the first by name: %+v", c.NewEntries)
	}
	tab.put(key("w"), ruleset{})
	if c := tab.flush(); c.NewEntries[entry{Addr: netip.MustParseAddr("10.96.0.2"), Proto: 6, Port: 80}] != "svc4/a/y/tcp/80" {
		t.Errorf("after it went: %+v", c.NewEntries)
	}
}

func TestStaleUDP(t *testing.T) {
	a := netip.MustParseAddr
	s := staleFlows{udp: staleUDP{
		{Addr: a("10.96.0.1"), Proto: 17, Port: 53}: {netip.MustParseAddrPort("10.0.0.1:53")},
		{Proto: 17, Port: 30053}:                    nil,
		{Proto: 17, Port: 53, Host: true}:           {netip.MustParseAddrPort("10.0.0.3:5353")},
		{Proto: 17, Port: 30054}:                    nil,
		{Proto: 17, Port: 30054, Host: true}:        {netip.MustParseAddrPort("10.0.0.3:5354")},
	}, node: map[netip.Addr]bool{a("192.0.2.1"): true}}
	for what, tt := range map[string]struct {
		proto   uint8
		to, end string
		want    bool
	}{
		"leads to an endpoint":                    {17, "10.96.0.1:53", "10.0.0.1:53", false},
		"leads to one that is gone":               {17, "10.96.0.1:53", "10.0.0.2:53", true},
		"was never translated":                    {17, "10.96.0.1:53", "10.96.0.1:53", true},
		"is of another port":                      {17, "10.96.0.1:54", "10.0.0.2:53", false},
		"is TCP":                                  {6, "10.96.0.1:53", "10.0.0.2:53", false},
		"host port, to its pod":                   {17, "192.0.2.1:53", "10.0.0.3:5353", false},
		"host port, pod gone":                     {17, "192.0.2.1:53", "10.0.0.4:5353", true},
		"host port, begun before the pod":         {17, "192.0.2.1:53", "192.0.2.1:53", true},
		"through this node to another's port":     {17, "192.0.2.2:53", "192.0.2.2:53", false},
		"host port before node port":              {17, "192.0.2.1:30054", "10.0.0.3:5354", false},
		"node port, endpoint gone":                {17, "192.0.2.1:30053", "10.0.0.2:53", true},
		"the port of somebody else, untranslated": {17, "192.0.2.1:30053", "192.0.2.1:30053", false},
	} {
		to, end := netip.MustParseAddrPort(tt.to), netip.MustParseAddrPort(tt.end)
		if got := s.MatchConntrackFlow(flow(tt.proto, to, end)); got != tt.want {
			t.Errorf("%s: %v, want %v", what, got, tt.want)
		}
	}
	answer := flow(17, netip.MustParseAddrPort("192.0.2.9:40000"), netip.MustParseAddrPort("192.0.2.9:40000"))
	answer.Forward.SrcIP, answer.Forward.SrcPort = a("192.0.2.1").AsSlice(), 53
	if !s.MatchConntrackFlow(answer) || !s.taken {
		t.Error("an answer of the process whose port a pod has got makes a connection that stays")
	}
}

func BenchmarkCompile(b *testing.B) {
	svc := service("web", "10.96.0.5", nodePort(30080))
	all := []*discoveryv1.EndpointSlice{slice("web", "10.0.0.1", "10.0.0.2", "10.0.0.3")}
	for b.Loop() {
		compile(svc, all, environment{node: "n1", pods: true})
	}
}

func flow(proto uint8, to, end netip.AddrPort) *netlink.ConntrackFlow {
	f := &netlink.ConntrackFlow{}
	f.Forward.Protocol, f.Forward.DstIP, f.Forward.DstPort = proto, to.Addr().AsSlice(), to.Port()
	f.Reverse.SrcIP, f.Reverse.SrcPort = end.Addr().AsSlice(), end.Port()
	return f
}
