package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// cluster is a Client that has nothing but views of services, slices and namespaces.
type cluster struct {
	client.Client
	services, slices, namespaces *clienttest.View
}

func (c cluster) View(_ context.Context, r client.Resource, _ client.Selection) client.View {
	switch r.Resource {
	case "services":
		return c.services
	case "endpointslices":
		return c.slices
	}
	return c.namespaces
}

func service(name string, ips string, change ...func(*corev1.Service)) *corev1.Service {
	all := strings.Split(ips, " ")
	s := &corev1.Service{ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: all[0], ClusterIPs: all,
		Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443}, {Protocol: corev1.ProtocolUDP, Port: 53}}}}
	for _, f := range change {
		f(s)
	}
	return s
}

// slice makes a slice of "host=address" endpoints; "-" before it is unready, no host is none.
func slice(service string, kind discoveryv1.AddressType, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: kind, ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: service + "-" + strings.ToLower(string(kind)),
		Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Ports: []discoveryv1.EndpointPort{{Name: new("https"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(8443))}}}
	for _, text := range endpoints {
		rest, unready := strings.CutPrefix(text, "-")
		host, addr, _ := strings.Cut(rest, "=")
		e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: new(!unready)}}
		if host != "" {
			e.Hostname = &host
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func example() cluster {
	ns := func(name string) *corev1.Namespace { return &corev1.Namespace{ObjectMeta: v1.ObjectMeta{Name: name}} }
	external := func(to string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: to}
		}
	}
	unready := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	return cluster{
		services: clienttest.NewView(service("kubernetes", "10.3.0.1"), service("dual", "10.3.0.2 fd00::2"), service("headless", "None"),
			service("empty", "None"), service("early", "None", unready), service("foo", "", external("www.example.com")),
			service("near", "", external("kubernetes.default.svc.cluster.local")), service("ring", "", external("ring.default.svc.cluster.local"))),
		slices: clienttest.NewView(slice("headless", "IPv4", "my-pet=10.3.0.100", "=10.3.0.101", "-gone=10.3.0.102"), slice("headless", "IPv6", "my-pet=fd00::64"),
			slice("empty", "IPv4", "-a=10.3.1.1"), slice("early", "IPv4", "-b=10.3.1.2"), slice("kubernetes", "IPv4", "api=192.0.2.1")),
		namespaces: clienttest.NewView(ns("default"), ns("bare")),
	}
}

// start runs the server on a free loopback port and returns its address.
func start(t testing.TB, c Config) string {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := probe.Addr().String()
	probe.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	c.Listen, c.Ready, c.Log = []string{address}, func() { close(ready) }, slog.New(slog.DiscardHandler)
	go func() { done <- Run(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("run: %v", err)
	}
	return address
}

// upstream is a resolver that knows example.com, and counts what it is asked.
func upstream(t testing.TB) (address string, asked *atomic.Int32) {
	t.Helper()
	var conn net.PacketConn
	var tcp net.Listener
	for try := 0; tcp == nil; try++ { // a port that is free for both: others take some meanwhile
		var err error
		if conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", conn.LocalAddr().String()); err != nil {
			conn.Close()
			if try == 20 {
				t.Fatal(err)
			}
		}
	}
	asked = new(atomic.Int32)
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg).SetReply(q)
		switch name := strings.ToLower(q.Question[0].Name); name {
		case "www.example.com.":
			rr, _ := dns.NewRR(name + " 300 IN A 192.0.2.53")
			m.Answer = []dns.RR{rr}
		case "big.example.com.":
			for i := range 200 {
				rr, _ := dns.NewRR(fmt.Sprintf("%s 300 IN A 192.0.2.%d", name, i))
				m.Answer = append(m.Answer, rr)
			}
			if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
				m.Truncate(1232)
			}
		default:
			rr, _ := dns.NewRR("example.com. 300 IN SOA ns. m. 1 2 3 4 60")
			m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{rr}
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: conn, Handler: answer}, {Listener: tcp, Handler: answer}} {
		go s.ActivateAndServe()
	}
	t.Cleanup(func() { conn.Close(); tcp.Close() })
	return conn.LocalAddr().String(), asked
}

