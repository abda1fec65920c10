// Package flow is priority and fairness: FlowSchemas say of which priority level a request is and with whom it shares,
// PriorityLevelConfigurations how many seats a level has, what of them it lends and borrows (adjust.go), and how those wait who
// find no seat. What comes in are the attributes by which the authorizer judges and how many seats the request takes; what goes
// out is a Ticket, or that the request is to come again later. The API server asks for each request.
//
// While nobody waits a request costs finding its schema and one addition. Source: Kubernetes documentation, API Priority and
// Fairness; KEP-1040.
package flow

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
)

// patience is how long a request waits at most. Source: kube-apiserver, a quarter of a request's time.
const patience = 15 * time.Second

// ErrBusy says that a request finds neither a seat nor a place to wait, or waited too long: 429.
var ErrBusy = errors.New("too many requests, please try again later")

// Views are what the controller goes by.
type Views struct {
	Schemas client.TypedView[*flowcontrolv1.FlowSchema]
	Levels  client.TypedView[*flowcontrolv1.PriorityLevelConfiguration]
}

// Controller gives requests their seats. Safe for concurrent use.
type Controller struct {
	seats   int
	seed    maphash.Seed
	now     atomic.Pointer[rules]
	metrics *metrics

	mu       sync.Mutex // guards the making of rules and their adjustment
	views    Views
	adjusted time.Time
	fair     float64 // see share
}

// rules are what holds at present. They are never written to.
type rules struct {
	schemas []*schema // by precedence
	levels  []*level
}

// schema is a FlowSchema with its level.
type schema struct {
	name   string
	spec   *flowcontrolv1.FlowSchemaSpec
	level  *level
	uids   [2][]string // header values: the schema's, the level's
	labels [2]string
	counts *counts
}

// New follows the views until ctx ends. Run must be called.
func New(ctx context.Context, seats int, v Views) *Controller {
	c := &Controller{seats: seats, seed: maphash.MakeSeed(), views: v, metrics: newMetrics()}
	c.rebuild()
	v.Schemas.Subscribe(ctx, func(_, _ *flowcontrolv1.FlowSchema) { c.rebuild() })
	v.Levels.Subscribe(ctx, func(_, _ *flowcontrolv1.PriorityLevelConfiguration) { c.rebuild() })
	return c
}

// rebuild makes the rules that the views say. Levels go on with those who have their seats and those who wait.
func (c *Controller) rebuild() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(c.views.Schemas.List(""), c.views.Levels.List(""))
}

// set replaces the rules. The mandatory objects count even where they are not there (yet).
func (c *Controller) set(schemas []*flowcontrolv1.FlowSchema, configs []*flowcontrolv1.PriorityLevelConfiguration) {
	for _, m := range bootstrap.MandatoryPriorityLevelConfigurations {
		if !slices.ContainsFunc(configs, func(o *flowcontrolv1.PriorityLevelConfiguration) bool { return o.Name == m.Name }) {
			configs = append(configs, m)
		}
	}
	for _, m := range bootstrap.MandatoryFlowSchemas {
		if !slices.ContainsFunc(schemas, func(o *flowcontrolv1.FlowSchema) bool { return o.Name == m.Name }) {
			schemas = append(schemas, m)
		}
	}
	old := c.now.Load()
	next := &rules{}
	shares, others := int64(0), false // others: levels have other seats than before
	for _, o := range configs {
		shares += int64(sharesOf(o))
	}
	for _, o := range configs {
		var l *level
		if old != nil {
			if n := slices.IndexFunc(old.levels, func(l *level) bool { return l.name == o.Name }); n >= 0 {
				l = old.levels[n]
			}
		}
		known := l != nil
		if !known {
			l = &level{name: o.Name}
			l.demand.change(0, time.Now())
		}
		if l.configure(o, c.seats, shares) || l.leaving.Load() {
			others = true
		}
		if !known {
			others = true
			l.limit.Store(l.nominal.Load()) // who asks before the limits are adjusted
		}
		l.leaving.Store(false)
		next.levels = append(next.levels, l)
	}
	if old != nil { // a level that is gone stays for those who are in it
		for _, l := range old.levels {
			if slices.Contains(next.levels, l) {
				continue
			}
			if !l.leaving.Swap(true) {
				others = true
			}
			if l.used.Load()+l.waiting.Load() > 0 {
				next.levels = append(next.levels, l)
			}
		}
	}
	for _, o := range schemas {
		n := slices.IndexFunc(configs, func(l *flowcontrolv1.PriorityLevelConfiguration) bool {
			return l.Name == o.Spec.PriorityLevelConfiguration.Name
		})
		if n < 0 {
			continue // of no level: nobody is of it
		}
		next.schemas = append(next.schemas, &schema{name: o.Name, spec: &o.Spec, level: next.levels[n], labels: [2]string{o.Name, configs[n].Name}, counts: c.countsOf(o.Name, configs[n].Name),
			uids: [2][]string{{string(o.UID)}, {string(configs[n].UID)}}})
	}
	slices.SortFunc(next.schemas, func(a, b *schema) int {
		if d := a.spec.MatchingPrecedence - b.spec.MatchingPrecedence; d != 0 {
			return int(d)
		}
		if a.name < b.name {
			return -1
		}
		return 1
	})
	c.now.Store(next)
	if others {
		c.adjust(time.Now())
	}
}

