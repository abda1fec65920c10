// Package node looks after Nodes: gives each a range of pod addresses (cidr.go), notices when one stops
// posting (pulse.go), says so in conditions and taints (lifecycle.go), and takes pods from nodes whose
// NoExecute taints they do not tolerate (eviction.go).
package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Kind of events' objects.
var (
	nodeKind = corev1.SchemeGroupVersion.WithKind("Node")
	podKind  = corev1.SchemeGroupVersion.WithKind("Pod")
)

// Options are what differs between clusters.
type Options struct {
	PodCIDR  netip.Prefix  // addresses of all pods, IPv4; invalid: nodes are given none
	MaskSize int           // of the part that each node gets; 0 is 24
	Grace    time.Duration // how long a node may be silent before it counts as gone; 0 is 40 s
}

// startupGrace is how long a new node may take until its first status.
const startupGrace = 60 * time.Second

// Run looks after the nodes until ctx ends.
func Run(ctx context.Context, env controller.Env, o Options) error {
	if o.Grace == 0 {
		o.Grace = 40 * time.Second
	}
	if o.MaskSize == 0 {
		o.MaskSize = 24
	}
	nodes := client.Nodes.View(ctx, env.Client, client.Selection{})
	pods := client.Pods.View(ctx, env.Client, client.Selection{})
	leases := client.Leases.View(ctx, env.Client, client.Selection{Namespace: corev1.NamespaceNodeLease})
	parts := []func() error{
		func() error { return runLifecycle(ctx, env, nodes, pods, leases, o.Grace) },
		func() error { return runEviction(ctx, env, nodes, pods) },
	}
	if o.PodCIDR.IsValid() {
		parts = append(parts, func() error { return runCIDR(ctx, env, nodes, o.PodCIDR.Masked(), o.MaskSize) })
	}
	var wg sync.WaitGroup
	errs := make(chan error, len(parts))
	for _, part := range parts {
		wg.Go(func() { errs <- part() })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// condition returns the node's condition of that type, or nil.
func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// ready is the status of the node's condition Ready; "" before the first one.
func ready(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}
