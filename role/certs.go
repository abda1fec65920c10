package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
)

// certificateSet is what a server shows to others. All are renewed while it runs.
type certificateSet struct {
	serving               *pki.Rotating // to clients
	toKubelets, toServers *pki.Rotating
	admin                 *pki.Rotating // in kubeconfigs
}

// certificates opens those of this server, for further names of the API.
func (s *Server) certificates(names []string) (c certificateSet, err error) {
	for _, one := range []struct {
		name string
		to   **pki.Rotating
		open func() (*pki.Rotating, error)
	}{
		{"apiserver", &c.serving, func() (*pki.Rotating, error) { return s.PKI.Serving(names...) }},
		{"apiserver-kubelet-client", &c.toKubelets, s.PKI.ToKubelets},
		{pki.FrontProxyUser, &c.toServers, s.PKI.ToServers},
		{"admin", &c.admin, s.PKI.RotatedAdmin},
	} {
		if *one.to, err = one.open(); err != nil {
			return c, err
		}
		s.keeper.Keep(one.name, false, (*one.to).Renew)
	}
	c.admin.Tell(s.renewKubeconfigs)
	s.renewed(s.PKI.CA, c.serving, c.toKubelets, c.admin)
	s.renewed(s.PKI.Proxy, c.toServers)
	if s.member != nil {
		for i, name := range []string{"etcd/member", "etcd/client"} {
			s.keeper.Keep(name, false, s.member.certs[i].Renew) // etcd reads the files anew for each connection
		}
		s.renewed(s.member.authority, s.member.certs...)
	}
	s.keeper.Keep(pki.TokensName, true, s.rotateTokens)
	return c, nil
}

// run renews them until ctx ends.
func (c certificateSet) run(ctx context.Context, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range []*pki.Rotating{c.serving, c.toKubelets, c.toServers, c.admin} {
		g.Go(func() error { return one.Run(ctx, log) })
	}
	return g.Wait()
}

// MergedName is the file in the data directory that says into which kubeconfig "up" merged the context.
const MergedName = "kubeconfig.path"

// renewKubeconfigs puts the administrator's new certificate where the old one was.
func (s *Server) renewKubeconfigs() {
	if err := renewKubeconfigs(s.Config, s.PKI); err != nil {
		s.Log.Error("kubeconfig not renewed", "err", err)
	}
}

func renewKubeconfigs(c *config.Config, p *pki.PKI) error {
	k, err := (&Server{Config: c, PKI: p}).Kubeconfig()
	if err != nil {
		return err
	}
	err = k.Write(KubeconfigPath(c.DataDir))
	merged, merr := os.ReadFile(filepath.Join(c.DataDir, MergedName))
	if merr == nil {
		merr = pki.RenewKubeconfig(string(merged), k)
	}
	if errors.Is(merr, os.ErrNotExist) { // "up" merged none, or its file is gone
		merr = nil
	}
	return errors.Join(err, merr)
}

// serveRenewal answers 'lighter certs rotate'.
func serveRenewal(k *pki.Keeper) Task {
	return func(w http.ResponseWriter, r *http.Request) error {
		return tell(w, func(say func(string, ...any)) error { return k.Renew(r.Context(), say, r.URL.Query()["name"]...) })
	}
}

// certificateDirs are where a data directory has certificates, and how their names begin.
func certificateDirs(dataDir string) map[string]string {
	return map[string]string{"": filepath.Join(dataDir, "server", "pki"), "etcd/": filepath.Join(dataDir, "server", "pki", "etcd"), "agent/": filepath.Join(dataDir, "agent")}
}

// Certificates are all certificates and token keys of a data directory, by name.
func Certificates(c *config.Config) (out []pki.Entry, err error) {
	life := c.Server.LeafLife()
	for prefix, dir := range certificateDirs(c.DataDir) {
		some, err := pki.List(dir, prefix, life)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	some, err := pki.ListKubeconfig(KubeconfigPath(c.DataDir), "")
	if err != nil {
		return nil, err
	}
	out = append(out, some...)
	if merged, err := os.ReadFile(filepath.Join(c.DataDir, MergedName)); err == nil {
		some, err := pki.ListKubeconfig(string(merged), "lighter")
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	slices.SortStableFunc(out, func(a, b pki.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// RenewCertificates renews those of a data directory from which nothing runs: of these names or, without, all but the token key.
func RenewCertificates(c *config.Config, say func(format string, args ...any), names ...string) error {
	if _, err := os.Stat(filepath.Join(c.DataDir, "server", "pki", "ca.crt")); err != nil {
		return errors.New("this is no server's data directory, and a node's certificates are signed by the cluster: start the agent first")
	}
	p, err := openPKI(c)
	if err != nil {
		return err
	}
	authorities := []*pki.Authority{p.CA, p.Proxy}
	if _, err := os.Stat(filepath.Join(p.Dir, "etcd", "ca.crt")); err == nil {
		etcd, err := p.Etcd()
		if err != nil {
			return err
		}
		authorities = append(authorities, etcd.CA)
	}
	var kept pki.Keeper
	for prefix, dir := range certificateDirs(c.DataDir) {
		all, err := pki.List(dir, prefix, 0)
		if err != nil {
			return err
		}
		for _, e := range all {
			if name := strings.TrimPrefix(e.Name, prefix); e.Subject != "" && e.Kind != "authority" {
				kept.Keep(e.Name, false, func(context.Context) error { return pki.Reissue(dir, name, authorities...) })
			}
		}
	}
	kept.Keep(pki.TokensName, true, func(context.Context) error {
		key, _, err := p.NewTokens()
		if err != nil {
			return err
		}
		return p.UseTokens(key, func(pki.TokenKey) bool { return true }) // which ones are still needed, a running server knows
	})
	if err := kept.Renew(context.Background(), say, names...); err != nil {
		return fmt.Errorf("renew certificates: %w", err)
	}
	return renewKubeconfigs(c, p)
}
