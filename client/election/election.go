// Package election lets one process of several lead: it holds a Lease of the cluster, as Kubernetes' own components do,
// so that theirs and ours exclude each other. role runs scheduler, controllers and cloud controllers below it.
//
// Nobody compares clocks: who waits counts from when it saw the Lease change, or from earlier when it knows that the
// renewal is older; see sent. Who leads stops its work, and its writes are refused, before anybody else can have taken
// the Lease; see Term. Source: Kubernetes documentation, Leases.
package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// Namespace is where the Leases of components are.
const Namespace = metav1.NamespaceSystem

// How long things take. A leader that dies is succeeded at most Duration after its last renewal was seen.
const (
	Duration = 4 * time.Second        // a Lease that did not change for so long may be taken
	Deadline = 3 * time.Second        // a leader that could not renew for so long stops; the second between is for writes under way
	Renew    = time.Second            // how often a leader renews; renewTime tells how long after the one before
	retry    = 200 * time.Millisecond // after a failed attempt
)

// Candidate is one who wants to lead. All fields are required.
type Candidate struct {
	Client   client.Client
	Name     string // of the Lease: kube-scheduler, kube-controller-manager, cloud-controller-manager
	Identity string // unique among all candidates; who comes back with the one it had before leads at once
	Log      *slog.Logger
}

// Term is a time of leading.
type Term struct{ until atomic.Pointer[time.Time] }

// ErrOver: the term is over, somebody else may lead.
var ErrOver = errors.New("this process no longer leads")

// Over is ErrOver once the term is.
func (t *Term) Over() error {
	if time.Now().After(*t.until.Load()) { // by the monotonic clock, which goes on while the process is stopped
		return ErrOver
	}
	return nil
}

// Run leads whenever it can until ctx ends: lead runs with a context that ends with the term, and Run waits for it. An
// error of lead's own ends Run. At the end the Lease is given back, so that the next one need not wait.
func (c *Candidate) Run(ctx context.Context, lead func(ctx context.Context, t *Term) error) error {
	seen := c.look(ctx)
	for ctx.Err() == nil {
		held, began, err := c.acquire(ctx, seen)
		if err != nil {
			return nil // ctx ended
		}
		if err := c.term(ctx, held, began, lead); err != nil {
			return err
		}
	}
	return nil
}

// look follows the Lease; the channel has the newest state, nil when it is not there.
func (c *Candidate) look(ctx context.Context) <-chan *coordinationv1.Lease {
	newest := make(chan *coordinationv1.Lease, 1)
	view := client.Leases.View(ctx, c.Client, client.Selection{Namespace: Namespace, Fields: "metadata.name=" + c.Name})
	view.Subscribe(ctx, func(_, l *coordinationv1.Lease) {
		select {
		case <-newest:
		default:
		}
		newest <- l
	})
	return newest
}

// free reports whether a Lease in this state is anybody's to take at once.
func (c *Candidate) free(l *coordinationv1.Lease) bool {
	return l == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || *l.Spec.HolderIdentity == c.Identity
}

