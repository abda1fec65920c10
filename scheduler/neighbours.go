package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

var (
	missesNeighbours = reason{"node(s) didn't match pod affinity rules", byNeighbours, true}
	hasEnemies       = reason{"node(s) didn't match pod anti-affinity rules", byNeighbours, false}
	isEnemy          = reason{"node(s) didn't satisfy existing pods anti-affinity rules", byNeighbours, false}
)

// term is one term of affinity or anti-affinity between pods.
type term struct {
	who    matcher
	key    string // of who
	label  string // topologyKey
	weight int64
}

func newTerm(owner *brief, t *corev1.PodAffinityTerm, weight int64) term {
	m := matcher{namespaces: t.Namespaces, labels: selectorOf(t.LabelSelector, owner.labels, t.MatchLabelKeys, t.MismatchLabelKeys)}
	if t.NamespaceSelector != nil {
		m.more = selectorOf(t.NamespaceSelector, nil, nil, nil)
	} else if len(m.namespaces) == 0 {
		m.namespaces = []string{owner.namespace}
	}
	return term{who: m, key: m.key(), label: t.TopologyKey, weight: weight}
}

// neighbours is what a waiting pod says about other pods, and what was last counted for it.
type neighbours struct {
	with, without []term // required affinity, anti-affinity
	rather        []term // preferred; against when the weight is negative
	all           []matcher
	allKey        string
	spread        []spread

	// Counted by survey, for one decision:
	required []domains // nodes must be in one of each
	anywhere bool      // nobody matches yet, but the pod itself does
	enemies  []domains // nodes must be in none of any
	attracts []pull
}

// domains is a set of values of a topology.
type domains struct {
	t   *topology
	in  []bool // by value
	why reason
}

// pull is how much each value of a topology is worth.
type pull struct {
	t     *topology
	worth []int64
}

// readNeighbours compiles what a waiting pod says about others.
func (c *cache) readNeighbours(a *ask) {
	n := &a.near
	if f := a.obj.Spec.Affinity; f != nil {
		if p := f.PodAffinity; p != nil {
			for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
				t := newTerm(&a.brief, &p.RequiredDuringSchedulingIgnoredDuringExecution[i], 0)
				n.with = append(n.with, t)
				n.all = append(n.all, t.who)
				n.allKey += t.key + "&"
			}
			for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
				w := &p.PreferredDuringSchedulingIgnoredDuringExecution[i]
				n.rather = append(n.rather, newTerm(&a.brief, &w.PodAffinityTerm, int64(w.Weight)))
			}
		}
		if p := f.PodAntiAffinity; p != nil {
			for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
				n.without = append(n.without, newTerm(&a.brief, &p.RequiredDuringSchedulingIgnoredDuringExecution[i], 0))
			}
			for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
				w := &p.PreferredDuringSchedulingIgnoredDuringExecution[i]
				n.rather = append(n.rather, newTerm(&a.brief, &w.PodAffinityTerm, -int64(w.Weight)))
			}
		}
	}
	readSpread(a)
}

// hardWeight is what a required affinity of a pod on a node is worth to the pods that it wants near.
const hardWeight = 1

// holdings are the terms of a pod on a node that concern pods to come.
func (x *index) holdings(p *brief) (out []*held) {
	f := p.affinity
	if f == nil {
		return nil
	}
	hold := func(t *corev1.PodAffinityTerm, never bool, weight int64) {
		compiled := newTerm(p, t, weight)
		out = append(out, x.hold(&compiled, never, weight))
	}
	if p := f.PodAffinity; p != nil {
		for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
			hold(&p.RequiredDuringSchedulingIgnoredDuringExecution[i], false, hardWeight)
		}
		for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			hold(&p.PreferredDuringSchedulingIgnoredDuringExecution[i].PodAffinityTerm, false, int64(p.PreferredDuringSchedulingIgnoredDuringExecution[i].Weight))
		}
	}
	if p := f.PodAntiAffinity; p != nil {
		for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
			hold(&p.RequiredDuringSchedulingIgnoredDuringExecution[i], true, 0)
		}
		for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			hold(&p.PreferredDuringSchedulingIgnoredDuringExecution[i].PodAffinityTerm, false, -int64(p.PreferredDuringSchedulingIgnoredDuringExecution[i].Weight))
		}
	}
	return out
}

