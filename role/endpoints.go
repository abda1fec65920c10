package role

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Each of several servers has a Lease in kube-system, as Kubernetes' API servers have (the label is theirs), that says
// where it serves. The Service "kubernetes" leads to those whose Lease is renewed: a server adds itself, any other one takes a
// dead one out, at once when it stopped in order. Source: Kubernetes documentation, Leases, API server identity.
const (
	identityLabel     = "apiserver.kubernetes.io/identity"
	addressAnnotation = "lighter/api-address"
	renewEvery        = 2 * time.Second
	deadAfter         = 6 * time.Second // without a renewal that others see
	forgetAfter       = time.Hour       // a dead server's Lease goes
)

// registration keeps this server's Lease and, with the other servers, who the Service "kubernetes" leads to.
type registration struct {
	*Server
	client client.Client
	name   string
	seen   map[string]sight // by Lease
	times  int64            // that it was announced

	masters masters
}

// sight is a Lease as it was when it last changed, and when that was, by this server's clock.
type sight struct {
	version string
	address string
	at      time.Time
}

// register runs until ctx ends; then this server is no longer among those that serve.
func (s *Server) register(ctx context.Context) error {
	sum := sha256.Sum256([]byte(s.identity))
	r := &registration{Server: s, client: s.Client("system:apiserver", pki.MastersGroup), name: "apiserver-" + hex.EncodeToString(sum[:10]), seen: map[string]sight{}, masters: masters{}}
	leases := client.Leases.View(ctx, r.client, client.Selection{Namespace: metav1.NamespaceSystem, Labels: identityLabel + "=kube-apiserver"})
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		if err := r.renew(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("this server is not registered", "object", r.name, "err", err)
		}
		live := r.look(ctx, leases.List(""), time.Now())
		if s.member == nil { // the store is not ours alone
			if err := r.announce(ctx, live); err != nil && ctx.Err() == nil {
				s.Log.Warn("this server is not announced to Kubernetes' own", "object", mastersKey+r.address.String(), "err", err)
				live = nil // who else serves is not known
			}
		}
		if err := r.reconcile(ctx, live, true); err != nil && ctx.Err() == nil {
			s.Log.Warn("who serves is not up to date", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// unregister takes this server out: it is about to stop.
func (s *Server) unregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	sum := sha256.Sum256([]byte(s.identity))
	r := &registration{Server: s, client: s.Client("system:apiserver", pki.MastersGroup), name: "apiserver-" + hex.EncodeToString(sum[:10])}
	_, gone := s.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: mastersKey + s.address.String(), Expect: store.Any}}})
	err := client.Leases.Delete(ctx, r.client, metav1.NamespaceSystem, r.name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return errors.Join(err, gone, r.reconcile(ctx, nil, false))
}

func (r *registration) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	now, seconds := metav1.NowMicro(), int32(deadAfter/time.Second)
	l, err := client.Leases.Get(ctx, r.client, metav1.NamespaceSystem, r.name)
	if apierrors.IsNotFound(err) {
		_, err = client.Leases.Create(ctx, r.client, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: r.name, Labels: map[string]string{identityLabel: "kube-apiserver"},
				Annotations: map[string]string{addressAnnotation: r.address.String()}},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &r.identity, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}})
		return err
	}
	if err != nil {
		return err
	}
	l = l.DeepCopy()
	l.ResourceVersion = "" // it is ours alone
	l.Annotations = map[string]string{addressAnnotation: r.address.String()}
	l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &now, &seconds
	_, err = client.Leases.Update(ctx, r.client, l)
	return err
}

// mastersKey is where Kubernetes' own API servers on the same store say that they serve: an Endpoints with one address at
// each key, which goes when it is not written anew. They take everybody else out of the Service "kubernetes".
const (
	mastersKey  = watch.Prefix + "masterleases/"
	mastersLife = 8 * time.Second
)

// announce says there that this server serves, and adds to live who else does.
func (r *registration) announce(ctx context.Context, live map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	r.times++
	e := corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Generation: r.times},
		Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: r.address.String()}}}}}
	raw, err := e.Marshal()
	if err != nil {
		return err
	}
	op := store.Op{Key: mastersKey + r.address.String(), Value: api.Wrap("v1", "Endpoints", raw), Expect: store.Any, Life: mastersLife}
	if _, err := r.store.Commit(ctx, store.Txn{Ops: []store.Op{op}, Class: store.Relaxed}); err != nil {
		return err
	}
	announced, _, err := r.store.List(ctx, mastersKey, store.Page{})
	if err != nil {
		return err
	}
	there, dead := r.masters.look(announced, time.Now())
	for _, a := range there {
		live[a] = live[a] || !r.knows(a)
	}
	for _, e := range dead {
		_, gone := r.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: e.Key, Expect: e.Revision}}})
		if gone != nil && !errors.Is(gone, store.ErrConflict) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// masters are the announcements as they were when they last changed. Their own lease ends them, but for those that a restored
// backup has.
type masters map[string]sight