// show prints an answer: code, then the records of the answer and of the additional section after "+", without
// their times, in order.
func show(m *dns.Msg) string {
	var out []string
	for i, section := range [][]dns.RR{m.Answer, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				f := strings.Fields(rr.String())
				out = append(out, []string{"", "+"}[i]+f[0]+" "+strings.Join(f[3:], " "))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(append([]string{dns.RcodeToString[m.Rcode]}, out...), "\n")
}

func TestSpecification(t *testing.T) {
	other, _ := upstream(t)
	address := start(t, Config{Client: example(), Upstreams: []string{other}})
	for _, tt := range []struct{ what, name, kind, want string }{
		{"schema version", "dns-version.cluster.local.", "TXT", `NOERROR
dns-version.cluster.local. TXT "1.1.0"`},
		{"service", "kubernetes.default.svc.cluster.local.", "A", "NOERROR\nkubernetes.default.svc.cluster.local. A 10.3.0.1"},
		{"in the letters of the question", "KuberNetes.default.svc.CLUSTER.local.", "A", "NOERROR\nKuberNetes.default.svc.CLUSTER.local. A 10.3.0.1"},
		{"service without IPv6", "kubernetes.default.svc.cluster.local.", "AAAA", "NOERROR"},
		{"dual-stack service", "dual.default.svc.cluster.local.", "AAAA", "NOERROR\ndual.default.svc.cluster.local. AAAA fd00::2"},
		{"named port", "_https._tcp.kubernetes.default.svc.cluster.local.", "SRV", `NOERROR
+kubernetes.default.svc.cluster.local. A 10.3.0.1
_https._tcp.kubernetes.default.svc.cluster.local. SRV 0 100 443 kubernetes.default.svc.cluster.local.`},
		{"its name without that type", "_https._tcp.kubernetes.default.svc.cluster.local.", "A", "NOERROR"},
		{"the name above it", "_tcp.kubernetes.default.svc.cluster.local.", "SRV", "NOERROR"},
		{"a protocol without named ports", "_udp.kubernetes.default.svc.cluster.local.", "SRV", "NXDOMAIN"},
		{"no such port", "_http._tcp.kubernetes.default.svc.cluster.local.", "SRV", "NXDOMAIN"},
		{"endpoint of a service that is not headless", "api.kubernetes.default.svc.cluster.local.", "A", "NXDOMAIN"},
		{"address of a service", "1.0.3.10.in-addr.arpa.", "PTR", "NOERROR\n1.0.3.10.in-addr.arpa. PTR kubernetes.default.svc.cluster.local."},
		{"IPv6 address of a service", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR",
			"NOERROR\n2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR dual.default.svc.cluster.local."},
		{"headless", "headless.default.svc.cluster.local.", "A", `NOERROR
headless.default.svc.cluster.local. A 10.3.0.100
headless.default.svc.cluster.local. A 10.3.0.101`},
		{"headless, IPv6", "headless.default.svc.cluster.local.", "AAAA", "NOERROR\nheadless.default.svc.cluster.local. AAAA fd00::64"},
		{"hostname", "my-pet.headless.default.svc.cluster.local.", "A", "NOERROR\nmy-pet.headless.default.svc.cluster.local. A 10.3.0.100"},
		{"made-up hostname", "10-3-0-101.headless.default.svc.cluster.local.", "A", "NOERROR\n10-3-0-101.headless.default.svc.cluster.local. A 10.3.0.101"},
		{"hostname of an unready endpoint", "gone.headless.default.svc.cluster.local.", "A", "NXDOMAIN"},
		{"headless without ready endpoints", "empty.default.svc.cluster.local.", "A", "NXDOMAIN"},
		{"unready endpoints published", "b.early.default.svc.cluster.local.", "A", "NOERROR\nb.early.default.svc.cluster.local. A 10.3.1.2"},
		{"headless named port", "_https._tcp.headless.default.svc.cluster.local.", "SRV", `NOERROR
+10-3-0-101.headless.default.svc.cluster.local. A 10.3.0.101
+my-pet.headless.default.svc.cluster.local. A 10.3.0.100
+my-pet.headless.default.svc.cluster.local. AAAA fd00::64
_https._tcp.headless.default.svc.cluster.local. SRV 0 50 8443 10-3-0-101.headless.default.svc.cluster.local.
_https._tcp.headless.default.svc.cluster.local. SRV 0 50 8443 my-pet.headless.default.svc.cluster.local.`},
		{"address of an endpoint", "100.0.3.10.in-addr.arpa.", "PTR", "NOERROR\n100.0.3.10.in-addr.arpa. PTR my-pet.headless.default.svc.cluster.local."},
		{"another name", "foo.default.svc.cluster.local.", "A", `NOERROR
foo.default.svc.cluster.local. CNAME www.example.com.
www.example.com. A 192.0.2.53`},
		{"another name in the cluster", "near.default.svc.cluster.local.", "A", `NOERROR
kubernetes.default.svc.cluster.local. A 10.3.0.1
near.default.svc.cluster.local. CNAME kubernetes.default.svc.cluster.local.`},
		{"only that other name", "near.default.svc.cluster.local.", "CNAME", "NOERROR\nnear.default.svc.cluster.local. CNAME kubernetes.default.svc.cluster.local."},
		{"pod", "10-1-2-3.default.pod.cluster.local.", "A", "NOERROR\n10-1-2-3.default.pod.cluster.local. A 10.1.2.3"},
		{"pod, IPv6", "fd00--1.default.pod.cluster.local.", "AAAA", "NOERROR\nfd00--1.default.pod.cluster.local. AAAA fd00::1"},
		{"pod in no namespace", "10-1-2-3.nowhere.pod.cluster.local.", "A", "NXDOMAIN"},
		{"pod without address", "web.default.pod.cluster.local.", "A", "NXDOMAIN"},
		{"no such service", "nothing.default.svc.cluster.local.", "A", "NXDOMAIN"},
		{"namespace", "bare.svc.cluster.local.", "A", "NOERROR"},
		{"no such namespace", "nowhere.svc.cluster.local.", "A", "NXDOMAIN"},
		{"services", "svc.cluster.local.", "A", "NOERROR"},
		{"domain", "cluster.local.", "A", "NOERROR"},
		{"no such name in the domain", "www.example.com.cluster.local.", "A", "NXDOMAIN"},
		{"domain as the end of a label", "xcluster.local.", "A", "NXDOMAIN"},
		{"other name", "wWw.example.com.", "A", "NOERROR\nwWw.example.com. A 192.0.2.53"},
		{"no such other name", "nothing.example.com.", "A", "NXDOMAIN"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			c := dns.Client{Net: network}
			q := new(dns.Msg).SetQuestion(tt.name, dns.StringToType[tt.kind])
			q.SetEdns0(4096, false)
			m, _, err := c.Exchange(q, address)
			if err != nil {
				t.Fatalf("%s: %v", tt.what, err)
			}
			if got := show(m); got != tt.want {
				t.Errorf("%s by %s:\n%s\nwant:\n%s", tt.what, network, got, tt.want)
			}
			if len(m.Answer) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA) {
				t.Errorf("%s: authority %v, want the SOA that says how long there is none", tt.what, m.Ns)
			}
			if m.Question[0].Name != tt.name {
				t.Errorf("%s: the question came back as %q", tt.what, m.Question[0].Name)
			}
		}
	}
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := example()
		x := newIndex("cluster.local")
		if err := x.follow(ctx, c); err != nil {
			t.Fatal(err)
		}
		c.slices.Set(slice("headless", "IPv4", "my-pet=10.3.0.105"))
		synctest.Wait()
		if a := x.lookup([]string{"my-pet", "headless", "default", "svc"}); fmt.Sprint(a.addresses) != "[10.3.0.105 fd00::64]" {
			t.Errorf("after the endpoint moved: %v", a.addresses)
		}
		if names := x.pointers(netip.MustParseAddr("10.3.0.100")); names != nil {
			t.Errorf("its old address still has the names %v", names)
		}
		c.services.Delete("default", "headless")
		c.namespaces.Delete("", "bare")
		synctest.Wait()
		if x.lookup([]string{"headless", "default", "svc"}).exists || x.pointers(netip.MustParseAddr("10.3.0.105")) != nil {
			t.Error("the deleted service still has a name or an address")
		}
		if x.lookup([]string{"bare", "svc"}).exists {
			t.Error("the deleted namespace still exists")
		}
	})
}

