package node

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// How fast nodes that are not ready lose their pods. Source: Kubernetes documentation, Nodes, Rate limits on eviction.
const (
	evictionRate  = 0.1  // nodes per second in a zone
	secondaryRate = 0.01 // in a zone that is partly down
	unhealthy     = 0.55 // of a zone's nodes not ready: it is partly down
	largeZone     = 50   // a smaller one that is partly down loses nothing
)

// zones counts ready nodes per zone, and hands out the right to begin an eviction. Safe for concurrent use.
type zones struct {
	mu     sync.Mutex
	of     map[string]place
	counts map[string]*zone
	begun  map[string]bool // nodes that were given the right and do not show it yet
}

type place struct {
	zone  string
	ready bool
}

type zone struct {
	ready, notReady int
	tokens          float64
	at              time.Time // when tokens was right
}

func newZones() *zones {
	return &zones{of: map[string]place{}, counts: map[string]*zone{}, begun: map[string]bool{}}
}

// mode is how a zone is.
type mode string

const (
	normal  mode = "normal"
	partial mode = "partly down"
	full    mode = "down"
)

func (z *zone) mode() mode {
	switch {
	case z.ready == 0 && z.notReady > 0:
		return full
	case z.notReady > 2 && float64(z.notReady)/float64(z.notReady+z.ready) >= unhealthy:
		return partial
	}
	return normal
}

func (z *zone) rate() float64 {
	switch {
	case z.mode() != partial:
		return evictionRate
	case z.ready+z.notReady > largeZone:
		return secondaryRate
	}
	return 0
}

// note takes in a node's state; the answer is whether that changes for others what may be done.
func (z *zones) note(old, new *corev1.Node) (changed bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	before := z.allDown()
	name := ""
	if new != nil {
		name = new.Name
	} else {
		name = old.Name
	}
	if new == nil || evicting(new) || ready(new) == corev1.ConditionTrue {
		delete(z.begun, name)
	}
	move := func(p place, by int) {
		c := z.counts[p.zone]
		if c == nil {
			c = &zone{tokens: 1}
			z.counts[p.zone] = c
		}
		was, had := c.mode(), c.rate()
		if p.ready {
			c.ready += by
		} else {
			c.notReady += by
		}
		changed = changed || c.mode() != was || c.rate() != had
	}
	to := place{}
	if new != nil {
		to = place{new.Labels[corev1.LabelTopologyRegion] + "/" + new.Labels[corev1.LabelTopologyZone], ready(new) == corev1.ConditionTrue}
	}
	from, known := z.of[name]
	if known && new != nil && from == to {
		return false
	}
	if known {
		move(from, -1)
		delete(z.of, name)
	}
	if new != nil {
		move(to, 1)
		z.of[name] = to
	}
	return changed || z.allDown() != before
}

func (z *zones) allDown() bool {
	any := false
	for _, c := range z.counts {
		any = any || c.notReady > 0
		if c.ready > 0 {
			return false
		}
	}
	return any
}

// down tells whether no node at all is ready: then it is more likely we who are cut off.
func (z *zones) down() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.allDown()
}

// take uses the right to begin the eviction of one node. Without it, wait is when to ask again, 0: when the zone changes.
func (z *zones) take(name string, now time.Time) (ok bool, wait time.Duration) {
	z.mu.Lock()
	defer z.mu.Unlock()
	p, known := z.of[name]
	if !known || z.allDown() {
		return false, 0
	}
	if z.begun[name] {
		return true, 0
	}
	c := z.counts[p.zone]
	rate := c.rate()
	if !c.at.IsZero() {
		c.tokens = min(1, c.tokens+rate*now.Sub(c.at).Seconds())
	}
	c.at = now
	if rate == 0 {
		return false, 0
	}
	if c.tokens >= 1-1e-9 {
		c.tokens--
		z.begun[name] = true
		return true, 0
	}
	return false, time.Duration((1-c.tokens)/rate*float64(time.Second)) + time.Millisecond
}
