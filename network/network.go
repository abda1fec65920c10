// Package network lets pods of all nodes reach each other. In come the cluster's Nodes, each with its pod
// addresses (spec.podCIDRs) and its own address; out go this node's routes to them, a tunnel to those
// that are not on a network of ours, and one nftables table that masquerades what pods send out of the
// cluster. Addresses inside the node are the CNI plugin's; role runs this on each node.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Config is what the network needs to know. Zero values mean what the comments say.
type Config struct {
	Client   client.Client
	NodeName string
	// NodeIPs are this node's own addresses, at most one of each family. Tunnels begin at the first.
	NodeIPs []netip.Addr
	// PodCIDRs are the pod addresses of the whole cluster: what pods send elsewhere is masqueraded. Empty: nothing is.
	PodCIDRs []netip.Prefix
	// TableName names the nftables table; "" is "lighter-network".
	TableName string
	// NetNS is the file descriptor of the network namespace to work in; 0 is the process's own.
	NetNS int
	// Before is the file that Remember made, so that Cleanup can set the kernel's settings back; "": they stay.
	Before string
	Log    *slog.Logger
	// Ready is called once, when this node has its pod addresses and the way to all nodes known then.
	Ready func()
}

const (
	defaultTable = "lighter-network"
	gather       = 5 * time.Millisecond // changes that come this close together are one
	recheck      = 30 * time.Second     // how often routes are compared again, in case somebody or a link took them
)

func (c *Config) fill() {
	if c.TableName == "" {
		c.TableName = defaultTable
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

// Run keeps routes and rules as the Nodes want them until ctx ends, and leaves them in place: pods outlive
// Lighter. While the API is away the last state stays.
func Run(ctx context.Context, c Config) error {
	c.fill()
	k := &kernel{Config: c}
	if err := k.settings(ctx); err != nil {
		return err
	}
	nodes := client.Nodes.View(ctx, c.Client, client.Selection{})
	if err := nodes.WaitSynced(ctx); err != nil {
		return fmt.Errorf("wait for nodes: %w", err)
	}
	changed := make(chan struct{}, 1)
	nodes.Subscribe(ctx, func(old, new *corev1.Node) {
		if old != nil && new != nil && reflect.DeepEqual(wayTo(old), wayTo(new)) {
			return // a heartbeat, most likely
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	again := time.NewTicker(recheck)
	defer again.Stop()
	ready := false
	for {
		self, peers := sides(nodes.List(""), c.NodeName)
		if err := k.apply(self, peers); err != nil {
			c.Log.Error("set up pod network", "err", err)
		} else if !ready && len(self.pods) > 0 {
			ready = true
			if c.Ready != nil {
				c.Ready()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(gather):
			}
		}
	}
}

// Cleanup removes the routes, the tunnel and the table. Of the Config it reads TableName and NetNS.
func Cleanup(c Config) error {
	c.fill()
	k := &kernel{Config: c}
	return errors.Join(k.remove(), k.restore())
}

// peer is a node as the network sees it.
type peer struct {
	name string
	ips  []netip.Addr // its own, in the order of its status
	pods []netip.Prefix
}

// wayTo reads a node. Addresses that nobody can send to, or that are not addresses, are left out.
func wayTo(n *corev1.Node) peer {
	p := peer{name: n.Name}
	for _, a := range n.Status.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if a.Type == corev1.NodeInternalIP && err == nil && ip.IsGlobalUnicast() {
			p.ips = append(p.ips, ip.Unmap())
		}
	}
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 && n.Spec.PodCIDR != "" {
		texts = []string{n.Spec.PodCIDR}
	}
	for _, text := range texts {
		if cidr, err := netip.ParsePrefix(text); err == nil && cidr.Addr().IsGlobalUnicast() {
			p.pods = append(p.pods, cidr.Masked())
		}
	}
	return p
}

// sides parts the nodes into this one and those that have an address and pod addresses.
func sides(nodes []*corev1.Node, name string) (self peer, peers []peer) {
	for _, n := range nodes {
		switch p := wayTo(n); {
		case n.Name == name:
			self = p
		case len(p.ips) > 0 && len(p.pods) > 0:
			peers = append(peers, p)
		}
	}
	return self, peers
}