// lasts is how long a Lease is good after it was seen to change.
func lasts(l *coordinationv1.Lease) time.Duration {
	if l != nil && l.Spec.LeaseDurationSeconds != nil {
		return time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	return Duration
}

// sent is when l, which is seen now, was written at the latest, where last was written at the latest at before. A store
// that could not commit for a while shows a dead leader's last renewal when it comes back, and need not be waited for
// once more: who leads with our Duration tells by renewTime how much later than the last one a renewal was written, by
// a clock that never steps while acquireTime stays.
func sent(last *coordinationv1.Lease, before time.Time, l *coordinationv1.Lease) time.Time {
	now := time.Now()
	if last == nil || l == nil || lasts(last) != Duration || lasts(l) != Duration {
		return now
	}
	a, b := last.Spec, l.Spec
	if a.HolderIdentity == nil || b.HolderIdentity == nil || *a.HolderIdentity != *b.HolderIdentity || !a.AcquireTime.Equal(b.AcquireTime) {
		return now
	}
	if a.RenewTime == nil || b.RenewTime == nil || b.RenewTime.Before(a.RenewTime) {
		return now
	}
	if then := before.Add(b.RenewTime.Sub(a.RenewTime.Time)); then.Before(now) {
		return then
	}
	return now
}

// acquire waits until the Lease is this candidate's; began is from when it counts. An error means that ctx ended.
func (c *Candidate) acquire(ctx context.Context, seen <-chan *coordinationv1.Lease) (held *coordinationv1.Lease, began time.Time, err error) {
	last, err := client.Leases.Get(ctx, c.Client, Namespace, c.Name)
	for err != nil && !apierrors.IsNotFound(err) {
		if pause(ctx, retry) != nil {
			return nil, began, ctx.Err()
		}
		last, err = client.Leases.Get(ctx, c.Client, Namespace, c.Name)
	}
	if err != nil {
		last = nil
	}
	written := time.Now() // last was, at the latest
	expired := time.NewTimer(lasts(last))
	defer expired.Stop()
	try := c.free(last)
	changed := func(l *coordinationv1.Lease) {
		last, written = l, sent(last, written, l)
		expired.Reset(time.Until(written.Add(lasts(last))))
		try = c.free(last)
	}
	for {
		if try {
			began = time.Now()
			if held, err = c.take(ctx, last, began); err == nil {
				return held, began, nil
			}
			c.Log.Debug("lease not taken", "object", c.Name, "err", err)
			if pause(ctx, retry) != nil {
				return nil, began, ctx.Err()
			}
			if now, err := client.Leases.Get(ctx, c.Client, Namespace, c.Name); err == nil && (last == nil || now.ResourceVersion != last.ResourceVersion) {
				changed(now)
			}
			continue
		}
		select {
		case l := <-seen:
			if l != nil && last != nil && (l.ResourceVersion == last.ResourceVersion || client.Version(l) < client.Version(last)) {
				continue // known
			}
			changed(l)
		case <-expired.C:
			try = true
		case <-ctx.Done():
			return nil, began, ctx.Err()
		}
	}
}

// take writes this candidate into the Lease, if nobody was faster.
func (c *Candidate) take(ctx context.Context, last *coordinationv1.Lease, began time.Time) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	now, seconds, changes := metav1.NewMicroTime(began), int32(Duration/time.Second), int32(0)
	if last == nil {
		return client.Leases.Create(ctx, c.Client, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: c.Name},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &c.Identity, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now, LeaseTransitions: &changes}})
	}
	l := last.DeepCopy()
	if l.Spec.LeaseTransitions != nil {
		changes = *l.Spec.LeaseTransitions
	}
	if h := l.Spec.HolderIdentity; h == nil || *h != c.Identity {
		changes++
		l.Spec.AcquireTime = &now
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime, l.Spec.LeaseTransitions = &c.Identity, &seconds, &now, &changes
	return client.Leases.Update(ctx, c.Client, l)
}

// term leads until ctx ends or the Lease cannot be renewed in time.
func (c *Candidate) term(ctx context.Context, held *coordinationv1.Lease, began time.Time, lead func(context.Context, *Term) error) error {
	c.Log.Info("leads", "object", c.Name)
	t := &Term{}
	until := began.Add(Deadline)
	t.until.Store(&until)
	leading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- lead(leading, t) }()
	renewed := make(chan error, 1)
	go func() { renewed <- c.renew(leading, t, &held, began) }()
	var err error
	select {
	case err = <-done:
		stop()
		<-renewed
	case lost := <-renewed:
		if ctx.Err() == nil {
			c.Log.Warn("leads no more", "object", c.Name, "err", lost)
		}
		stop()
		err = <-done
		if ctx.Err() == nil {
			return own(err)
		}
	}
	if t.Over() == nil {
		c.release(ctx, held)
	}
	return own(err)
}

// own leaves out what says only that a term has ended.
func own(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrOver) {
		return nil
	}
	return err
}

