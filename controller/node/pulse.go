package node

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

// check is how often a pulse looks whether it was itself away, and how long it may be late without having been.
const check = 5 * time.Second

// pulse knows when each node was last heard of. Only our own clock counts, and only time during which we could have
// heard: after a start, a pause of this process or an outage of the API every node has its grace anew.
// Safe for concurrent use.
type pulse struct {
	grace time.Duration
	now   func() time.Time

	mu     sync.Mutex
	nodes  map[string]*beat
	blind  bool          // the API did not answer when last asked
	filled chan struct{} // holds one when there is a node
}

// beat is what one node last posted, and when we saw it.
type beat struct {
	exists        bool // as a Node, not only as a Lease
	fresh         bool // has never posted a status
	gone          bool // its conditions already say so
	lease, status time.Time
	seen          time.Time
}

func newPulse(grace time.Duration, now func() time.Time) *pulse {
	return &pulse{grace: grace, now: now, nodes: map[string]*beat{}, filled: make(chan struct{}, 1)}
}

func (p *pulse) beat(name string) *beat {
	b := p.nodes[name]
	if b == nil {
		b = &beat{seen: p.now()}
		p.nodes[name] = b
	}
	return b
}

// node takes in a changed Node.
func (p *pulse) node(old, new *corev1.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if new == nil {
		delete(p.nodes, old.Name)
		return
	}
	b := p.beat(new.Name)
	if !b.exists {
		b.exists = true
		select {
		case p.filled <- struct{}{}:
		default:
		}
	}
	c := condition(new, corev1.NodeReady)
	back := b.gone && c != nil && c.Status != corev1.ConditionUnknown
	b.fresh, b.gone = c == nil, c != nil && c.Status == corev1.ConditionUnknown
	if c != nil && !b.gone && (back || !b.status.Equal(c.LastHeartbeatTime.Time)) {
		b.status, b.seen = c.LastHeartbeatTime.Time, p.now()
	}
}

// renewed takes in a node's Lease.
func (p *pulse) renewed(l *coordinationv1.Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.beat(l.Name); l.Spec.RenewTime != nil && !b.lease.Equal(l.Spec.RenewTime.Time) {
		b.lease, b.seen = l.Spec.RenewTime.Time, p.now()
	}
}

// forget drops the Lease of a node that is gone too.
func (p *pulse) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.nodes[name]; b != nil && !b.exists {
		delete(p.nodes, name)
	}
}

func (p *pulse) patience(b *beat) time.Duration {
	if b.fresh {
		return max(p.grace, startupGrace)
	}
	return p.grace
}

// late tells whether the node has been silent for longer than it may.
func (p *pulse) late(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.nodes[name]
	return b != nil && b.exists && !b.gone && p.now().Sub(b.seen) >= p.patience(b)
}

// anew gives every node its grace again.
func (p *pulse) anew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.nodes {
		b.seen = p.now()
	}
}

// confirm asks the API itself whether a node is as silent as it seems: perhaps it is only our view that stands still.
// again: it could not be asked.
func (p *pulse) confirm(ctx context.Context, c client.Client, name string) (silent, again bool) {
	l, err := client.Leases.Get(ctx, c, corev1.NamespaceNodeLease, name)
	if apierrors.IsForbidden(err) { // the role system:controller:node-controller says nothing of leases: then at least that it answers
		l = nil
		_, err = client.Nodes.Get(ctx, c, "", name)
	}
	failed := err != nil && !apierrors.IsNotFound(err)
	p.mu.Lock()
	was := p.blind
	p.blind = failed
	p.mu.Unlock()
	switch {
	case failed:
		return false, true
	case was: // while nobody could post, silence means nothing
		p.anew()
	case err == nil && l != nil:
		p.renewed(l)
	}
	return p.late(name), false
}

// watch calls expired for each node whose grace ends, until ctx ends. It sleeps while there is no node.
func (p *pulse) watch(ctx context.Context, expired func(name string)) {
	last, timer := p.now(), time.NewTimer(0)
	defer timer.Stop()
	var earliest time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.filled:
			earliest = time.Time{} // a new node may be due before the others
		case <-timer.C:
			if p.now().Sub(last) > 2*check {
				p.anew() // we were away
			}
		}
		last = p.now()
		if !last.Before(earliest) {
			var due []string
			due, earliest = p.due(last)
			for _, name := range due {
				expired(name)
			}
		}
		if earliest.IsZero() {
			timer.Stop()
			select {
			case <-ctx.Done():
				return
			case <-p.filled:
				timer.Reset(0)
				last = p.now()
			}
			continue
		}
		timer.Reset(min(check, max(earliest.Sub(last), time.Millisecond)))
	}
}

// due lists the nodes whose grace is over, and says when to ask again; zero: there is no node.
func (p *pulse) due(now time.Time) (names []string, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, b := range p.nodes {
		if !b.exists {
			continue
		}
		at := b.seen.Add(p.patience(b))
		if b.gone {
			at = now.Add(p.grace)
		} else if !at.After(now) {
			names = append(names, name)
			at = now.Add(check) // it will be gone by then, or is asked for again
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return names, next
}
