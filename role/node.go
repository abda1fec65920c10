package role

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/dns"
	"github.com/lighter-k8s/lighter/kubelet"
	"github.com/lighter-k8s/lighter/kubelet/server"
	"github.com/lighter-k8s/lighter/network"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/proxy"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/runtime"
)

// Node is everything that runs on a machine for its pods: container runtime, kubelet, pod network,
// proxy and DNS, all acting with the node's own rights.
type Node struct {
	Config *config.Config
	Log    *slog.Logger
	Client client.Client
	// Serving is the kubelet's certificate; CAs judge who calls it.
	Serving func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	CAs     *pki.Trust
	// Cluster-wide facts.
	PodCIDR, ServiceCIDR netip.Prefix
	Domain               string
	Progress             *Progress
	// Wait, if not nil, is closed when the API answers; the container runtime starts before.
	Wait chan struct{}
}

// dnsIndex is the DNS service's place in the service range, as everywhere: 10.96.0.10.
const dnsIndex = 10

// nodeIP is the node's address.
func nodeIP(c *config.Config) (netip.Addr, error) {
	if c.Node.IP != "" {
		return netip.ParseAddr(c.Node.IP)
	}
	return network.NodeIP()
}

// Run works until ctx ends; pods keep running. ready is called when a pod could run here and reach Services.
func (n *Node) Run(ctx context.Context, ready func()) error {
	ip, err := nodeIP(n.Config)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	socket, err := n.runtime(ctx, g)
	if err != nil {
		return err
	}
	if n.Wait != nil {
		select {
		case <-n.Wait:
		case <-ctx.Done():
			return g.Wait()
		}
	}
	dnsIP := registry.Nth(n.ServiceCIDR, dnsIndex)
	if err := dns.BindAddress(dnsIP, 0); err != nil {
		return fmt.Errorf("dns address: %w", err)
	}
	up := make(chan string, 3)
	part := func(name string) func() { return func() { up <- name } }
	g.Go(func() error { return n.kubelet(ctx, socket, ip, []string{dnsIP.String()}, part("node")) })
	g.Go(func() error { return n.podNetwork(ctx, ip) })
	g.Go(func() error {
		p := n.proxy(ip, part("services"))
		p.LocalAddresses = []netip.Addr{dnsIP}
		return proxy.Run(ctx, p)
	})
	g.Go(func() error {
		return dns.Run(ctx, dns.Config{Client: n.Client, Listen: []string{net.JoinHostPort(dnsIP.String(), "53")}, Domain: n.Domain, Log: n.Log.With("part", "dns"), Now: time.Now, Ready: part("dns")})
	})
	g.Go(func() error {
		for range 3 {
			select {
			case name := <-up:
				n.Progress.Done(name)
			case <-ctx.Done():
				return nil
			}
		}
		if ready != nil {
			ready()
		}
		return nil
	})
	return g.Wait()
}

// kubelet runs the kubelet alone, on a container runtime's socket.
func (n *Node) kubelet(ctx context.Context, socket string, ip netip.Addr, dns []string, ready func()) error {
	c := n.Config
	listener, err := net.Listen("tcp", net.JoinHostPort(ip.String(), strconv.Itoa(c.Node.KubeletPort)))
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	certificates := authn.NewCertificates(n.CAs.Pool)
	var measures []prometheus.Collector
	if api, ok := n.Client.(*remote.Client); ok { // in the server's process they are the server's
		measures = api.Metrics()
	}
	return kubelet.Run(ctx, kubelet.Config{
		NodeName: c.Node.Name, Client: n.Client, CRISocket: socket, RootDir: filepath.Join(c.DataDir, "kubelet"), LogDir: filepath.Join(c.DataDir, "logs", "pods"),
		CgroupParent: c.Node.CgroupParent, ClusterDNS: dns, ClusterDomain: n.Domain, NodeIPs: []string{ip.String()},
		NodeLabels: c.Node.Labels, MaxPods: c.Node.MaxPods, StaticPodDir: c.Node.StaticPods, Logger: n.Log.With("part", "kubelet"), Now: time.Now,
		Listener:     listener,
		TLS:          &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: n.Serving, ClientAuth: tls.RequestClientCert},
		Authenticate: func(r *http.Request) (server.User, error) { return n.authenticate(certificates, r) },
		Authorize:    n.authorize,
		Ready:        ready,
		Measures:     measures,
	})
}

// proxy is how the proxy of this node is set up.
func (n *Node) proxy(ip netip.Addr, ready func()) proxy.Config {
	return proxy.Config{Client: n.Client, NodeName: n.Config.Node.Name, PodCIDRs: []netip.Prefix{n.PodCIDR}, ServiceCIDRs: []netip.Prefix{n.ServiceCIDR},
		NodeIPs: []netip.Addr{ip}, Log: n.Log.With("part", "proxy"), Now: time.Now, Ready: ready}
}

