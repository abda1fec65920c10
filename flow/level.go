package flow

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// level is a PriorityLevelConfiguration at work. It stays the same when its configuration changes.
type level struct {
	name   string
	exempt atomic.Bool

	used    atomic.Int64 // seats
	leaving atomic.Bool  // its object is gone
	// What became of requests so far, of which ended is how many of the dispatched ones are done.
	dispatched, ended, refused, timedOut, cancelled atomic.Int64

	demand  demand
	waiting atomic.Int64 // requests
	// nominal are the level's own seats, lends how many of them others may use meanwhile, borrows how many of others' it may use, and
	// limit how many it may use until the next adjustment.
	nominal, lends, borrows, limit atomic.Int64
	target                         float64 // at the last adjustment; guarded by the controller's lock

	mu      sync.Mutex
	rejects bool // who finds no seat does not wait
	queues  []queue
	hand    int
	longest int     // requests in a queue
	now     float64 // virtual time: when the last one that was seated began
}

// queue is of flows that share it. A request begins, in virtual time, when the one before it ends, which took as long as it
// had seats: flows whose queues are never empty get the same number of seats.
type queue struct {
	waiters []*waiter
	seats   int64
	begins  float64 // the first one, in virtual time
}

// waiter is a request that waits; all but ready is guarded by its level's lock.
type waiter struct {
	width int64
	queue int
	ready chan struct{} // closed when it has its seats

	schema, flow string
	arrived      time.Time
	asks         authz.Attributes
}

// served is how many requests are being served.
func (l *level) served() int64 { return max(0, l.dispatched.Load()-l.ended.Load()) }

// sharesOf is what a level gets of all seats, in relation to the others.
func sharesOf(o *flowcontrolv1.PriorityLevelConfiguration) int32 {
	switch {
	case o.Spec.Exempt != nil && o.Spec.Exempt.NominalConcurrencyShares != nil:
		return *o.Spec.Exempt.NominalConcurrencyShares
	case o.Spec.Limited == nil:
		return 0
	case o.Spec.Limited.NominalConcurrencyShares != nil:
		return *o.Spec.Limited.NominalConcurrencyShares
	}
	return 30
}

// configure makes the level what the object says, and tells whether its seats are others now. Source: flowcontrol/v1,
// LimitedPriorityLevelConfiguration.
func (l *level) configure(o *flowcontrolv1.PriorityLevelConfiguration, seats int, shares int64) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, exempt := [...]int64{l.nominal.Load(), l.lends.Load(), l.borrows.Load()}, l.exempt.Load()
	defer func() {
		changed = was != [...]int64{l.nominal.Load(), l.lends.Load(), l.borrows.Load()} || exempt != l.exempt.Load()
	}()
	percent := func(of int64, p *int32) int64 {
		if p == nil {
			return 0
		}
		return int64(math.Round(float64(of) * float64(*p) / 100))
	}
	nominal := int64(0)
	if shares > 0 {
		nominal = (int64(seats)*int64(sharesOf(o)) + shares - 1) / shares
	}
	l.exempt.Store(o.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt)
	l.nominal.Store(nominal)
	limited := o.Spec.Limited
	if limited == nil {
		if e := o.Spec.Exempt; e != nil {
			l.lends.Store(percent(nominal, e.LendablePercent))
		}
		l.borrows.Store(int64(seats) - nominal)
		return
	}
	l.lends.Store(percent(nominal, limited.LendablePercent))
	l.borrows.Store(int64(seats))
	if limited.BorrowingLimitPercent != nil {
		l.borrows.Store(percent(nominal, limited.BorrowingLimitPercent))
	}
	q := limited.LimitResponse.Queuing
	l.rejects = limited.LimitResponse.Type == flowcontrolv1.LimitResponseTypeReject || q == nil
	if l.rejects {
		return changed // those who wait still get their seats
	}
	l.hand, l.longest = int(q.HandSize), int(q.QueueLengthLimit)
	for len(l.queues) < int(q.Queues) {
		l.queues = append(l.queues, queue{})
	}
	for n := len(l.queues) - 1; n >= int(q.Queues) && len(l.queues[n].waiters) == 0; n-- {
		l.queues = l.queues[:n] // fewer, as soon as the last ones are empty
	}
	l.hand = min(l.hand, len(l.queues))
	return changed
}

// take takes seats if there are as many, or if nobody has any. Seats that were borrowed come back when who has them is done: their owner need not
// wait for that, so that for that long a few more are in use than there are.
func (l *level) take(width int64) bool {
	used := l.used.Add(width)
	if used <= l.limit.Load() || used == width {
		return true
	}
	l.used.Add(-width)
	return false
}

// enqueue puts a request into the emptiest of the queues that its flow's hand has, or tells why not.
func (l *level) enqueue(w *waiter, flow uint64) (refused string) {
	if l.rejects || l.hand == 0 {
		return "concurrency-limit"
	}
	w.queue = -1
	deal(flow, len(l.queues), l.hand, func(n int) {
		if w.queue < 0 || l.queues[n].seats < l.queues[w.queue].seats {
			w.queue = n
		}
	})
	q := &l.queues[w.queue]
	if len(q.waiters) >= l.longest {
		return "queue-full"
	}
	if len(q.waiters) == 0 {
		q.begins = max(q.begins, l.now)
	}
	q.waiters = append(q.waiters, w)
	q.seats += w.width
	l.waiting.Add(1)
	return ""
}

// deal gives a flow its hand of queues: different ones, always the same, and seldom those of another flow.
// Source: API Priority and Fairness, shuffle sharding.
func deal(flow uint64, queues, hand int, card func(n int)) {
	var dealt [16]int // sorted; hands are small
	got := dealt[:0]
	for left := queues; len(got) < hand; left-- {
		n := int(flow % uint64(left))
		flow /= uint64(left)
		at := 0
		for at < len(got) && got[at] <= n { // n counts what was not dealt yet
			n++
			at++
		}
		got = slices.Insert(got, at, n)
		card(n)
	}
}

// seat seats as many of those who wait as there are seats for, fairly.
func (l *level) seat() {
	for l.waiting.Load() > 0 {
		var next *queue
		for n := range l.queues {
			q := &l.queues[n]
			if len(q.waiters) > 0 && (next == nil || q.begins < next.begins || q.begins == next.begins && q.seats < next.seats) {
				next = q // of those who are equal the one who asks for least: a flood has several queues at the same moment
			}
		}
		if next == nil {
			return
		}
		w := next.waiters[0]
		if !l.take(w.width) {
			return
		}
		l.now = next.begins
		next.begins += float64(w.width)
		next.pop(0)
		l.waiting.Add(-1)
		close(w.ready)
	}
}

// dispatch seats who can be seated.
func (l *level) dispatch() {
	if l.waiting.Load() > 0 {
		l.mu.Lock()
		l.seat()
		l.mu.Unlock()
	}
}

// remove takes a request out that waits no longer; false: it has its seats.
func (l *level) remove(w *waiter) bool {
	q := &l.queues[w.queue]
	n := slices.Index(q.waiters, w)
	if n < 0 {
		return false
	}
	q.pop(n)
	l.waiting.Add(-1)
	return true
}

func (q *queue) pop(n int) {
	q.seats -= q.waiters[n].width
	q.waiters = slices.Delete(q.waiters, n, n+1)
}
