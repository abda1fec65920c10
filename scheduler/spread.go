package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

var (
	isUneven      = reason{"node(s) didn't match pod topology spread constraints", bySpread, false}
	hasNoTopology = reason{"node(s) didn't match pod topology spread constraints (missing required label)", bySpread, true}
)

// spread is one topology spread constraint, and what was last counted for it.
type spread struct {
	who                  matcher
	key                  string // of who
	label                string // topologyKey
	maxSkew, minDomains  int32
	hard                 bool // DoNotSchedule
	byAffinity, byTaints bool // only nodes count that the pod could go to by its node affinity, its tolerations
	self                 int32
	byDefault            bool // not from the pod: a node without the label still counts

	t      *topology
	counts []int32 // pods by value of the topology
	least  int32
	weight float64 // in scores
}

func readSpread(a *ask) {
	for i := range a.obj.Spec.TopologySpreadConstraints {
		k := &a.obj.Spec.TopologySpreadConstraints[i]
		s := spread{label: k.TopologyKey, maxSkew: k.MaxSkew, minDomains: 1, hard: k.WhenUnsatisfiable != corev1.ScheduleAnyway,
			byAffinity: k.NodeAffinityPolicy == nil || *k.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			byTaints:   k.NodeTaintsPolicy != nil && *k.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor}
		if k.MinDomains != nil {
			s.minDomains = *k.MinDomains
		}
		s.of(a.obj, selectorOf(k.LabelSelector, a.obj.Labels, k.MatchLabelKeys, nil))
		a.near.spread = append(a.near.spread, s)
	}
}

func (s *spread) of(obj *corev1.Pod, sel labels.Selector) {
	s.who = ownNamespace(obj.Namespace, sel)
	s.key = s.who.key()
	if sel.Matches(labels.Set(obj.Labels)) {
		s.self = 1
	}
}

// surveySpread counts the pods of each constraint by topology.
func (c *cache) surveySpread(a *ask) {
	for i := range a.near.spread {
		s := &a.near.spread[i]
		s.t = c.topology(s.label)
	}
	for i := range a.near.spread {
		s := &a.near.spread[i]
		s.counts = slices.Grow(s.counts[:0], len(s.t.names))[:len(s.t.names)]
		clear(s.counts)
		for at, n := range c.selection(s.key, []matcher{s.who}).nodes {
			if v := s.t.of[at]; v >= 0 && c.included(a, s, c.nodes[at]) {
				s.counts[v] += n
			}
		}
		if s.hard {
			s.least = c.least(a, s)
		}
	}
}

// included tells whether what is on a node counts for a constraint: it must have the labels of all
// constraints of the same kind, and be open to the pod as far as the constraint's policies ask.
func (c *cache) included(a *ask, s *spread, n *node) bool {
	if n.obj == nil {
		return false
	}
	if !s.byDefault {
		for i := range a.near.spread {
			if o := &a.near.spread[i]; o.hard == s.hard && o.t.at(n) < 0 {
				return false
			}
		}
	}
	return (!s.byAffinity || len(selected(c, a, n, nil)) == 0) && (!s.byTaints || len(tainted(c, a, n, nil)) == 0)
}

// least is the smallest count among the topology's values; 0 when there are fewer than minDomains.
func (c *cache) least(a *ask, s *spread) int32 {
	least, domains := int32(math.MaxInt32), int32(0)
	count := func(v int32) {
		domains++
		least = min(least, s.counts[v])
	}
	alone := !slices.ContainsFunc(a.near.spread, func(o spread) bool { return o.hard && o.label != s.label })
	if alone && !s.byTaints && !(s.byAffinity && a.selective) {
		for v, n := range s.t.size {
			if n > 0 {
				count(int32(v))
			}
		}
	} else {
		seen := make([]bool, len(s.t.names))
		for _, n := range c.order {
			if v := s.t.at(n); v >= 0 && !seen[v] && c.included(a, s, n) {
				seen[v] = true
				count(v)
			}
		}
	}
	if domains < s.minDomains {
		return 0
	}
	return least
}

// even is PodTopologySpread's filter.
func even(_ *cache, a *ask, n *node, why []reason) []reason {
	for i := range a.near.spread {
		s := &a.near.spread[i]
		if !s.hard {
			continue
		}
		v := s.t.at(n)
		if v < 0 {
			return append(why, hasNoTopology)
		}
		if s.counts[v]+s.self-s.least > s.maxSkew {
			return append(why, isUneven)
		}
	}
	return why
}