func TestWire(t *testing.T) {
	c := example()
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("=10.4.0.%d", i))
	}
	c.slices.Set(slice("headless", "IPv4", many...))
	x := newIndex("cluster.local.")
	if err := x.follow(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	h := &handler{index: x, log: slog.New(slog.DiscardHandler), forward: newForwarder(Config{Upstreams: []string{}, ResolvConf: "/nonexistent", Now: time.Now, Log: slog.New(slog.DiscardHandler)}, nil)}
	ask := func(change func(*dns.Msg)) *dns.Msg {
		q := new(dns.Msg).SetQuestion("headless.default.svc.cluster.local.", dns.TypeA)
		change(q)
		return q
	}
	for what, tt := range map[string]struct {
		q    *dns.Msg
		udp  bool
		want func(m *dns.Msg) bool
	}{
		"too long for a plain packet": {ask(func(*dns.Msg) {}), true, func(m *dns.Msg) bool { return m.Truncated && m.Len() <= 512 }},
		"long enough a packet":        {ask(func(q *dns.Msg) { q.SetEdns0(4096, false) }), true, func(m *dns.Msg) bool { return !m.Truncated && len(m.Answer) == 100 && m.IsEdns0() != nil }},
		"by TCP":                      {ask(func(*dns.Msg) {}), false, func(m *dns.Msg) bool { return !m.Truncated && len(m.Answer) == 100 }},
		"time and authority":          {ask(func(*dns.Msg) {}), false, func(m *dns.Msg) bool { return m.Authoritative && m.Answer[0].Header().Ttl == 5 }},
		"version of EDNS unknown":     {ask(func(q *dns.Msg) { q.SetEdns0(4096, false); q.IsEdns0().SetVersion(1) }), true, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeBadVers }},
		"another class":               {ask(func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassCHAOS }), true, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeRefused }},
		"transfer":                    {ask(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeAXFR }), false, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeRefused }},
		"update":                      {ask(func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }), true, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNotImplemented }},
		"no question":                 {ask(func(q *dns.Msg) { q.Question = nil }), true, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeFormatError }},
		"an answer as a question":     {ask(func(q *dns.Msg) { q.Response = true }), true, func(m *dns.Msg) bool { return m == nil }},
		"a name that is its own":      {ask(func(q *dns.Msg) { q.Question[0].Name = "ring.default.svc.cluster.local." }), true, func(m *dns.Msg) bool { return len(m.Answer) > 0 && len(m.Answer) < 20 }},
		"no resolver":                 {ask(func(q *dns.Msg) { q.Question[0].Name = "example.com." }), true, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeServerFailure }},
	} {
		if m := h.reply(tt.q, tt.udp); !tt.want(m) {
			t.Errorf("%s: got %v", what, m)
		}
	}
	first := map[string]bool{}
	for range 50 {
		first[h.reply(ask(func(*dns.Msg) {}), false).Answer[0].String()] = true
	}
	if len(first) < 10 {
		t.Errorf("50 answers began with %d different records, want them shuffled", len(first))
	}
}

