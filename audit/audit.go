// Package audit is the trail of who did what: for each request that the policy wants written down, events of
// audit.k8s.io/v1 go to a log (file.go), to a webhook, or to both. What comes in is an Event that the API server and
// client/direct fill while they serve a request; the policy (policy.go) judges it by the same attributes that the
// authorizer sees.
//
// A request pays for encoding its event and for one copy into a buffer; a goroutine of the log's own writes that out, each
// second at the latest. Where the buffer is full, because the disk is or because nobody answers, events are dropped and
// counted, and requests go on, unless the mode is BlockingStrict.
package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lighter-k8s/lighter/authz"
)

// Mode is when an event is written. Source: kube-apiserver, --audit-log-mode.
type Mode string

// The modes.
const (
	Batch          Mode = "batch"           // soon, many at once; the request goes on
	Blocking       Mode = "blocking"        // before the request goes on
	BlockingStrict Mode = "blocking-strict" // and what cannot be written down is refused
)

// Modes are all modes.
var Modes = []Mode{Batch, Blocking, BlockingStrict}

// Trail writes events down as a policy says. A nil Trail writes nothing. Safe for concurrent use.
type Trail struct {
	policy  *Policy
	now     func() time.Time
	sinks   []sink
	metrics *metrics
}

// sink is where encoded events go.
type sink interface {
	name() string
	mode() Mode
	// write takes one event, which it must not keep. An error says that it is lost or, in blocking modes, not written yet.
	write(line []byte) error
	// settled says whether all is written that was given; it tries again if not.
	settled() error
	run(ctx context.Context) error
}

// New makes a trail of a log, a webhook, or both; nil is none. Run must be called.
func New(p *Policy, now func() time.Time, log *Log, hook *Webhook) *Trail {
	t := &Trail{policy: p, now: now, metrics: newMetrics()}
	if log != nil {
		log.dropped = t.metrics.dropped(log.name())
		t.sinks = append(t.sinks, log)
	}
	if hook != nil {
		hook.dropped = t.metrics.dropped(hook.name())
		t.sinks = append(t.sinks, hook)
	}
	return t
}

// Run writes what comes until ctx ends, and then what is left.
func (t *Trail) Run(ctx context.Context) error {
	if t == nil {
		return nil
	}
	errs := make([]error, len(t.sinks))
	var all sync.WaitGroup
	for n, s := range t.sinks {
		all.Go(func() { errs[n] = s.run(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Begin decides what becomes of a request whose ID, URI, agent, addresses and time e has, and writes its first stage
// down. An error says that the request must not be done, because it cannot be written down.
func (t *Trail) Begin(e *Event, a *authz.Attributes) error {
	if t == nil {
		return nil
	}
	e.verdict = t.policy.judge(a)
	t.metrics.levels[e.verdict.level].Inc()
	if e.verdict.level == None {
		return nil
	}
	e.trail, e.user, e.verb, e.hasObject = t, a.User, a.Verb, a.ResourceRequest
	e.ID, e.RequestURI, e.UserAgent = cut(e.ID, longestID), cut(e.RequestURI, longestURI), cut(e.UserAgent, longestAgent)
	if e.hasObject {
		e.object = objectRef{resource: a.Resource, namespace: a.Namespace, name: a.Name, group: a.Group, version: a.Version, subresource: a.Subresource}
	}
	err := e.Reached(RequestReceived, 0)
	for _, s := range t.sinks {
		if err == nil && s.mode() == BlockingStrict {
			err = s.settled()
		}
	}
	if err != nil {
		t.metrics.rejected.Inc()
		return fmt.Errorf("write the audit trail: %w", err)
	}
	return nil
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// Reached writes down that the request has reached a stage, unless the policy leaves it out; code is the response's. An error comes
// from a sink whose mode is BlockingStrict alone; all others are counted.
func (e *Event) Reached(s Stage, code int) error {
	t := e.trail
	if t == nil || e.verdict.omit&s != 0 {
		return nil
	}
	pooled := scratch.Get().(*[]byte)
	line := e.append((*pooled)[:0], s, code, t.now())
	t.metrics.events.Inc()
	var strict error
	for _, to := range t.sinks {
		if err := to.write(line); err != nil && to.mode() == BlockingStrict {
			strict = errors.Join(strict, err)
		}
	}
	if *pooled = line; cap(line) <= 64<<10 {
		scratch.Put(pooled)
	}
	return strict
}

// hourly is for what would be said again and again.
type hourly struct{ said atomic.Int64 }

// due tells, once an hour, that it may be said.
func (h *hourly) due() bool {
	now, was := time.Now().Unix(), h.said.Load()
	return now-was >= 3600 && h.said.CompareAndSwap(was, now)
}

// ParseMode reads a mode; "" is Batch.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return Batch, nil
	}
	if !slices.Contains(Modes, Mode(s)) {
		return "", fmt.Errorf("mode %q: want one of %v", s, Modes)
	}
	return Mode(s), nil
}