// survey counts, for one decision, where the pods are that matter to a waiting pod.
func (c *cache) survey(a *ask) {
	n := &a.near
	n.required, n.enemies, n.attracts, n.anywhere = n.required[:0], n.enemies[:0], n.attracts[:0], false
	if len(n.with) > 0 {
		c.surveyRequired(a)
	}
	for i := range n.without {
		t := &n.without[i]
		n.addEnemies(c.topology(t.label), c.selection(t.key, []matcher{t.who}).nodes, hasEnemies)
	}
	c.held.each(a.labels, func(h *held) {
		if h.never && h.who.match(&c.index, &a.brief) {
			n.addEnemies(c.topology(h.label), h.nodes, isEnemy)
		}
	})
	c.surveySpread(a)
}

func (c *cache) surveyRequired(a *ask) {
	n := &a.near
	s := c.selection(n.allKey, n.all)
	some := false
	for i := range n.with {
		d := newDomains(&n.required, c.topology(n.with[i].label), missesNeighbours)
		for at := range s.nodes {
			if v := d.t.at(c.nodes[at]); v >= 0 {
				d.in[v], some = true, true
			}
		}
	}
	if !some {
		n.anywhere = true
		for i := range n.all {
			n.anywhere = n.anywhere && n.all[i].match(&c.index, &a.brief)
		}
	}
}

// newDomains appends an empty set to the list, on the memory of an earlier one where there is.
func newDomains(list *[]domains, t *topology, why reason) *domains {
	var in []bool
	if k := len(*list); k < cap(*list) {
		in = (*list)[:k+1][k].in[:0]
	}
	in = slices.Grow(in, len(t.names))[:len(t.names)]
	clear(in)
	*list = append(*list, domains{t, in, why})
	return &(*list)[len(*list)-1]
}

func (n *neighbours) addEnemies(t *topology, nodes map[int32]int32, why reason) {
	if len(nodes) == 0 {
		return
	}
	i := slices.IndexFunc(n.enemies, func(d domains) bool { return d.t == t && d.why == why })
	var d *domains
	if i >= 0 {
		d = &n.enemies[i]
	} else {
		d = newDomains(&n.enemies, t, why)
	}
	for at := range nodes {
		if v := t.of[at]; v >= 0 {
			d.in[v] = true
		}
	}
}

// befriended is InterPodAffinity.
func befriended(_ *cache, a *ask, k *node, why []reason) []reason {
	n := &a.near
	for i := range n.required {
		d := &n.required[i]
		if v := d.t.at(k); v < 0 || !d.in[v] && !n.anywhere {
			return append(why, d.why)
		}
	}
	for _, r := range [...]reason{hasEnemies, isEnemy} {
		for i := range n.enemies {
			d := &n.enemies[i]
			if v := d.t.at(k); d.why == r && v >= 0 && d.in[v] {
				return append(why, r)
			}
		}
	}
	return why
}

// surveyPull counts how much each place is worth by what the pod prefers and by what pods that are there prefer.
func (c *cache) surveyPull(a *ask) {
	n := &a.near
	add := func(label string, nodes map[int32]int32, weight int64) {
		if len(nodes) == 0 || weight == 0 {
			return
		}
		t := c.topology(label)
		i := slices.IndexFunc(n.attracts, func(p pull) bool { return p.t == t })
		if i < 0 {
			i = len(n.attracts)
			n.attracts = append(n.attracts, pull{t, make([]int64, len(t.names))})
		}
		for at, count := range nodes {
			if v := t.of[at]; v >= 0 {
				n.attracts[i].worth[v] += weight * int64(count)
			}
		}
	}
	for i := range n.rather {
		t := &n.rather[i]
		add(t.label, c.selection(t.key, []matcher{t.who}).nodes, t.weight)
	}
	c.held.each(a.labels, func(h *held) {
		if !h.never && h.who.match(&c.index, &a.brief) {
			add(h.label, h.nodes, h.weight)
		}
	})
}

// sameNeighbour tells whether two states of a pod are the same to all others.
func sameNeighbour(a, b *brief) bool {
	return a.leaving == b.leaving && maps.Equal(a.labels, b.labels)
}

// ownNamespace matches the pods of one namespace that are not being deleted.
func ownNamespace(namespace string, s labels.Selector) matcher {
	return matcher{namespaces: []string{namespace}, labels: s, living: true}
}