func TestForward(t *testing.T) {
	other, asked := upstream(t)
	now := time.Unix(1_700_000_000, 0)
	f := newForwarder(Config{Upstreams: []string{"127.0.0.1:1", other}, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}, nil)
	ask := func(name string) *dns.Msg {
		q := new(dns.Msg).SetQuestion(name, dns.TypeA)
		return f.ask(q, new(dns.Msg).SetReply(q))
	}
	if m := ask("www.example.com."); len(m.Answer) != 1 {
		t.Fatalf("with the first resolver dead: %v", m)
	}
	now = now.Add(10 * time.Second)
	if m := ask("WWW.example.com."); asked.Load() != 1 || m.Answer[0].Header().Ttl != 290 || m.Answer[0].Header().Name != "WWW.example.com." {
		t.Errorf("asked again: %d questions upstream, answer %v; want it remembered", asked.Load(), m.Answer)
	}
	now = now.Add(maxCachedFor)
	if ask("www.example.com."); asked.Load() != 2 {
		t.Errorf("after its time: %d questions upstream, want 2", asked.Load())
	}
	ask("no.example.com.")
	if m := ask("no.example.com."); asked.Load() != 3 || m.Rcode != dns.RcodeNameError {
		t.Errorf("no such name, twice: %d questions upstream, code %d", asked.Load(), m.Rcode)
	}
	if m := ask("big.example.com."); len(m.Answer) != 200 {
		t.Errorf("an answer too long for UDP has %d records, want 200", len(m.Answer))
	}
	for i := range maxCached + 100 {
		f.remember(question{name: fmt.Sprint(i)}, ask("www.example.com."))
	}
	if len(f.cache) > maxCached {
		t.Errorf("%d answers kept, want at most %d", len(f.cache), maxCached)
	}
}

