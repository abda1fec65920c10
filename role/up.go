package role

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
)

// Up runs a control plane and a node in this process until ctx ends; pods keep running. ready is
// called when the API, the node, DNS and the service network are there.
func Up(ctx context.Context, c *config.Config, log *slog.Logger, p *Progress, ready func()) error {
	s, err := NewServer(ctx, c, log)
	if err != nil {
		return err
	}
	p.Done("store and state")
	s.Control(p)
	ip, err := nodeIP(c)
	if err != nil {
		return err
	}
	node, err := s.PKI.Node(filepath.Join(c.DataDir, "agent"))
	if err != nil {
		return err
	}
	serving, err := node.Rotated("kubelet-serving", kubeletServing(c.Node.Name, ip))
	if err != nil {
		return err
	}
	s.keeper.Keep("agent/kubelet-serving", false, serving.Renew)
	s.renewed(s.PKI.CA, serving)
	n := &Node{Config: c, Log: log, Serving: serving.GetCertificate, CAs: &s.PKI.CA.Trust, Domain: c.Server.Domain, Progress: p, Wait: make(chan struct{}),
		Client: s.Client(pki.NodePrefix+c.Node.Name, pki.NodesGroup)}
	if n.PodCIDR, err = netip.ParsePrefix(c.Server.PodCIDR); err != nil {
		return err
	}
	if n.ServiceCIDR, err = netip.ParsePrefix(c.Server.ServiceCIDR); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.Run(ctx, func() {
			p.Done("control plane")
			if err := s.WriteKubeconfig(); err != nil {
				log.Error("kubeconfig not written", "err", err)
			}
			close(n.Wait)
		})
	})
	g.Go(func() error { return serving.Run(ctx, log) })
	g.Go(func() error { return n.Run(ctx, ready) })
	return g.Wait()
}

// kubeletServing is what a node's kubelet shows to those who call it. It has the names that the node's status
// has, and no other: requests for more are not approved.
func kubeletServing(name string, ip netip.Addr) pki.Spec {
	return pki.KubeletServing(name, []string{name}, []net.IP{ip.AsSlice()})
}

// Describe is what a process of these roles says of itself before it runs.
func Describe(c *config.Config, version string, roles ...string) State {
	return State{Version: fmt.Sprintf("%s (Kubernetes %s)", version, KubernetesVersion), Roles: roles, Node: c.Node.Name, DataDir: c.DataDir,
		Listen: c.Server.Listen, Bridge: c.Node.Bridge, Cgroup: c.Node.CgroupParent, Server: c.Node.Server, Container: c.Node.RuntimeEndpoint}
}
