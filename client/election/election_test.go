package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// leases is a server that has Leases only.
type leases struct {
	client.Client
	mu   sync.Mutex
	view *clienttest.View
	late []client.Object // accepted and not committed: stuck
	lame bool            // accepts and commits nothing
}

// recover commits what was accepted.
func (s *leases) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lame = false
	for _, o := range s.late {
		s.view.Set(o)
	}
}

func newLeases() *leases { return &leases{view: clienttest.NewView()} }

// link is a client's way to the server, which may be down.
type link struct {
	*leases
	mu   sync.Mutex
	down bool
	slow time.Duration // from a write to its answer
}

func (l *link) set(down bool) { l.mu.Lock(); l.down = down; l.mu.Unlock() }

// wait is how a request waits for a server that cannot be reached.
func (l *link) wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		down := l.down
		l.mu.Unlock()
		if !down {
			return nil
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			return apierrors.NewTimeoutError("no answer", 0)
		}
	}
}

func (l *link) Get(ctx context.Context, r client.Resource, namespace, name string) (client.Object, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	if o := l.view.Get(namespace, name); o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

func (l *link) Create(ctx context.Context, r client.Resource, namespace, name, _ string, o client.Object) (client.Object, error) {
	return l.write(ctx, r, o, "")
}

func (l *link) Update(ctx context.Context, r client.Resource, _ string, o client.Object) (client.Object, error) {
	return l.write(ctx, r, o, o.GetResourceVersion())
}

func (l *link) write(ctx context.Context, r client.Resource, o client.Object, expect string) (client.Object, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	n, err := l.commit(r, o, expect)
	if err == nil && pause(ctx, l.slow) != nil {
		return nil, ctx.Err()
	}
	return n, err
}

func (l *link) commit(r client.Resource, o client.Object, expect string) (client.Object, error) {
	s := l.leases
	s.mu.Lock()
	defer s.mu.Unlock()
	have := ""
	if old := s.view.Get(o.GetNamespace(), o.GetName()); old != nil {
		have = old.GetResourceVersion()
	}
	if have != expect {
		return nil, apierrors.NewConflict(r.GroupResource(), o.GetName(), errors.New("it changed"))
	}
	n := o.(*coordinationv1.Lease).DeepCopy()
	n.ResourceVersion = strconv.FormatUint(s.view.Version()+1, 10)
	if s.lame {
		s.late = append(s.late, n)
		return nil, apierrors.NewTimeoutError("not committed", 0)
	}
	return s.view.Set(n), nil
}

func (l *link) View(context.Context, client.Resource, client.Selection) client.View { return l.view }

// house is candidates for one Lease and who of them leads.
type house struct {
	t       *testing.T
	server  *leases
	began   time.Time
	mu      sync.Mutex
	leading map[string]*Term
	log     []string
}

func (h *house) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// join adds a candidate; stubborn: its work takes so long to end after it was told to.
func (h *house) join(ctx context.Context, name string, stubborn time.Duration) (*link, <-chan error) {
	l := &link{leases: h.server}
	done := make(chan error, 1)
	c := Candidate{Client: l, Name: "kube-scheduler", Identity: name, Log: slog.New(slog.DiscardHandler)}
	go func() {
		done <- c.Run(ctx, func(ctx context.Context, t *Term) error {
			h.mu.Lock()
			for other, o := range h.leading {
				if o.Over() == nil {
					h.t.Errorf("%s leads while %s may write", name, other)
				}
			}
			h.leading[name] = t
			h.mu.Unlock()
			h.note("%s leads after %s", name, time.Since(h.began).Round(100*time.Millisecond))
			<-ctx.Done()
			time.Sleep(stubborn)
			h.mu.Lock()
			delete(h.leading, name)
			h.mu.Unlock()
			return ctx.Err()
		})
	}()
	return l, done
}

func (h *house) want(t *testing.T, log ...string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := fmt.Sprint(h.log); got != fmt.Sprint(log) {
		t.Errorf("got  %v\nwant %v", h.log, log)
	}
}

func TestElection(t *testing.T) {
	tests := map[string]struct {
		story func(ctx context.Context, h *house)
		want  []string
	}{
		"the first one leads at once": {func(ctx context.Context, h *house) {
			h.join(ctx, "a", 0)
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s"}},
		"the second one waits": {func(ctx context.Context, h *house) {
			h.join(ctx, "a", 0)
			synctest.Wait()
			h.join(ctx, "b", 0)
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s"}},
		"who dies is succeeded when its lease is not renewed": {func(ctx context.Context, h *house) {
			a, _ := h.join(ctx, "a", 0)
			synctest.Wait()
			h.join(ctx, "b", 0)
			time.Sleep(10*time.Second + 500*time.Millisecond)
			a.set(true)
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s", "b leads after 14s"}},
		"who is cut off may not write before another one leads, however long its work takes to end": {func(ctx context.Context, h *house) {
			a, _ := h.join(ctx, "a", 10*time.Second)
			synctest.Wait()
			h.join(ctx, "b", 0)
			time.Sleep(2500 * time.Millisecond)
			a.set(true)
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s", "b leads after 6s"}},
		"who stops in order is succeeded at once": {func(ctx context.Context, h *house) {
			own, stop := context.WithCancel(ctx)
			_, done := h.join(own, "a", 0)
			synctest.Wait()
			h.join(ctx, "b", 0)
			time.Sleep(10 * time.Second)
			stop()
			if err := <-done; err != nil {
				h.t.Error(err)
			}
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s", "b leads after 10s"}},
		"who stops while a renewal is under way is succeeded at once": {func(ctx context.Context, h *house) {
			own, stop := context.WithCancel(ctx)
			a, done := h.join(own, "a", 0)
			synctest.Wait()
			a.slow = 500 * time.Millisecond
			h.join(ctx, "b", 0)
			time.Sleep(Renew + 200*time.Millisecond)
			stop()
			if err := <-done; err != nil {
				h.t.Error(err)
			}
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s", "b leads after 1.2s"}},
		"who comes back under its name leads at once": {func(ctx context.Context, h *house) {
			own, stop := context.WithCancel(ctx)
			a, done := h.join(own, "a", 0)
			time.Sleep(5 * time.Second)
			a.set(true) // killed
			stop()
			<-done
			h.join(ctx, "a", 0)
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s", "a leads after 6s"}}, // a second of which the dead one tried to give it back
		"a dead one's last renewal that shows late makes nobody wait again": {func(ctx context.Context, h *house) {
			a, _ := h.join(ctx, "a", 0)
			synctest.Wait()
			b, _ := h.join(ctx, "b", 0)
			time.Sleep(10*time.Second - 100*time.Millisecond)
			h.server.mu.Lock()
			h.server.lame = true
			h.server.mu.Unlock()
			b.set(true) // its requests wait like all that need a commit
			time.Sleep(200 * time.Millisecond)
			a.set(true)
			time.Sleep(3700 * time.Millisecond)
			h.server.recover()
			b.set(false)
			time.Sleep(time.Minute)
		}, []string{"a leads after 0s", "b leads after 14s"}},
		"a component with a longer lease is waited for as long": {func(ctx context.Context, h *house) {
			theirs, long, now := "upstream", int32(15), metav1.NowMicro()
			h.server.view.Set(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "kube-scheduler"},
				Spec: coordinationv1.LeaseSpec{HolderIdentity: &theirs, LeaseDurationSeconds: &long, RenewTime: &now}})
			h.join(ctx, "a", 0)
			time.Sleep(time.Minute)
		}, []string{"a leads after 15s"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				h := &house{t: t, server: newLeases(), began: time.Now(), leading: map[string]*Term{}}
				tt.story(ctx, h)
				h.want(t, tt.want...)
				stop()
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestWorkThatFailsEndsTheCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		broken := errors.New("broken")
		c := Candidate{Client: &link{leases: newLeases()}, Name: "x", Identity: "a", Log: slog.New(slog.DiscardHandler)}
		if err := c.Run(ctx, func(context.Context, *Term) error { return broken }); err != broken {
			t.Errorf("got %v", err)
		}
		stop()
	})
}

func TestFenceRefusesWritesAfterTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := &Term{}
		until := time.Now().Add(Deadline)
		term.until.Store(&until)
		l := &link{leases: newLeases()}
		c := term.Client(l)
		made, err := client.Leases.Create(t.Context(), c, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(Deadline + time.Nanosecond)
		_, create := client.Leases.Create(t.Context(), c, made)
		_, update := client.Leases.Update(t.Context(), c, made)
		_, patch := client.Leases.Patch(t.Context(), c, "a", "b", "", "", nil)
		remove := client.Leases.Delete(t.Context(), c, "a", "b", metav1.DeleteOptions{})
		for verb, err := range map[string]error{"create": create, "update": update, "patch": patch, "delete": remove} {
			if err != ErrOver {
				t.Errorf("%s: %v", verb, err)
			}
		}
		if _, err := client.Leases.Get(t.Context(), c, "a", "b"); err != nil {
			t.Errorf("a read needs no term: %v", err)
		}
	})
}
