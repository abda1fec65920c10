package role

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/apiserver"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// wellness says whether this server is of use to clients. A load balancer in front asks /readyz. Who has no load
// balancer (agents, kubectl) is sent away, when other servers may do better: see gate.
type wellness struct {
	server *Server
	ending atomic.Bool
	well   atomic.Pointer[spell] // nil: ill
}

// spell is a time of being well; its context ends with it.
type spell struct {
	ctx context.Context
	end context.CancelFunc
}

const (
	probeEvery   = time.Second
	probeTimeout = 2 * time.Second
	// illAfter is longer than the store needs for a new leader, so that an election breaks no request off.
	illAfter = 3 * time.Second
	// lameduck is how long a server that was told to stop still serves, while /readyz and its slice say that it goes.
	lameduck = 2 * time.Second
)

var errIll = errors.New("the store did not answer for some seconds")

var errEnding = errors.New("this server is about to stop")

// checks are what /readyz looks at: the store answers, memory shows all that it has, and nobody told us to stop.
func (w *wellness) checks() []apiserver.Check {
	return []apiserver.Check{
		{Name: "store", Test: func(ctx context.Context) error {
			if w.server.several() && w.well.Load() == nil {
				return errIll
			}
			return w.probe(ctx)
		}},
		{Name: "shutdown", Test: func(context.Context) error {
			if w.ending.Load() {
				return errEnding
			}
			return nil
		}},
	}
}

// components are the parts that ComponentStatuses tell of. Those that act in the cluster live and die with their server; of
// several servers one has their Lease.
func (s *Server) components() []apiserver.Check {
	part := func(name, disabled, lease string) apiserver.Check {
		return apiserver.Check{Name: name, Test: func(ctx context.Context) error {
			switch {
			case slices.Contains(s.Config.Server.Disable, disabled):
				return errors.New("this server runs without it")
			case !s.several():
				return nil
			}
			l, err := client.Leases.Get(ctx, s.Client("system:apiserver", pki.MastersGroup), metav1.NamespaceSystem, lease)
			if err == nil && (l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil ||
				time.Since(l.Spec.RenewTime.Time) > time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second) {
				err = errors.New("no server runs it now")
			}
			return err
		}}
	}
	return []apiserver.Check{part("scheduler", "scheduler", schedulerLease), part("controller-manager", "controllers", controllersLease),
		{Name: "etcd-0", Test: func(ctx context.Context) error { return s.wellness.probe(ctx) }}}
}

func (w *wellness) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return w.server.state.Now(ctx)
}

// recover begins a spell.
func (w *wellness) recover(ctx context.Context) {
	s := &spell{}
	s.ctx, s.end = context.WithCancel(ctx)
	w.well.Store(s)
}

// watch probes until ctx ends and says when the server falls ill and recovers.
func (w *wellness) watch(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		err := w.probe(ctx)
		switch ill := w.well.Load() == nil; {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last = began
			if ill {
				w.server.Log.Info("the store answers again")
				w.recover(ctx)
			}
		case !ill && time.Since(last) > illAfter:
			w.server.Log.Warn("the store does not answer: clients are sent to other servers", "err", err)
			w.well.Swap(nil).end()
		}
	}
}

// gate ends what is under way when the server falls ill, and closes connections as long as it is, so that clients turn to other servers
// instead of waiting here, where nothing comes any more. What asks then is refused by unfit.
func (w *wellness) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		spell := w.well.Load()
		if spell == nil {
			out.Header().Set("Connection", "close") // for HTTP/2: GOAWAY
			next.ServeHTTP(out, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(spell.ctx, cancel)()
		next.ServeHTTP(out, r.WithContext(ctx))
	})
}

// unfit refuses requests while the server is ill, but for those about the server itself. The API server asks it, so that who was refused
// stands in the audit trail and the metrics.
func (w *wellness) unfit(r *http.Request) error {
	if w.well.Load() != nil || about(r.URL.Path) {
		return nil
	}
	err := apierrors.NewServiceUnavailable("this server's store does not answer; ask another server")
	err.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return err
}

// about reports whether a path is about the server itself.
func about(path string) bool {
	for _, p := range []string{"/readyz", "/livez", "/healthz", "/metrics", "/version", "/debug/"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
