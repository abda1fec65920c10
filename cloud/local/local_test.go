package local_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/cloud/cloudtest"
	"github.com/lighter-k8s/lighter/cloud/local"
)

func node(name, ip string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip}}}}
}

// The built-in cloud passes what every cloud must, with the nodes' addresses and with its own.
func TestSuite(t *testing.T) {
	nodes := []*corev1.Node{node("a", "10.0.0.9"), node("b", "10.0.0.5")}
	none := func() []*corev1.Service { return nil }
	for name, pool := range map[string]netip.Prefix{"nodes' addresses": {}, "own addresses": netip.MustParsePrefix("10.9.0.0/24")} {
		t.Run(name, func(t *testing.T) { cloudtest.Run(t, &local.Cloud{Services: none, Pool: pool}, nodes, nil) })
	}
}

// No address is given twice, and a Service keeps the one it has.
func TestOwnAddresses(t *testing.T) {
	var services []*corev1.Service
	c := &local.Cloud{Services: func() []*corev1.Service { return services }, Pool: netip.MustParsePrefix("10.9.0.0/29")}
	seen := map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		s := cloudtest.Service(name)
		services = append(services, s)
		for range 2 {
			got, err := c.EnsureLoadBalancer(t.Context(), "", s, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.Status.LoadBalancer = *got
			ip := got.Ingress[0].IP
			if by := seen[ip]; by != "" && by != name {
				t.Errorf("%s has %s, which is %s's", name, ip, by)
			}
			seen[ip] = name
		}
	}
	if len(seen) != 3 {
		t.Errorf("addresses %v", seen)
	}
}
