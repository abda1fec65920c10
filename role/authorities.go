package role

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/pki/succession"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/watch"
)

// authoritiesKey is where servers that share a store meet over their authorities. Keys there are sealed.
const authoritiesKey = watch.Prefix + "lighter/authorities/"

// authorities are those of this server, as they are followed by new ones.
func (s *Server) authorities() *succession.Lines {
	l := &succession.Lines{Log: s.Log.With("part", "authorities"),
		All: []succession.Line{{Name: "ca", Authority: s.PKI.CA}, {Name: "front-proxy-ca", Authority: s.PKI.Proxy}}}
	if s.several() {
		l.Store, l.Prefix, l.Self = s.encryption.store.Store, authoritiesKey, s.identity
		l.ByHand = s.member == nil // others than Lighter may have to know
	}
	if s.member != nil {
		l.Self, l.Servers = s.member.known().Name, func() []string { return otherServers(s.Config) }
		l.All = append(l.All, succession.Line{Name: "etcd/ca", Authority: s.member.authority, Reload: s.member.reload})
	}
	return l
}

// renewed has certificates issued anew as soon as another authority signs than theirs.
func (s *Server) renewed(a *pki.Authority, all ...*pki.Rotating) {
	a.Tell(context.Background(), func() {
		for _, r := range all {
			if r.Pair().Cert.CheckSignatureFrom(a.Cert()) == nil {
				continue
			}
			if err := r.Renew(context.Background()); err != nil {
				s.Log.Error("certificate not renewed", "user", r.Pair().Cert.Subject.CommonName, "err", err)
			}
		}
	})
}

// keepAuthorities has authorities followed, and says to others who they are, until ctx ends.
func (s *Server) keepAuthorities(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	for _, a := range []*pki.Authority{s.PKI.CA, s.PKI.Proxy} {
		a.Tell(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}
	s.PKI.CA.Tell(ctx, s.renewKubeconfigs)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.lines.Run(ctx) })
	g.Go(func() error {
		c := s.Client("system:apiserver", pki.MastersGroup)
		for ctx.Err() == nil {
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
			exempt := admission.Exempt(ctx)
			for err := s.publishAuthorities(exempt, c); err != nil && ctx.Err() == nil; err = s.publishAuthorities(exempt, c) {
				s.Log.Warn("others do not know of the authorities yet", "err", err)
				wait(ctx, time.Second)
			}
		}
		return nil
	})
	return g.Wait()
}

// publishAuthorities tells nodes and other API servers whom to trust. Controllers tell pods.
func (s *Server) publishAuthorities(ctx context.Context, c client.Client) error {
	return errors.Join(s.extensionAuthentication(ctx, c), s.publishFacts(ctx, c))
}

// authorityFact is the key of the cluster's facts that holds whom nodes are to trust, as PEM; the one that signs comes first.
const authorityFact = "ca.crt"

// publishFacts writes what nodes learn of the cluster.
func (s *Server) publishFacts(ctx context.Context, c client.Client) error {
	return put(ctx, c, client.ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespacePublic, Name: clusterFacts},
		Data: map[string]string{"podCIDR": s.Config.Server.PodCIDR, "serviceCIDR": s.Config.Server.ServiceCIDR, "domain": s.Config.Server.Domain,
			authorityFact: string(s.PKI.CA.PEM())}})
}

// serveFollow answers 'lighter certs rotate --authority'.
func (s *Server) serveFollow(w http.ResponseWriter, r *http.Request) error {
	return tell(w, func(say func(string, ...any)) error {
		if name := r.FormValue("forget"); name != "" {
			return s.lines.Forget(r.Context(), name)
		}
		step := pki.StepSign
		if r.FormValue("drop") != "" {
			step = pki.StepDrop
		}
		return s.lines.Ask(r.Context(), step, say, r.URL.Query()["name"]...)
	})
}

// reload has this server's member read again whom it trusts, which etcd does at its start alone, and waits until all members answer.
func (m *member) reload(ctx context.Context) error {
	m.log.Info("etcd starts again, to trust the new authority alone")
	select {
	case m.again <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	all, err := etcd.NewMembers(m.store())
	if err != nil {
		return err
	}
	defer all.Close()
	for began := time.Now(); ; {
		wait(ctx, 300*time.Millisecond)
		asking, cancel := context.WithTimeout(ctx, 3*time.Second)
		list, err := all.List(asking)
		if err == nil {
			all.Ask(asking, list, 3*time.Second)
			for _, one := range list {
				if one.Err != nil {
					err = fmt.Errorf("member %s: %w", one.Name, one.Err)
				}
			}
		}
		cancel()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > 30*time.Second {
			return fmt.Errorf("etcd was started again, and not all members answer: %w", err)
		}
	}
}