func TestResolvers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, at time.Time) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		own := []netip.AddrPort{netip.MustParseAddrPort("10.96.0.10:53")}
		f := newForwarder(Config{ResolvConf: file, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, own)
		if got := f.upstreams(); len(got) != 0 {
			t.Errorf("without the file: %v", got)
		}
		write("nameserver 192.0.2.1\nnameserver 10.96.0.10\nnameserver 2001:db8::1\n", time.Unix(1, 0))
		time.Sleep(rereadEvery)
		if got := fmt.Sprint(f.upstreams()); got != "[192.0.2.1:53 [2001:db8::1]:53]" {
			t.Errorf("with the file: %s", got)
		}
		write("nameserver 192.0.2.2\n", time.Unix(2, 0))
		time.Sleep(rereadEvery)
		if got := fmt.Sprint(f.upstreams()); got != "[192.0.2.2:53]" {
			t.Errorf("after a change: %s", got)
		}
		os.Remove(file)
		time.Sleep(rereadEvery)
		if got := fmt.Sprint(f.upstreams()); got != "[192.0.2.2:53]" {
			t.Errorf("without the file again: %s, want the last", got)
		}
	})
}

func FuzzReply(f *testing.F) {
	c := example()
	x := newIndex("cluster.local.")
	if err := x.follow(f.Context(), c); err != nil {
		f.Fatal(err)
	}
	h := &handler{index: x, log: slog.New(slog.DiscardHandler), forward: newForwarder(Config{ResolvConf: "/nonexistent", Now: time.Now, Log: slog.New(slog.DiscardHandler)}, nil)}
	for _, name := range []string{"kubernetes.default.svc.cluster.local.", "_https._tcp.headless.default.svc.cluster.local.", "1.0.3.10.in-addr.arpa.", "a\\.b.default.pod.cluster.local."} {
		wire, err := new(dns.Msg).SetQuestion(name, dns.TypeANY).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		q := new(dns.Msg)
		if q.Unpack(wire) != nil {
			return
		}
		if m := h.reply(q, true); m != nil {
			out, err := m.Pack()
			if err != nil {
				t.Fatalf("an answer that cannot be written: %v", err)
			}
			if size := 512; len(out) > size && (q.IsEdns0() == nil || len(out) > max(size, int(q.IsEdns0().UDPSize()))) {
				t.Fatalf("%d bytes, more than the asker takes", len(out))
			}
		}
	})
}

func BenchmarkReply(b *testing.B) {
	x := newIndex("cluster.local.")
	if err := x.follow(b.Context(), example()); err != nil {
		b.Fatal(err)
	}
	h := &handler{index: x}
	wire, _ := new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA).Pack()
	b.ReportAllocs()
	for b.Loop() {
		q := new(dns.Msg)
		if err := q.Unpack(wire); err != nil {
			b.Fatal(err)
		}
		if _, err := h.reply(q, true).Pack(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkServer(b *testing.B) {
	address := start(b, Config{Client: example()})
	wire, _ := new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA).Pack()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("udp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buf := make([]byte, 512)
		for pb.Next() {
			conn.Write(wire)
			if _, err := conn.Read(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
