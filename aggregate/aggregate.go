// Package aggregate makes groups that other API servers serve part of this one. What comes in are APIService objects; each that
// names a Service gets a Backend: requests to its group's version are passed on, with the user's name in headers that a certificate
// vouches for, and what it serves shows in discovery. Whether it answers is looked at again and again, and written into the
// object's condition. The API server asks for backends; role tells where Services are and publishes what changed.
// Source: Kubernetes documentation, Kubernetes API Aggregation Layer.
package aggregate

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// Services are the API services of a cluster. Its exported fields are set before Run. Safe for concurrent use.
type Services struct {
	View   client.TypedView[*apiregistrationv1.APIService]
	Client client.Client
	Log    *slog.Logger
	Now    func() time.Time
	// Address is where a Service's port is reached, "10.0.0.7:8443"; its errors are Reasons, mostly.
	Address func(ctx context.Context, namespace, name string, port int32) (string, error)
	// Certificate is what this server shows to those it passes requests on to.
	Certificate *pki.Rotating
	// Publish is told what others serve, whenever that changes.
	Publish func([]Version)

	backends atomic.Pointer[map[schema.GroupVersion]*Backend]
	work     sync.WaitGroup

	publishing sync.Mutex
	lost       *prometheus.CounterVec // nil: nobody asked for Metrics
}

// Reason is why an API service is not available: a word for programs, a sentence for people.
type Reason struct{ Word, Text string }

func (r *Reason) Error() string { return r.Text }

// Version is a group's version that another server serves.
type Version struct {
	schema.GroupVersion
	GroupPriority, Priority int32
	Discovery               apidiscoveryv2.APIVersionDiscovery
	OpenAPI                 string // where the server says that its OpenAPI v3 document is; "": it has none
}

// Backend gives who serves a group's version; nil: nobody else does.
func (s *Services) Backend(gv schema.GroupVersion) *Backend {
	if all := s.backends.Load(); all != nil {
		return (*all)[gv]
	}
	return nil
}

const (
	checkEvery = 15 * time.Second // of those that answer
	retryEvery = time.Second      // of those that do not
)

// Run follows the API services until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	if err := s.View.WaitSynced(ctx); err != nil {
		return nil // ctx ended
	}
	changed := make(chan struct{}, 1)
	s.View.Subscribe(ctx, func(_, _ *apiregistrationv1.APIService) { poke(changed) })
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	defer s.work.Wait()
	for {
		s.follow()
		for _, b := range *s.backends.Load() {
			if b.due(s.Now()) {
				s.work.Go(func() { s.look(ctx, b) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// follow makes the backends those that the objects want. One whose spec did not change goes on.
func (s *Services) follow() {
	before := map[schema.GroupVersion]*Backend{}
	if p := s.backends.Load(); p != nil {
		before = *p
	}
	now := map[schema.GroupVersion]*Backend{}
	for _, o := range s.View.List("") {
		if o.Spec.Service == nil {
			continue
		}
		gv := schema.GroupVersion{Group: o.Spec.Group, Version: o.Spec.Version}
		if b := before[gv]; b != nil && b.uid == o.UID && reflect.DeepEqual(b.spec, o.Spec) {
			now[gv] = b
			continue
		}
		now[gv] = s.backend(o, before[gv])
	}
	if maps.Equal(before, now) && s.backends.Load() != nil {
		return
	}
	s.backends.Store(&now)
	for gv, b := range before {
		if now[gv] != b {
			b.close()
		}
	}
	s.publish()
}

// publish tells what others serve, the most important group first.
func (s *Services) publish() {
	s.publishing.Lock() // what is told last is newest
	defer s.publishing.Unlock()
	var out []Version
	for _, b := range *s.backends.Load() {
		out = append(out, b.version())
	}
	slices.SortFunc(out, func(a, b Version) int {
		return cmp.Or(cmp.Compare(b.GroupPriority, a.GroupPriority), strings.Compare(a.Group, b.Group), cmp.Compare(b.Priority, a.Priority), strings.Compare(a.Version, b.Version))
	})
	s.Publish(out)
}

// look finds out whether a backend answers and what it serves, shows it in discovery, and then writes it into its object.
func (s *Services) look(ctx context.Context, b *Backend) {
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found, err := b.ask(within)
	if ctx.Err() != nil {
		b.put(s.Now(), nil, err)
		return
	}
	if b.put(s.Now(), found, err) {
		s.publish()
	}
	c := apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Passed", Message: "all checks passed"}
	if err != nil {
		r := b.reason(err)
		c.Status, c.Reason, c.Message = apiregistrationv1.ConditionFalse, r.Word, r.Text
	}
	if err := s.write(ctx, b, c); err != nil {
		s.Log.Warn("availability not written", "object", b.name, "err", err)
	}
}

// write puts the condition into the backend's object, if it says something else.
func (s *Services) write(ctx context.Context, b *Backend, c apiregistrationv1.APIServiceCondition) error {
	o, ok := s.View.Get("", b.name)
	if !ok || o.UID != b.uid {
		return nil
	}
	c.LastTransitionTime = metav1.NewTime(s.Now().UTC().Truncate(time.Second))
	s.count(o, c)
	n := slices.IndexFunc(o.Status.Conditions, func(have apiregistrationv1.APIServiceCondition) bool { return have.Type == c.Type })
	next := o.DeepCopy()
	switch {
	case n < 0:
		next.Status.Conditions = append(next.Status.Conditions, c)
	case o.Status.Conditions[n].Status == c.Status && o.Status.Conditions[n].Reason == c.Reason && o.Status.Conditions[n].Message == c.Message:
		return nil
	default:
		if o.Status.Conditions[n].Status == c.Status {
			c.LastTransitionTime = o.Status.Conditions[n].LastTransitionTime
		}
		next.Status.Conditions[n] = c
	}
	_, err := client.APIServices.UpdateStatus(ctx, s.Client, next)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // somebody wrote in between: the next look writes
	}
	return err
}