// runtime starts the carried container runtime, or takes the one it is given; it returns its socket.
func (n *Node) runtime(ctx context.Context, g *errgroup.Group) (string, error) {
	c := n.Config
	if err := network.Remember(settingsBefore(c)); err != nil {
		return "", fmt.Errorf("note the kernel's settings: %w", err)
	}
	if c.Node.RuntimeEndpoint != "" {
		return c.Node.RuntimeEndpoint, nil
	}
	dirs, err := runtime.NewDirs(c.DataDir)
	if err != nil {
		return "", err
	}
	programs, err := runtime.Unpack(dirs.Programs)
	if err != nil {
		return "", err
	}
	d, err := runtime.New(runtime.Options{DataDir: c.DataDir, Programs: programs, Log: n.Log.With("part", "runtime"), CNIConfDir: c.Node.CNIConfDir})
	if err != nil {
		return "", err
	}
	g.Go(func() error { return d.Run(ctx) })
	if err := d.Ready(ctx); err != nil {
		return "", errors.Join(err, g.Wait())
	}
	n.Progress.Done("container runtime")
	return d.Socket, nil
}

// podNetwork configures CNI and keeps the routes to other nodes' pods.
func (n *Node) podNetwork(ctx context.Context, ip netip.Addr) error {
	if n.Config.Node.CNIConfDir != "" {
		return nil // somebody else's network
	}
	if err := n.configureCNI(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	n.Progress.Done("pod network")
	return network.Run(ctx, network.Config{Client: n.Client, NodeName: n.Config.Node.Name, NodeIPs: []netip.Addr{ip}, PodCIDRs: []netip.Prefix{n.PodCIDR},
		Log: n.Log.With("part", "network")})
}

// configureCNI waits until the node has its part of the pod addresses and configures CNI with it.
func (n *Node) configureCNI(ctx context.Context) error {
	c := n.Config
	if c.Node.CNIConfDir != "" {
		return nil
	}
	dirs, err := runtime.NewDirs(c.DataDir)
	if err != nil {
		return err
	}
	nodes := client.Nodes.View(ctx, n.Client, client.Selection{Fields: "metadata.name=" + c.Node.Name})
	found := make(chan []netip.Prefix, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	nodes.Subscribe(watching, func(_, node *corev1.Node) {
		if node == nil || node.Spec.PodCIDR == "" {
			return
		}
		cidrs := node.Spec.PodCIDRs
		if len(cidrs) == 0 {
			cidrs = []string{node.Spec.PodCIDR}
		}
		var prefixes []netip.Prefix
		for _, s := range cidrs {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				n.Log.Error("pod network", "node", node.Name, "err", err)
				return
			}
			prefixes = append(prefixes, p)
		}
		select {
		case found <- prefixes:
		default:
		}
	})
	select {
	case subnets := <-found:
		return runtime.WriteCNI(dirs, runtime.CNI{Bridge: c.Node.Bridge, Subnets: subnets})
	case <-ctx.Done():
		return nil
	}
}

// runProxy runs the proxy alone.
func (n *Node) runProxy(ctx context.Context, ip netip.Addr) error {
	return proxy.Run(ctx, n.proxy(ip, func() { n.Log.Info("services are ready", "node", n.Config.Node.Name) }))
}

// authenticate tells who calls the kubelet: by client certificate, or by a token that the API server reviews.
func (n *Node) authenticate(certificates *authn.Certificates, r *http.Request) (server.User, error) {
	user, _, err := certificates.Authenticate(r)
	if err == nil && user == nil {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return server.User{}, errors.New("no credentials")
		}
		got, err := client.TokenReviews.Create(r.Context(), n.Client, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}})
		if err != nil {
			return server.User{}, err
		}
		if !got.Status.Authenticated {
			return server.User{}, errors.New("token is not good")
		}
		user = &got.Status.User
	}
	if err != nil {
		return server.User{}, err
	}
	out := server.User{Name: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string][]string{}}
	for k, v := range user.Extra {
		out.Extra[k] = v
	}
	return out, nil
}

// authorize asks the API server whether a user may do this to the node.
func (n *Node) authorize(ctx context.Context, u server.User, a server.Attributes) error {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range u.Extra {
		extra[k] = v
	}
	got, err := client.SubjectAccessReviews.Create(ctx, n.Client, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: u.Name, UID: u.UID, Groups: u.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: a.Verb, Version: "v1", Resource: "nodes", Subresource: a.Subresource, Name: a.Node}}})
	if err != nil {
		return err
	}
	if !got.Status.Allowed {
		return fmt.Errorf("forbidden: User %q cannot %s nodes/%s: %s", u.Name, a.Verb, a.Subresource, got.Status.Reason)
	}
	return nil
}
