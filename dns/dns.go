// Package dns answers names for pods: Services and pods from the cluster's own state, as the Kubernetes
// DNS specification 1.1 says, and all other names from the host's resolvers. It runs on each node, in the
// node's own process; role runs it, and pods' resolv.conf points at one of its addresses.
//
// The way of a query: server.go takes it from the wire, zone.go answers it from the records of
// index.go (kept by client views), forward.go asks elsewhere. While the API is away the last state answers.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/client"
)

// Config is what the server needs to know. Zero values mean what the comments say.
type Config struct {
	Client client.Client
	// Listen are the addresses to serve on, by UDP and TCP, such as "10.96.0.10:53"; see BindAddress.
	Listen []string
	Domain string // "" is cluster.local
	// Upstreams are resolvers for other names, "address" or "address:port". None: those of ResolvConf, which is
	// read again when it changes.
	Upstreams  []string
	ResolvConf string // "" is /etc/resolv.conf
	Log        *slog.Logger
	Now        func() time.Time
	// Ready is called once, when the cluster's state is complete and all addresses are served.
	Ready func()
}

const (
	ttl          = 5 // seconds that others may remember an answer about the cluster
	drainTimeout = time.Second
)

// Run serves until ctx ends. It does not answer before it has seen all that exists.
func Run(ctx context.Context, c Config) error {
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	x := newIndex(c.Domain)
	if err := x.follow(ctx, c.Client); err != nil {
		return fmt.Errorf("wait for services: %w", err)
	}
	own := make([]netip.AddrPort, 0, len(c.Listen))
	for _, text := range c.Listen {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("listen address: %w", err)
		}
		own = append(own, a)
	}
	h := &handler{index: x, log: c.Log, forward: newForwarder(c, own)}
	servers, err := open(ctx, c.Listen, h)
	if err != nil {
		return err
	}
	var started sync.WaitGroup
	for _, s := range servers {
		started.Add(1)
		s.NotifyStartedFunc = started.Done
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		group.Go(func() error {
			if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve dns: %w", err)
			}
			return nil
		})
	}
	started.Wait()
	if c.Ready != nil {
		c.Ready()
	}
	group.Go(func() error {
		<-ctx.Done()
		var all error
		for _, s := range servers {
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
			if err := s.ShutdownContext(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				all = errors.Join(all, err)
			}
			cancel()
		}
		return all
	})
	return group.Wait()
}

// open listens on every address by UDP and TCP. Port 0 gets one port for both.
func open(ctx context.Context, addresses []string, h dns.Handler) (servers []*dns.Server, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				if s.PacketConn != nil {
					s.PacketConn.Close()
				} else {
					s.Listener.Close()
				}
			}
		}
	}()
	var lc net.ListenConfig
	for _, address := range addresses {
		udp, err := lc.ListenPacket(ctx, "udp", address)
		if err != nil {
			return servers, fmt.Errorf("listen for dns: %w", err)
		}
		servers = append(servers, &dns.Server{PacketConn: udp, Handler: h, UDPSize: 4096})
		tcp, err := lc.Listen(ctx, "tcp", udp.LocalAddr().String())
		if err != nil {
			return servers, fmt.Errorf("listen for dns: %w", err)
		}
		servers = append(servers, &dns.Server{Listener: tcp, Handler: h, MaxTCPQueries: 1000, IdleTimeout: func() time.Duration { return 10 * time.Second }})
	}
	return servers, nil
}

// relative returns a query name as seen from the domain, lowercase and split: "web.a.svc.cluster.local." is
// [web a svc]. ok is false when the name is not in the domain.
func relative(name, domain string) (labels []string, ok bool) {
	name = strings.ToLower(name)
	rest, found := strings.CutSuffix(name, domain)
	switch {
	case !found:
		return nil, false
	case rest == "":
		return nil, true
	case !strings.HasSuffix(rest, "."):
		return nil, false
	}
	return strings.Split(strings.TrimSuffix(rest, "."), "."), true
}

func contains(list []netip.AddrPort, a netip.AddrPort) bool {
	return slices.ContainsFunc(list, func(b netip.AddrPort) bool {
		return a.Port() == b.Port() && (a.Addr() == b.Addr() || b.Addr().IsUnspecified() && a.Addr().IsLoopback())
	})
}