// Ticket is what a request holds while it is served. Release must be called; more than once does no harm. The zero Ticket holds nothing.
type Ticket struct {
	c      *Controller
	level  *level
	of     *counts
	exempt bool // it took no seats
	width  int64
	Waited time.Duration
	Schema []string // the UIDs of the FlowSchema and the PriorityLevelConfiguration, as a header's values
	Level  []string
}

// Begin waits for as many seats as the request takes. The ticket says of which schema and level it is even where there is an error:
// ErrBusy, or the context's.
func (c *Controller) Begin(ctx context.Context, a *authz.Attributes, width func() int) (Ticket, error) {
	now := c.now.Load()
	s := now.find(a)
	if s == nil {
		return Ticket{}, nil // the mandatory ones have everybody; somebody changed them just now
	}
	t := Ticket{c: c, Schema: s.uids[0], Level: s.uids[1]}
	t.level, t.of = s.level, s.counts
	if s.level.exempt.Load() {
		t.exempt = true
		t.began(1)
		return t, nil
	}
	t.width = min(int64(width()), max(1, s.level.nominal.Load()))
	s.level.demand.change(t.width, time.Now())
	if s.level.waiting.Load() == 0 {
		if s.level.take(t.width) {
			t.of.waited[1].Observe(0)
			t.began(t.width)
			return t, nil
		}
	}
	came := time.Now()
	t.of.queued.Add(1)
	t.of.queuedSeats.Add(t.width)
	reason, err := c.wait(ctx, s, a, t.width)
	t.of.queued.Add(-1)
	t.of.queuedSeats.Add(-t.width)
	t.Waited = time.Since(came)
	if err != nil {
		s.level.demand.change(-t.width, time.Now())
		t.of.waited[0].Observe(t.Waited.Seconds())
	} else {
		t.of.waited[1].Observe(t.Waited.Seconds())
	}
	switch reason {
	case "":
		t.began(t.width)
	case "time-out":
		s.level.timedOut.Add(1)
	case "cancelled":
		s.level.cancelled.Add(1)
	default:
		s.level.refused.Add(1)
	}
	if err != nil {
		c.metrics.rejected.WithLabelValues(s.labels[1], s.labels[0], reason).Inc()
		t.level = nil
	}
	return t, err
}

// began counts a request that is served from now on. The demand of one of a limited level is known already.
func (t *Ticket) began(seats int64) {
	if t.exempt {
		t.level.demand.change(seats, time.Now())
	}
	t.level.dispatched.Add(1)
	t.of.dispatched.Add(1)
	t.of.executing.Add(1)
	t.of.seats.Add(seats)
}

// Release gives the seats back.
func (t *Ticket) Release() {
	if t.level == nil {
		return
	}
	seats := t.width
	if t.exempt {
		seats = 1 // for who counts
	}
	t.level.ended.Add(1)
	t.of.executing.Add(-1)
	t.of.seats.Add(-seats)
	t.level.demand.change(-seats, time.Now())
	t.level.used.Add(-t.width)
	t.level.dispatch()
	t.level = nil
}

// dispatch seats who can be seated, in all levels.
func (c *Controller) dispatch() {
	for _, l := range c.now.Load().levels {
		l.dispatch()
	}
}

// wait queues a request and waits with it.
func (c *Controller) wait(ctx context.Context, s *schema, a *authz.Attributes, width int64) (reason string, err error) {
	l := s.level
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.WriteString(s.name)
	_ = h.WriteByte(0)
	of := ""
	if m := s.spec.DistinguisherMethod; m != nil && m.Type == flowcontrolv1.FlowDistinguisherMethodByUserType {
		of = a.User.Username
	} else if m != nil {
		of = a.Namespace
	}
	_, _ = h.WriteString(of)
	w := &waiter{width: width, ready: make(chan struct{}), schema: s.name, flow: of, arrived: time.Now(), asks: *a}
	l.mu.Lock()
	if reason = l.enqueue(w, h.Sum64()); reason != "" {
		l.mu.Unlock()
		return reason, ErrBusy
	}
	l.seat() // somebody may have gone meanwhile
	l.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.ready:
		return "", nil
	case <-timer.C:
		reason, err = "time-out", ErrBusy
	case <-ctx.Done():
		reason, err = "cancelled", ctx.Err()
	}
	l.mu.Lock()
	gone := l.remove(w)
	l.mu.Unlock()
	if !gone { // it was seated in the same moment
		l.used.Add(-width)
	}
	l.dispatch()
	return reason, err
}