// renew keeps the Lease until ctx ends or it is lost.
func (c *Candidate) renew(ctx context.Context, t *Term, held **coordinationv1.Lease, began time.Time) error {
	clock := steady{began}
	for wait := Renew; ; {
		if pause(ctx, wait) != nil {
			return ctx.Err()
		}
		began := time.Now()
		limited, cancel := context.WithDeadline(ctx, *t.until.Load())
		l := (*held).DeepCopy()
		now, stepped := clock.read()
		if l.Spec.RenewTime = &now; stepped {
			l.Spec.AcquireTime = &now
		}
		l, err := client.Leases.Update(limited, c.Client, l)
		cancel()
		wait = Renew
		if err == nil {
			*held = l
			until := began.Add(Deadline)
			t.until.Store(&until)
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			// A write of ours whose answer was lost looks the same as another's: see who it was.
			limited, cancel := context.WithDeadline(ctx, *t.until.Load())
			now, getErr := client.Leases.Get(limited, c.Client, Namespace, c.Name)
			cancel()
			if getErr == nil && (now.Spec.HolderIdentity == nil || *now.Spec.HolderIdentity != c.Identity) || apierrors.IsNotFound(getErr) {
				return fmt.Errorf("somebody else has the lease: %w", err)
			}
			if getErr == nil {
				*held = now
			}
		}
		if t.Over() != nil {
			return fmt.Errorf("the lease was not renewed in time: %w", err)
		}
		wait = retry
	}
}

// steady is a clock that goes by the machine's monotonic one; when that and the time of day differ by a second, which
// somebody has set then, it starts anew from the time of day.
type steady struct{ began time.Time }

func (s *steady) read() (now metav1.MicroTime, stepped bool) {
	t := s.began.Add(time.Since(s.began))
	if d := time.Now().Round(0).Sub(t.Round(0)); d.Abs() > time.Second {
		s.began, stepped = time.Now(), true
		t = s.began
	}
	return metav1.NewMicroTime(t), stepped
}

// release gives the Lease back: the next one need not wait for its end.
func (c *Candidate) release(ctx context.Context, held *coordinationv1.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for {
		l := held.DeepCopy()
		nobody, second, now := "", int32(1), metav1.NowMicro()
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &nobody, &second, &now
		_, err := client.Leases.Update(ctx, c.Client, l)
		if apierrors.IsConflict(err) { // a renewal that nobody waited for has been written, or it is somebody else's by now
			held, err = client.Leases.Get(ctx, c.Client, Namespace, c.Name)
			if err == nil && held.Spec.HolderIdentity != nil && *held.Spec.HolderIdentity == c.Identity {
				continue
			}
		}
		if err != nil {
			c.Log.Debug("lease not given back", "object", c.Name, "err", err)
		}
		return
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Client is c for the term: after it, writes are refused. A write that was on its way may still arrive; Deadline leaves it
// a second to.
func (t *Term) Client(c client.Client) client.Client { return &fenced{c, t} }

type fenced struct {
	client.Client
	term *Term
}

func (f *fenced) Create(ctx context.Context, r client.Resource, namespace, name, subresource string, obj client.Object) (client.Object, error) {
	if err := f.term.Over(); err != nil {
		return nil, err
	}
	return f.Client.Create(ctx, r, namespace, name, subresource, obj)
}

func (f *fenced) Update(ctx context.Context, r client.Resource, subresource string, obj client.Object) (client.Object, error) {
	if err := f.term.Over(); err != nil {
		return nil, err
	}
	return f.Client.Update(ctx, r, subresource, obj)
}

func (f *fenced) Patch(ctx context.Context, r client.Resource, namespace, name, subresource string, p types.PatchType, patch []byte) (client.Object, error) {
	if err := f.term.Over(); err != nil {
		return nil, err
	}
	return f.Client.Patch(ctx, r, namespace, name, subresource, p, patch)
}

func (f *fenced) Delete(ctx context.Context, r client.Resource, namespace, name string, o metav1.DeleteOptions) error {
	if err := f.term.Over(); err != nil {
		return err
	}
	return f.Client.Delete(ctx, r, namespace, name, o)
}
