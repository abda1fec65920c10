// Package proxy makes this node's kernel carry traffic for Services and for the host ports of its pods. In
// come Services, EndpointSlices, this node's zone and its pods through client views; out go nftables rules in a table of our own,
// written over netlink. role runs it on each node.
//
// The way of a change: a view marks the service or pod dirty (state.go), its endpoints are chosen
// (endpoints.go), compiled to rules that are plain data (rules.go, hostports.go), compared with what is there
// (table.go) and the difference is committed in one nftables transaction (kernel.go). Only what
// changed is touched, and a packet costs the same with one service or ten thousand: an address, protocol
// and port are looked up in one map.
package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Config is what the proxy needs to know. Zero values mean what the comments say.
type Config struct {
	Client   client.Client
	NodeName string
	// PodCIDRs are the cluster's pod addresses. Traffic to a cluster address from outside them is
	// masqueraded, so that answers come back through this node. Empty: such traffic keeps its source.
	PodCIDRs []netip.Prefix
	// ServiceCIDRs are routed to this node's proxy, so that processes of the node reach cluster addresses
	// without a default route, and what no Service claims in them is refused instead of leaving the node.
	ServiceCIDRs []netip.Prefix
	// NodeIPs are this node's own addresses; the first of each family is the source of the service route.
	NodeIPs []netip.Addr
	// NodePortAddresses are the prefixes of the node's addresses on which node ports answer; empty is
	// every local address but loopback.
	NodePortAddresses []netip.Prefix
	// LocalAddresses are cluster addresses that a process of this node serves itself, such as the DNS address.
	LocalAddresses []netip.Addr
	// TableName names the nftables table; "" is "lighter". One network namespace has one proxy per name.
	TableName string
	// NetNS is the file descriptor of the network namespace to work in; 0 is the process's own.
	NetNS int
	Log   *slog.Logger
	Now   func() time.Time
	// Ready is called once, when the kernel first has the rules for all that exists.
	Ready func()

	checkEvery time.Duration // how often the table is looked for, in case somebody removed it; 0 is checkEvery below
}

const (
	defaultTable = "lighter"
	gather       = 3 * time.Millisecond // changes that come this close together are one transaction
	checkEvery   = 5 * time.Second      // one small message each
	retryFirst   = 100 * time.Millisecond
	retryLast    = 10 * time.Second
	podsPatience = 5 * time.Second // how long services wait for the pods' host ports at the start
)

