package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hostPod makes a running pod of node n1 with an address and ports, written as kubectl would show them:
// "8081:8080/UDP", "192.0.2.1:8082:8080", "[::1]:8082:8080".
func hostPod(name, ip string, ports ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: "a", Name: name},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c"}}}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip}}
	for _, text := range ports {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, containerPort(text))
	}
	return p
}

func containerPort(text string) (out corev1.ContainerPort) {
	text, proto, _ := strings.Cut(text, "/")
	out.Protocol = corev1.Protocol(proto)
	number := func() int32 {
		i := strings.LastIndex(text, ":")
		n, err := strconv.Atoi(text[i+1:])
		if err != nil {
			panic(err)
		}
		text = text[:max(i, 0)]
		return int32(n)
	}
	out.ContainerPort = number()
	if text != "" {
		out.HostPort = number()
	}
	out.HostIP = strings.Trim(text, "[]")
	return out
}

func TestHostPortRules(t *testing.T) {
	with := func(p *corev1.Pod, f func(*corev1.Pod)) *corev1.Pod { f(p); return p }
	always := corev1.ContainerRestartPolicyAlways
	const one = "host node 8081/6 -> host4/a/p/tcp/10.0.0.2:80\nhost4/a/p/tcp/10.0.0.2:80\n  to [10.0.0.2:80]"
	for what, tt := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"a port without host port":   {hostPod("p", "10.0.0.2", "80/TCP"), ""},
		"a port":                     {hostPod("p", "10.0.0.2", "8081:80/TCP"), one},
		"TCP is the default":         {hostPod("p", "10.0.0.2", "8081:80"), one},
		"0.0.0.0 is every address":   {hostPod("p", "10.0.0.2", "0.0.0.0:8081:80"), one},
		"the same port twice":        {hostPod("p", "10.0.0.2", "8081:80", "8081:81"), one},
		"an unknown protocol":        {hostPod("p", "10.0.0.2", "8081:80/FTP"), ""},
		"an address that is none":    {hostPod("p", "10.0.0.2", "localhost:8081:80"), ""},
		"no pod address yet":         {hostPod("p", "", "8081:80"), ""},
		"an address no pod can have": {hostPod("p", "127.0.0.1", "8081:80"), ""},
		"starting, with an address":  {with(hostPod("p", "10.0.0.2", "8081:80"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }), one},
		"failed":                     {with(hostPod("p", "10.0.0.2", "8081:80"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), ""},
		"succeeded":                  {with(hostPod("p", "10.0.0.2", "8081:80"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), ""},
		"hostNetwork":                {with(hostPod("p", "10.0.0.2", "8081:80"), func(p *corev1.Pod) { p.Spec.HostNetwork = true }), ""},
		"an init container": {with(hostPod("p", "10.0.0.2"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Ports: []corev1.ContainerPort{containerPort("8081:80")}}}
		}), ""},
		"a sidecar": {with(hostPod("p", "10.0.0.2"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{RestartPolicy: &always, Ports: []corev1.ContainerPort{containerPort("8081:80")}}}
		}), one},
		"one address of the node, and UDP": {hostPod("p", "10.0.0.2", "192.0.2.1:53:5353/UDP", "192.0.2.1:53:5353/TCP"), `host 192.0.2.1 53/17 -> host4/a/p/udp/10.0.0.2:5353
host 192.0.2.1 53/6 -> host4/a/p/tcp/10.0.0.2:5353
host4/a/p/tcp/10.0.0.2:5353
  to [10.0.0.2:5353]
host4/a/p/udp/10.0.0.2:5353
  to [10.0.0.2:5353]`},
		"an address that the node serves itself": {hostPod("p", "10.0.0.2", "10.96.0.10:53:53/UDP"), ""},
		"an address of the other family":         {hostPod("p", "10.0.0.2", "[2001:db8::1]:53:53/UDP"), ""},
		"both families": {with(hostPod("p", "10.0.0.2", "8081:80"), func(p *corev1.Pod) {
			p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.2"}, {IP: "fd44::2"}}
		}), `host node 8081/6 -> host4/a/p/tcp/10.0.0.2:80
host node 8081/6 -> host6/a/p/tcp/[fd44::2]:80
host4/a/p/tcp/10.0.0.2:80
  to [10.0.0.2:80]
host6/a/p/tcp/[fd44::2]:80
  to [[fd44::2]:80]`},
	} {
		if got := text(hostPorts(tt.pod, environment{node: "n1", local: []netip.Addr{netip.MustParseAddr("10.96.0.10")}})); got != tt.want {
			t.Errorf("%s:\n%s\nwant:\n%s", what, got, tt.want)
		}
	}
}

