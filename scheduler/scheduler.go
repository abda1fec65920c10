// Package scheduler decides which node each pod goes to. Nodes and pods come in
// through client.Client; out go bindings, PodScheduled conditions and Events.
// role and "lighter scheduler" call Run.
//
// One goroutine owns all state: changes of the cluster and answers of the server are posted
// to its inbox, and nothing that it does waits for the network. A pod is decided on in these steps:
//
//	queue.go     which pod is next           cache.go   nodes and what is on them, in integers
//	filter.go    which nodes could take it   score.go   which of them is best
//	decide.go    filters and scores on all   bind.go    the writes, a bounded number at once
//	preempt.go   who leaves for whom         index.go   which pods and nodes a selector or label means
//
// Source of behaviour: Kubernetes documentation, "Scheduling, Preemption and Eviction".
package scheduler

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Config is what a scheduler needs. Client, Log and Now are required.
type Config struct {
	Client client.Client
	Log    *slog.Logger
	Now    func() time.Time
	// Events takes what users are told (Scheduled, FailedScheduling, Preempted); whoever made it runs it. nil: nobody is told.
	Events *client.Recorder
	// SchedulerName is whose pods these are: spec.schedulerName; "" is "default-scheduler".
	SchedulerName string
	// Seed makes the choice among equal nodes repeatable; 0 takes one from the clock.
	Seed uint64
}

// scheduler is the owner of all state; only the goroutine of Run touches it, save for the inbox.
type scheduler struct {
	Config
	cache *cache
	queue *queue
	rand  *rand.Rand
	views views
	found []*node // decide's, kept for its memory
	kinds map[string]refused
	out   outbox

	mu    sync.Mutex
	inbox []func() // what has happened and is not yet taken in
	more  chan struct{}
}

// Run schedules pods until ctx ends; it returns ctx's error after its last write has ended.
func Run(ctx context.Context, c Config) error {
	s := newScheduler(c)
	inner, stop := context.WithCancel(ctx)
	defer s.out.wait()
	defer stop()
	if err := s.follow(inner); err != nil {
		return err
	}
	for ctx.Err() == nil {
		s.takeIn()
		now := s.Now()
		if e := s.queue.pop(now); e != nil {
			s.schedule(inner, e, now)
			continue
		}
		s.wait(ctx, now)
	}
	return ctx.Err()
}

func newScheduler(c Config) *scheduler {
	c.SchedulerName = cmp.Or(c.SchedulerName, corev1.DefaultSchedulerName)
	c.Seed = cmp.Or(c.Seed, uint64(c.Now().UnixNano()))
	r := rand.New(rand.NewPCG(c.Seed, 0))
	return &scheduler{Config: c, cache: newCache(), queue: newQueue(), rand: r,
		kinds: map[string]refused{}, out: outbox{limit: writesAtOnce}, more: make(chan struct{}, 1)}
}

// post hands something that happened to the loop. Any goroutine may call it.
func (s *scheduler) post(f func()) {
	s.mu.Lock()
	s.inbox = append(s.inbox, f)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// takeIn does all that was posted.
func (s *scheduler) takeIn() {
	s.mu.Lock()
	todo := s.inbox
	s.inbox = nil
	s.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// wait blocks until something was posted, a back-off ends, or ctx ends. Without back-offs there is no timer.
func (s *scheduler) wait(ctx context.Context, now time.Time) {
	var timeout <-chan time.Time
	if at, ok := s.queue.next(); ok {
		t := time.NewTimer(max(at.Sub(now), time.Millisecond))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
	case <-s.more:
	case <-timeout:
	}
}

// schedule decides on one pod and acts on the decision.
func (s *scheduler) schedule(ctx context.Context, e *entry, now time.Time) {
	if s.refusedAlike(ctx, e, now) {
		return
	}
	s.views.spreadByDefault(e.ask)
	d := s.decide(e.ask)
	if d.node == nil {
		s.refuse(ctx, e, d, now)
		return
	}
	if len(e.ask.unbound) > 0 {
		s.makeVolumes(ctx, e, d.node.name)
		return
	}
	s.cache.assume(e.ask.pod, d.node)
	s.nominate(e.ask, nil)
	s.queue.wake(bySpread|byNeighbours, now) // a new pod can be what others want near
	s.bind(ctx, e, d.node.name)
}

// refuse puts a pod aside that fits nowhere and says why.
func (s *scheduler) refuse(ctx context.Context, e *entry, d decision, now time.Time) {
	if p := s.preempt(e.ask, &d); p != nil {
		s.carryOut(ctx, e, p)
	} else if !d.leaving {
		s.nominate(e.ask, nil)
		s.remember(e, d)
	}
	s.say(ctx, e, d.rejected, d.message(), now)
}

func (s *scheduler) say(ctx context.Context, e *entry, by cause, text string, now time.Time) {
	room := ""
	if n := e.ask.nominated; n != nil {
		room = n.name
	}
	s.queue.putAside(e, by, now)
	s.Log.Debug("pod fits nowhere", "object", e.ask.key, "reason", text)
	s.tell(e.ask.obj, corev1.EventTypeWarning, "FailedScheduling", text)
	s.report(ctx, e, corev1.PodReasonUnschedulable, text, room)
}