func (c *Config) fill() {
	if c.TableName == "" {
		c.TableName = defaultTable
	}
	if c.checkEvery == 0 {
		c.checkEvery = checkEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

// Run keeps the kernel's rules as the cluster's Services want them until ctx ends, and leaves them in
// place: connections outlive the proxy, and the next Run replaces the rules in one transaction.
// While the API is away the last state stays.
func Run(ctx context.Context, c Config) error {
	c.fill()
	services := client.Services.View(ctx, c.Client, client.Selection{})
	slicesView := client.EndpointSlices.View(ctx, c.Client, client.Selection{})
	node := client.Nodes.View(ctx, c.Client, client.Selection{Fields: "metadata.name=" + c.NodeName})
	pods := client.Pods.View(ctx, c.Client, client.Selection{Fields: "spec.nodeName=" + c.NodeName})
	for _, wait := range []func(context.Context) error{services.WaitSynced, slicesView.WaitSynced, node.WaitSynced} {
		if err := wait(ctx); err != nil {
			return fmt.Errorf("wait for services: %w", err)
		}
	}
	// Host ports are there from the first rules on, but an identity that may not read pods still gets services.
	patience, cancel := context.WithTimeout(ctx, podsPatience)
	defer cancel()
	if err := pods.WaitSynced(patience); err != nil && ctx.Err() == nil {
		c.Log.Warn("this node's pods are not known yet, their host ports come later", "node", c.NodeName, "err", err)
	}

	s := newState()
	services.Subscribe(ctx, s.service)
	slicesView.Subscribe(ctx, s.slice)
	pods.Subscribe(ctx, s.pod)
	node.Subscribe(ctx, func(_, n *corev1.Node) {
		if n != nil && n.Name == c.NodeName {
			s.setZone(n.Labels[corev1.LabelTopologyZone])
		}
	})
	// Subscribe delivers what exists from its own goroutine: the first rules must hold all of it.
	if err := s.waitFor(ctx, services, slicesView, pods); err != nil {
		return err
	}

	h := newHealth(c)
	defer h.close()
	p := &runner{Config: c, kernel: newKernel(c), state: s, table: newTable(), health: h, stale: make(chan staleUDP, 1)}
	var forgetting sync.WaitGroup
	forgetting.Go(func() { p.forget(ctx) })
	defer forgetting.Wait()
	return p.run(ctx)
}

// runner is the loop between the dirty services and the kernel.
type runner struct {
	Config
	kernel *kernel
	state  *state
	table  *table
	health *health
	ready  bool
	stale  chan staleUDP // holds the newest work for forget
	whole  bool          // the kernel's table is as ours; false before the first commit and after a failed one
}

func (p *runner) run(ctx context.Context) error {
	check := time.NewTicker(p.checkEvery)
	defer check.Stop()
	retry, wait := time.Duration(0), (<-chan time.Time)(nil)
	for {
		if err := p.sync(); err != nil {
			retry = min(max(2*retry, retryFirst), retryLast)
			wait = time.After(retry)
			p.Log.Error("write service rules", "err", err, "retry", retry)
		} else {
			retry, wait = 0, nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wait:
		case <-check.C:
			if err := p.kernel.check(); err != nil {
				p.Log.Warn("service rules are gone, writing them again", "err", err)
				p.whole = false
			}
		case <-p.state.changed:
			select { // let what belongs together arrive
			case <-ctx.Done():
				return nil
			case <-time.After(gather):
			}
		}
	}
}

// sync brings the kernel to the newest state: all of it at first and after a failure, else the difference.
func (p *runner) sync() error {
	env := environment{node: p.NodeName, zone: p.state.currentZone(), local: p.LocalAddresses, pods: len(p.PodCIDRs) > 0}
	udp := false
	for key, in := range p.state.take() {
		rules := compile(in.service, in.slices, env)
		if in.pod != nil {
			rules = hostPorts(in.pod, env)
		}
		udp = p.table.put(key, rules) || udp
		p.health.set(key, rules.Health)
	}
	change := p.table.flush()
	switch {
	case !p.whole:
		if err := p.kernel.replace(p.table.all()); err != nil {
			return err
		}
		p.whole, udp = true, true
	case !change.empty():
		if err := p.kernel.apply(change); err != nil {
			p.whole = false
			return err
		}
	}
	if !p.ready {
		p.ready = true
		if p.Ready != nil {
			p.Ready()
		}
	}
	p.health.listen()
	if udp {
		stale := p.table.udp()
		select {
		case older := <-p.stale: // was not begun yet: what went then is still gone, unless it is back
			for e := range older {
				if _, ok := stale[e]; !ok {
					stale[e] = nil
				}
			}
		default:
		}
		p.stale <- stale
	}
	return nil
}

// forget removes stale UDP connections beside the loop: reading them all takes its time, and the next rules
// must not wait for it.
func (p *runner) forget(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case stale := <-p.stale:
			if err := p.kernel.forget(stale); err != nil {
				p.Log.Warn("remove stale udp connections", "err", err)
			}
		}
	}
}

// Cleanup removes the table and the routes that Run leaves behind. Of the Config it reads TableName and NetNS.
func Cleanup(c Config) error {
	c.fill()
	return newKernel(c).remove()
}

func without(addrs []netip.Addr, not []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(not, a) })
}