// TestHostPorts asks for host ports from everywhere and looks at whom the pod saw.
func TestHostPorts(t *testing.T) {
	l := newLab(t)
	p1 := hostPod("p1", "10.244.1.11", "8081:8080", "8081:8080/UDP", "30080:8080", "53:8080")
	p1.Status.PodIPs = []corev1.PodIP{{IP: "10.244.1.11"}, {IP: "fd44::11"}}
	l.objects.Set(p1)
	l.objects.Set(hostPod("p2", "10.244.1.12", "192.0.2.1:8082:8080", "203.0.113.7:8081:8080", "8080:8080"))
	l.objects.Set(hostPod("p3", "10.244.1.13", "127.0.0.1:8082:8080", "127.0.0.1:8082:8080/UDP"))
	l.services.Set(service("web", "10.96.0.5", nodePort(30080)))
	l.slices.Set(slice("web", "10.244.1.13"))
	l.serve(l.node, "node") // on 8080
	c := l.config()
	c.LocalAddresses = []netip.Addr{netip.MustParseAddr("10.96.0.53")}
	c.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // of no matter for host ports
	l.address(l.node, "lo", "10.96.0.53/32")
	l.run(c)
	const refused = "connection refused"
	for what, tt := range map[string]struct {
		from, net, to string
		want          string // who answers, and whom it saw; or the error
	}{
		"from outside":                               {"client", "tcp", "192.0.2.1:8081", "p1 192.0.2.9"},
		"from outside by UDP":                        {"client", "udp", "192.0.2.1:8081", "p1 192.0.2.9"},
		"from outside by IPv6":                       {"client", "tcp", "[2001:db8::1]:8081", "p1 2001:db8::9"},
		"from the node":                              {"node", "tcp", "192.0.2.1:8081", "p1 192.0.2.1"},
		"from the node by IPv6":                      {"node", "tcp", "[2001:db8::1]:8081", "p1 2001:db8::1"},
		"from a pod":                                 {"p3", "tcp", "192.0.2.1:8081", "p1 10.244.1.13"},
		"from a pod, on the bridge's address":        {"p3", "udp", "10.244.1.1:8081", "p1 10.244.1.13"},
		"from itself":                                {"p1", "tcp", "192.0.2.1:8081", "p1 10.244.1.1"},
		"before a listening socket":                  {"client", "tcp", "192.0.2.1:8080", "p2 192.0.2.9"},
		"before a node port":                         {"client", "tcp", "192.0.2.1:30080", "p1 192.0.2.9"},
		"the other protocol is the node port's":      {"client", "udp", "192.0.2.1:30080", "p3 10.244.1.1"},
		"on its hostIP":                              {"client", "tcp", "192.0.2.1:8082", "p2 192.0.2.9"},
		"not on another address":                     {"p1", "tcp", "10.244.1.1:8082", refused},
		"not on an address that is not the node's":   {"client", "tcp", "203.0.113.7:8081", "unreachable"},
		"not on what the node serves itself":         {"p3", "tcp", "10.96.0.53:53", refused},
		"another port":                               {"client", "tcp", "192.0.2.1:8083", refused},
		"loopback, from the node's other address":    {"192.0.2.1", "tcp", "127.0.0.1:8082", "p3 192.0.2.1"},
		"the same by UDP":                            {"192.0.2.1", "udp", "127.0.0.1:8082", "p3 192.0.2.1"},
		"loopback from loopback is not served":       {"node", "tcp", "127.0.0.1:8082", refused},
		"every address does not mean loopback":       {"192.0.2.1", "tcp", "127.0.0.1:8081", refused},
		"a service's address is no host's: pod":      {"p1", "tcp", "10.96.0.5:80", "p3 10.244.1.11"},
		"a service's address is no host's: the node": {"node", "tcp", "10.96.0.5:80", "p3 10.244.1.1"},
	} {
		from, ok := map[string]netns.NsHandle{"client": l.client, "p1": l.pods[0], "p3": l.pods[2]}[tt.from]
		if !ok {
			from = l.node
		}
		who, saw, err := askFrom(from, tt.net, tt.from, tt.to, 5*time.Second)
		got := who + " " + saw
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: %q, want %q", what, got, tt.want)
		}
	}
	p1 = p1.DeepCopy()
	p1.Status.Phase, p1.ResourceVersion = corev1.PodSucceeded, ""
	l.objects.Set(p1)
	l.eventually("the port of a pod that ended is free", func() bool {
		_, _, err := askFor(l.client, "tcp", "192.0.2.1:8081", 200*time.Millisecond)
		return err != nil && strings.Contains(err.Error(), refused)
	})
	l.eventually("the node port is the service's again", func() bool {
		who, _, _ := askFor(l.client, "tcp", "192.0.2.1:30080", 200*time.Millisecond)
		return who == "p3"
	})
	l.objects.Delete("a", "p2")
	l.eventually("the port of a pod that went is the listening socket's", func() bool {
		who, _, _ := askFor(l.client, "tcp", "192.0.2.1:8080", 200*time.Millisecond)
		return who == "node"
	})
}

// TestHostPortUDPMoves keeps one socket from before the pod to the next pod: its packets must follow.
func TestHostPortUDPMoves(t *testing.T) {
	l := newLab(t)
	l.serve(l.node, "node")
	l.run(l.config())
	l.inside(l.client, func() error {
		c, err := net.Dial("udp", "192.0.2.1:8080")
		if err != nil {
			return err
		}
		defer c.Close()
		buf := make([]byte, 100)
		reaches := func(who string) {
			l.eventually("the socket reaches "+who, func() bool {
				fmt.Fprint(c, "?")
				c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				n, _ := c.Read(buf)
				return string(buf[:n]) == who+" 192.0.2.9"
			})
		}
		reaches("node")
		l.objects.Set(hostPod("x", "10.244.1.11", "8080:8080/UDP"))
		reaches("p1")
		l.objects.Set(hostPod("x", "10.244.1.12", "8080:8080/UDP"))
		reaches("p2")
		l.objects.Delete("a", "x")
		reaches("node")
		return nil
	})
}