// mastersSilent is how long an announcement may stay as it is: Kubernetes' own servers renew it every ten seconds.
const mastersSilent = 30 * time.Second

// look gives the addresses of who serves, and the announcements that nobody renews.
func (m masters) look(entries []store.Entry, now time.Time) (live []string, dead []store.Entry) {
	there := map[string]bool{}
	for _, e := range entries {
		address, version := strings.TrimPrefix(e.Key, mastersKey), strconv.FormatInt(int64(e.Revision), 10)
		there[address] = true
		was, ok := m[address]
		if !ok || was.version != version {
			was = sight{version, address, now}
			m[address] = was
		}
		if now.Sub(was.at) < mastersSilent {
			live = append(live, address)
		} else {
			dead = append(dead, e)
		}
	}
	for address := range m {
		if !there[address] {
			delete(m, address)
		}
	}
	return live, dead
}

// knows tells whether an address is that of a server that has a Lease as we have: that says it sooner.
func (r *registration) knows(address string) bool {
	for _, s := range r.seen {
		if s.address == address {
			return true
		}
	}
	return false
}

// look notes which Leases changed and returns the addresses of the servers that live.
func (r *registration) look(ctx context.Context, leases []*coordinationv1.Lease, now time.Time) map[string]bool {
	live := map[string]bool{} // by address
	there := map[string]bool{}
	for _, l := range leases {
		address := l.Annotations[addressAnnotation]
		if _, err := netip.ParseAddr(address); err != nil {
			continue // another program's
		}
		there[l.Name] = true
		was, ok := r.seen[l.Name]
		if !ok || was.version != l.ResourceVersion {
			was = sight{l.ResourceVersion, address, now}
			r.seen[l.Name] = was
		}
		switch silent := now.Sub(was.at); {
		case silent < deadAfter || l.Name == r.name:
			live[address] = true
		case silent > forgetAfter:
			_ = client.Leases.Delete(ctx, r.client, l.Namespace, l.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &l.ResourceVersion}}) // or another server does
		}
	}
	for name := range r.seen {
		if !there[name] {
			delete(r.seen, name)
		}
	}
	return live
}

// addresses is who serves, after what was there before: who is not known to live goes, and this server is among them or not.
// Others add themselves, so that two servers that see a death at different times do not quarrel.
func addresses(before []string, live map[string]bool, self string, serves bool) (after []string) {
	for _, a := range before {
		if a != self && (live == nil || live[a]) {
			after = append(after, a)
		}
	}
	if serves {
		after = append(after, self)
	}
	slices.Sort(after)
	return slices.Compact(after)
}

// reconcile writes who serves into the EndpointSlice and the Endpoints, where that differs; live nil: all others.
func (r *registration) reconcile(ctx context.Context, live map[string]bool, serves bool) error {
	limited, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	g := errgroup.Group{}
	g.Go(func() error { return r.slice(limited, live, serves) })
	g.Go(func() error { return r.endpoints(limited, live, serves) })
	return g.Wait()
}

func (r *registration) slice(ctx context.Context, live map[string]bool, serves bool) error {
	for {
		have, err := client.EndpointSlices.Get(ctx, r.client, metav1.NamespaceDefault, apiService)
		if err != nil {
			return err
		}
		var before []string
		for _, e := range have.Endpoints {
			before = append(before, e.Addresses...)
		}
		after := addresses(before, live, r.address.String(), serves)
		if slices.Equal(before, after) {
			return nil
		}
		want, ready := have.DeepCopy(), true
		if want.Endpoints = nil; len(want.Ports) == 0 { // Kubernetes' own leaves none behind when it was the last
			name, protocol, port := "https", corev1.ProtocolTCP, r.port()
			want.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}}
		}
		for _, a := range after {
			want.Endpoints = append(want.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
		}
		if _, err = client.EndpointSlices.Update(ctx, r.client, want); !apierrors.IsConflict(err) {
			r.Log.Info("servers that serve the API", "object", after)
			return err
		}
	}
}

func (r *registration) endpoints(ctx context.Context, live map[string]bool, serves bool) error {
	for {
		have, err := client.Endpoints.Get(ctx, r.client, metav1.NamespaceDefault, apiService)
		if err != nil {
			return err
		}
		var before []string
		var ports []corev1.EndpointPort
		for _, s := range have.Subsets {
			ports = s.Ports
			for _, a := range s.Addresses {
				before = append(before, a.IP)
			}
		}
		after := addresses(before, live, r.address.String(), serves)
		if slices.Equal(before, after) {
			return nil
		}
		if ports == nil {
			ports = []corev1.EndpointPort{{Name: "https", Port: r.port(), Protocol: corev1.ProtocolTCP}}
		}
		want := have.DeepCopy()
		want.Subsets = nil
		if len(after) > 0 {
			subset := corev1.EndpointSubset{Ports: ports}
			for _, a := range after {
				subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a})
			}
			want.Subsets = []corev1.EndpointSubset{subset}
		}
		if _, err = client.Endpoints.Update(ctx, r.client, want); !apierrors.IsConflict(err) {
			return err
		}
	}
}
