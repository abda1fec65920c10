// Package local is the cloud of those who have none: every node is a machine of its own zone-less place, and a
// LoadBalancer Service is reached at the addresses of the nodes themselves, where each node's proxy
// takes its traffic, or at an address of its own out of a given network.
package local

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// Place is the zone and region of every node.
const Place = "local"

// Cloud implements cloudprovider.Interface. Safe for concurrent use.
type Cloud struct {
	// Services lists those of the whole cluster: what is given out is read off their status.
	Services func() []*corev1.Service
	// Pool is where Services get addresses of their own from; invalid: they share those of the nodes.
	Pool netip.Prefix

	mu sync.Mutex
}

var (
	_ cloudprovider.Interface    = (*Cloud)(nil)
	_ cloudprovider.InstancesV2  = (*Cloud)(nil)
	_ cloudprovider.LoadBalancer = (*Cloud)(nil)
)

// Initialize has nothing to start.
func (c *Cloud) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}

// ProviderName is "local".
func (c *Cloud) ProviderName() string { return "local" }

// HasClusterID is true: no two clusters share this cloud.
func (c *Cloud) HasClusterID() bool { return true }

// LoadBalancer is this cloud itself.
func (c *Cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return c, true }

// InstancesV2 is this cloud itself.
func (c *Cloud) InstancesV2() (cloudprovider.InstancesV2, bool) { return c, true }

// Instances are not there: InstancesV2 are.
func (c *Cloud) Instances() (cloudprovider.Instances, bool) { return nil, false }

// Zones are part of InstanceMetadata.
func (c *Cloud) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters are not known here.
func (c *Cloud) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes are the pod network's own.
func (c *Cloud) Routes() (cloudprovider.Routes, bool) { return nil, false }

// InstanceExists is always true: a machine of one's own does not vanish because it is silent.
func (c *Cloud) InstanceExists(context.Context, *corev1.Node) (bool, error) { return true, nil }

// InstanceShutdown is not known here.
func (c *Cloud) InstanceShutdown(context.Context, *corev1.Node) (bool, error) { return false, nil }

// InstanceMetadata is the node's own addresses, and Place.
func (c *Cloud) InstanceMetadata(_ context.Context, node *corev1.Node) (*cloudprovider.InstanceMetadata, error) {
	return &cloudprovider.InstanceMetadata{ProviderID: "local://" + node.Name, InstanceType: "local", NodeAddresses: node.Status.Addresses, Zone: Place, Region: Place}, nil
}

// GetLoadBalancerName is a Service's name in this cloud.
func (c *Cloud) GetLoadBalancerName(_ context.Context, _ string, svc *corev1.Service) string {
	return svc.Namespace + "/" + svc.Name
}

// GetLoadBalancer reads a Service's addresses off its status.
func (c *Cloud) GetLoadBalancer(_ context.Context, _ string, svc *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	return svc.Status.LoadBalancer.DeepCopy(), len(svc.Status.LoadBalancer.Ingress) > 0, nil
}

// EnsureLoadBalancer gives a Service its addresses.
func (c *Cloud) EnsureLoadBalancer(_ context.Context, _ string, svc *corev1.Service, nodes []*corev1.Node) (*corev1.LoadBalancerStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Pool.IsValid() {
		ip, err := c.own(svc)
		if err != nil {
			return nil, err
		}
		return status([]string{ip}), nil
	}
	if other := c.clash(svc); other != "" {
		return nil, fmt.Errorf("%s: load balancers share the nodes' addresses here; choose another port, or give the cluster a --load-balancer-cidr", other)
	}
	var ips []string
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				ips = append(ips, a.Address)
			}
		}
	}
	slices.Sort(ips)
	return status(ips), nil
}

func status(ips []string) *corev1.LoadBalancerStatus {
	s := &corev1.LoadBalancerStatus{}
	mode := corev1.LoadBalancerIPModeVIP
	for _, ip := range ips {
		s.Ingress = append(s.Ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: &mode})
	}
	return s
}

// clash says which other load balancer has one of the Service's ports already.
func (c *Cloud) clash(svc *corev1.Service) string {
	for _, o := range c.Services() {
		if o.UID == svc.UID || o.Spec.Type != corev1.ServiceTypeLoadBalancer || o.Spec.LoadBalancerClass != nil || len(o.Status.LoadBalancer.Ingress) == 0 {
			continue
		}
		for _, a := range o.Spec.Ports {
			for _, b := range svc.Spec.Ports {
				if a.Port == b.Port && a.Protocol == b.Protocol {
					return fmt.Sprintf("port %d/%s is taken by Service %s/%s", a.Port, a.Protocol, o.Namespace, o.Name)
				}
			}
		}
	}
	return ""
}

// own is the Service's address out of the pool: the one it has, the one it asks for, or the first that is free.
func (c *Cloud) own(svc *corev1.Service) (string, error) {
	taken := map[string]string{}
	for _, o := range c.Services() {
		for _, in := range o.Status.LoadBalancer.Ingress {
			if o.UID != svc.UID {
				taken[in.IP] = o.Namespace + "/" + o.Name
			}
		}
	}
	inPool := func(ip string) bool { a, err := netip.ParseAddr(ip); return err == nil && c.Pool.Contains(a) }
	if want := svc.Spec.LoadBalancerIP; want != "" {
		switch {
		case !inPool(want):
			return "", fmt.Errorf("address %s is not of %s", want, c.Pool)
		case taken[want] != "":
			return "", fmt.Errorf("address %s is taken by Service %s", want, taken[want])
		}
		return want, nil
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if inPool(in.IP) && taken[in.IP] == "" {
			return in.IP, nil
		}
	}
	for a, n := c.Pool.Masked().Addr().Next(), 0; c.Pool.Contains(a) && n < 1<<16; a, n = a.Next(), n+1 {
		if taken[a.String()] == "" {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("no address of %s is free", c.Pool)
}

// UpdateLoadBalancer has nothing to do: EnsureLoadBalancer follows, and each node's proxy looks after itself.
func (c *Cloud) UpdateLoadBalancer(context.Context, string, *corev1.Service, []*corev1.Node) error {
	return nil
}

// EnsureLoadBalancerDeleted has nothing to do: what was given out is read off the Services that there are.
func (c *Cloud) EnsureLoadBalancerDeleted(context.Context, string, *corev1.Service) error { return nil }
