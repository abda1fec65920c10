package role

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
)

// Joined is what an agent has from the cluster that it joined, for tests that need no node beside.
type Joined struct {
	Client            client.Client
	Identity, Serving *pki.Rotating
	Node              *Node
}

// Join is what an agent does first; its certificates are renewed until ctx ends.
func Join(ctx context.Context, c *config.Config, spec pki.Spec, log *slog.Logger) (*Joined, error) {
	server, err := url.Parse(c.Node.Server)
	if err != nil {
		return nil, err
	}
	j := &join{config: c, log: log, server: server, dir: filepath.Join(c.DataDir, "agent"), known: &servers{path: filepath.Join(c.DataDir, "agent", "servers.json"), first: server.Host}}
	if err := j.recognize(ctx); err != nil {
		return nil, err
	}
	identity, api, err := j.certificate(ctx, "kubelet", pki.Kubelet(c.Node.Name), certificatesv1.KubeAPIServerClientKubeletSignerName)
	if err != nil {
		return nil, err
	}
	serving, err := selfSigned(spec)
	if err != nil {
		return nil, err
	}
	n := &Node{Config: c, Log: log, Client: api, CAs: j.trust}
	j.follow(ctx, api, identity, serving)
	signed := make(chan struct{})
	go func() {
		defer close(signed)
		n.signed(ctx, serving, j.issuer("kubelet-serving", spec, certificatesv1.KubeletServingSignerName, func() (client.Client, error) { return api, nil }))
	}()
	select {
	case <-signed:
	case <-time.After(10 * time.Second):
		return nil, fmt.Errorf("the certificate of %s is not signed", spec.CommonName)
	}
	go func() { _ = identity.Run(ctx, log) }() // ends with ctx
	go func() { _ = serving.Run(ctx, log) }()
	return &Joined{api, identity, serving, n}, nil
}
