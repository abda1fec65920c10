package role

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/rest"

	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/pki"
)

// Part is what one part alone needs, beside the configuration that it shares with the roles: any Kubernetes
// API server, named by a kubeconfig.
type Part struct {
	Kubeconfig string
	// Authority is a certificate and its key in PEM files, with which the controllers answer signing requests; "" leaves that to somebody else.
	AuthorityCert, AuthorityKey string
	ClusterDNS                  []string // the kubelet gives these to pods
}

// connect finds the API server, and whom its kubeconfig trusts: nil when that names nobody. Both follow the file.
func (p Part) connect(ctx context.Context, log *slog.Logger) (*remote.Client, *pki.Trust, error) {
	trust := &pki.Trust{}
	api, cfg, err := remote.Follow(ctx, p.Kubeconfig, log, func(next *rest.Config) {
		if err := trusts(next, trust); err != nil {
			log.Error("authorities of the kubeconfig are not taken over", "object", p.Kubeconfig, "err", err)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if len(cfg.CAData) == 0 {
		return api, nil, nil
	}
	return api, trust, trusts(cfg, trust)
}

// trusts makes trust what a kubeconfig trusts; one that names nobody changes nothing.
func trusts(cfg *rest.Config, trust *pki.Trust) error {
	if len(cfg.CAData) == 0 {
		return nil
	}
	next, err := pki.NewTrust(cfg.CAData)
	if err == nil {
		trust.Set(next.Trusted()...)
	}
	return err
}

// Scheduler runs the scheduler alone until ctx ends.
func (p Part) Scheduler(ctx context.Context, _ *config.Config, log *slog.Logger) error {
	c, _, err := p.connect(ctx, log)
	if err != nil {
		return err
	}
	return electedAlone(ctx, c, schedulerLease, log, func(ctx context.Context, g *errgroup.Group, f fence) {
		runScheduler(ctx, g, newEnv(f(c), log, "default-scheduler"))
	})
}

// Controllers runs all controllers alone until ctx ends, with the rights of the kubeconfig's user.
func (p Part) Controllers(ctx context.Context, c *config.Config, log *slog.Logger) error {
	api, ca, err := p.connect(ctx, log)
	if err != nil {
		return err
	}
	o := controllerOptions{ca: ca, grace: time.Duration(c.Server.NodeMonitorGrace) * time.Second, resources: resources(builtin.All()),
		types: (&Server{}).types(builtin.All())} // of built-in resources alone
	if o.podCIDR, err = netip.ParsePrefix(c.Server.PodCIDR); err != nil {
		return err
	}
	if p.AuthorityCert != "" {
		if o.authority, err = pki.OpenAuthority(p.AuthorityCert, p.AuthorityKey, "kubernetes", pki.Lives{}); err != nil {
			return err
		}
	}
	return electedAlone(ctx, api, controllersLease, log, func(ctx context.Context, g *errgroup.Group, f fence) {
		runControllers(ctx, g, func(name string) controller.Env { return newEnv(f(api), log, component(name)) }, o)
	})
}

// CloudControllers runs the cloud controllers alone, with the local cloud, until ctx ends.
func (p Part) CloudControllers(ctx context.Context, c *config.Config, log *slog.Logger) error {
	api, _, err := p.connect(ctx, log)
	if err != nil {
		return err
	}
	services := client.Services.View(ctx, api, client.Selection{})
	if err := services.WaitSynced(ctx); err != nil {
		return nil // ctx ended
	}
	return electedAlone(ctx, api, cloudLease, log, func(ctx context.Context, g *errgroup.Group, f fence) {
		runCloud(ctx, g, func(name string) controller.Env { return newEnv(f(api), log, component(name)) }, services, c.Server.LoadBalancerCIDR)
	})
}

// Proxy runs this node's proxy alone until ctx ends.
func (p Part) Proxy(ctx context.Context, c *config.Config, log *slog.Logger) error {
	n, ip, err := p.node(ctx, c, log)
	if err != nil {
		return err
	}
	return n.runProxy(ctx, ip)
}

// Kubelet runs this node's kubelet and, without a CRI socket of one's own, the carried container runtime until ctx ends.
func (p Part) Kubelet(ctx context.Context, c *config.Config, log *slog.Logger) error {
	n, ip, err := p.node(ctx, c, log)
	if err != nil {
		return err
	}
	spec := kubeletServing(c.Node.Name, ip)
	serving, err := selfSigned(spec)
	if err != nil {
		return err
	}
	n.Serving = serving.GetCertificate
	g, ctx := errgroup.WithContext(ctx)
	socket, err := n.runtime(ctx, g)
	if err != nil {
		return err
	}
	g.Go(func() error { return serving.Run(ctx, log) })
	g.Go(func() error {
		n.signed(ctx, serving, func(ctx context.Context) (*pki.Pair, error) {
			return request(ctx, n.Client, "kubelet-serving", spec, certificatesv1.KubeletServingSignerName)
		})
		return nil
	})
	g.Go(func() error { return n.configureCNI(ctx) })
	g.Go(func() error {
		return n.kubelet(ctx, socket, ip, p.ClusterDNS, func() { log.Info("node is ready", "node", c.Node.Name) })
	})
	return g.Wait()
}

// selfSigned is a certificate of nobody's but its own authority.
func selfSigned(spec pki.Spec) (*pki.Rotating, error) {
	own, err := pki.NewAuthority(spec.CommonName)
	if err != nil {
		return nil, err
	}
	return own.Rotating(spec)
}

// signed replaces a kubelet's own certificate by one that the cluster signs: an API server that checks kubelets
// trusts no other, and it signs none before the node is registered. A request waits a minute for its answer; the
// next ones come ever more rarely.
func (n *Node) signed(ctx context.Context, own *pki.Rotating, issue func(context.Context) (*pki.Pair, error)) {
	for delay := 10 * time.Second; ctx.Err() == nil; delay = min(2*delay, 15*time.Minute) {
		err := own.Replace(ctx, issue)
		if err == nil {
			return
		}
		n.Log.Warn("the cluster did not sign the kubelet's certificate", "node", n.Config.Node.Name, "err", err)
		wait(ctx, delay)
	}
}

// node is what kubelet and proxy alone have in common.
func (p Part) node(ctx context.Context, c *config.Config, log *slog.Logger) (*Node, netip.Addr, error) {
	if os.Geteuid() != 0 {
		return nil, netip.Addr{}, errors.New("this needs root, for containers and packet rules")
	}
	api, ca, err := p.connect(ctx, log)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	n := &Node{Config: c, Log: log, Client: api, CAs: cmp.Or(ca, &pki.Trust{}), Domain: c.Server.Domain, Progress: NewProgress(State{})}
	if n.PodCIDR, err = netip.ParsePrefix(c.Server.PodCIDR); err != nil {
		return nil, netip.Addr{}, err
	}
	if n.ServiceCIDR, err = netip.ParsePrefix(c.Server.ServiceCIDR); err != nil {
		return nil, netip.Addr{}, err
	}
	ip, err := nodeIP(c)
	return n, ip, err
}
