package scheduler

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	operator "k8s.io/apimachinery/pkg/selection"
)

// index answers, without looking at every pod, on which nodes the pods are that a selector matches
// (selection), which pods on nodes say something about a new pod (held), and which nodes share the value of a
// label (topology). All three are made when first asked for and then kept by each change.
type index struct {
	byNamespace map[string]map[*pod]bool
	namespaces  map[string]labels.Set // labels of each namespace
	topologies  map[string]*topology
	selections  lookup[*selection]
	held        lookup[*held]
	clock       uint64 // rises with each use of a selection
}

func newIndex() index {
	return index{byNamespace: map[string]map[*pod]bool{}, namespaces: map[string]labels.Set{}, topologies: map[string]*topology{},
		selections: newLookup[*selection](), held: newLookup[*held]()}
}

// pair is a label with its value.
type pair struct{ key, value string }

// matcher says which pods are meant.
type matcher struct {
	namespaces []string        // these
	more       labels.Selector // and those whose labels match; nil: no others
	labels     labels.Selector
	living     bool // pods that are being deleted do not count
}

func (m *matcher) match(x *index, p *brief) bool {
	return (!m.living || !p.leaving) && m.labels.Matches(labels.Set(p.labels)) &&
		(slices.Contains(m.namespaces, p.namespace) || m.more != nil && m.more.Matches(x.namespaces[p.namespace]))
}

// key is the same for matchers that mean the same.
func (m *matcher) key() string {
	var b strings.Builder
	for _, n := range m.namespaces {
		b.WriteString(n)
		b.WriteByte(',')
	}
	if m.more != nil {
		b.WriteByte('|')
		b.WriteString(m.more.String())
	}
	b.WriteByte('|')
	b.WriteString(m.labels.String())
	if m.living {
		b.WriteByte('!')
	}
	return b.String()
}

// must is a label that all matching pods have, if the selector names one.
func (m *matcher) must() (pair, bool) {
	reqs, _ := m.labels.Requirements()
	for i := range reqs {
		switch reqs[i].Operator() {
		case operator.In, operator.Equals, operator.DoubleEquals:
			if v := reqs[i].ValuesUnsorted(); len(v) == 1 {
				return pair{reqs[i].Key(), v[0]}, true
			}
		}
	}
	return pair{}, false
}

// lookup finds what a pod's labels may concern.
type lookup[T any] struct {
	byKey  map[string]T
	byPair map[pair][]T // what is only for pods that have the label
	rest   []T
}

func newLookup[T any]() lookup[T] { return lookup[T]{byKey: map[string]T{}, byPair: map[pair][]T{}} }

func (l *lookup[T]) add(key string, m *matcher, t T) {
	l.byKey[key] = t
	if p, ok := m.must(); ok {
		l.byPair[p] = append(l.byPair[p], t)
	} else {
		l.rest = append(l.rest, t)
	}
}

func (l *lookup[T]) remove(key string, m *matcher, same func(T) bool) {
	delete(l.byKey, key)
	p, ok := m.must()
	if !ok {
		l.rest = slices.DeleteFunc(l.rest, same)
		return
	}
	if l.byPair[p] = slices.DeleteFunc(l.byPair[p], same); len(l.byPair[p]) == 0 {
		delete(l.byPair, p)
	}
}

// each calls f with all that pods of these labels may concern, each once.
func (l *lookup[T]) each(set map[string]string, f func(T)) {
	for _, t := range l.rest {
		f(t)
	}
	if len(l.byPair) == 0 {
		return
	}
	for k, v := range set {
		for _, t := range l.byPair[pair{k, v}] {
			f(t)
		}
	}
}

// selection is how many pods on each node all of its matchers match.
type selection struct {
	key      string
	matchers []matcher
	nodes    map[int32]int32 // pods by node index
	used     uint64
}

func (s *selection) match(x *index, p *brief) bool {
	for i := range s.matchers {
		if !s.matchers[i].match(x, p) {
			return false
		}
	}
	return true
}

func (s *selection) add(node, n int32) {
	if s.nodes[node] += n; s.nodes[node] == 0 {
		delete(s.nodes, node)
	}
}

// maxSelections is how many selections are kept; those not used for longest go.
const maxSelections = 8192

// selection returns where the pods are that all matchers match.
func (x *index) selection(key string, matchers []matcher) *selection {
	x.clock++
	s := x.selections.byKey[key]
	if s == nil {
		x.forgetSelections()
		s = &selection{key: key, matchers: matchers, nodes: map[int32]int32{}}
		count := func(pods map[*pod]bool) {
			for p := range pods {
				if s.match(x, &p.brief) {
					s.nodes[p.node.index]++
				}
			}
		}
		if first := &matchers[0]; first.more == nil {
			for _, ns := range first.namespaces {
				count(x.byNamespace[ns])
			}
		} else {
			for _, pods := range x.byNamespace {
				count(pods)
			}
		}
		x.selections.add(key, &matchers[0], s)
	}
	s.used = x.clock
	return s
}

func (x *index) forgetSelections() {
	if len(x.selections.byKey) < maxSelections {
		return
	}
	old := x.selections.byKey
	x.selections = newLookup[*selection]()
	used := make([]uint64, 0, len(old))
	for _, s := range old {
		used = append(used, s.used)
	}
	slices.Sort(used)
	for k, s := range old {
		if s.used > used[len(used)/2] {
			x.selections.add(k, &s.matchers[0], s)
		}
	}
}

// setNamespace takes in a namespace's labels; nil when it is gone.
func (x *index) setNamespace(name string, set map[string]string) {
	x.namespaces[name] = set
	for k, s := range x.selections.byKey {
		if slices.ContainsFunc(s.matchers, func(m matcher) bool { return m.more != nil }) {
			x.selections.remove(k, &s.matchers[0], func(t *selection) bool { return t == s }) // made again when asked for
		}
	}
}

// held is what pods on nodes say about a new pod that matches: keep away, or come nearer.
type held struct {
	key    string
	who    matcher
	label  string // of the nodes: the topologyKey
	never  bool   // required anti-affinity
	weight int64  // otherwise: how much a holder is worth, by its topology
	nodes  map[int32]int32
}

// hold makes or finds what a term of a pod on a node says.
func (x *index) hold(t *term, never bool, weight int64) *held {
	key := t.label + "|" + strconv.FormatInt(weight, 10) + "|" + t.key
	if never {
		key = "!" + key
	}
	h := x.held.byKey[key]
	if h == nil {
		h = &held{key: key, who: t.who, label: t.label, never: never, weight: weight, nodes: map[int32]int32{}}
		x.held.add(key, &h.who, h)
	}
	return h
}

// indexPod counts a pod that came to its node (sign 1) or leaves it (-1).
func (c *cache) indexPod(p *pod, sign int32) {
	x, at := &c.index, p.node.index
	x.selections.each(p.labels, func(s *selection) {
		if s.match(x, &p.brief) {
			s.add(at, sign)
		}
	})
	ns := p.namespace
	if sign > 0 {
		if x.byNamespace[ns] == nil {
			x.byNamespace[ns] = map[*pod]bool{}
		}
		x.byNamespace[ns][p] = true
		p.held = x.holdings(&p.brief)
	} else if delete(x.byNamespace[ns], p); len(x.byNamespace[ns]) == 0 {
		delete(x.byNamespace, ns)
	}
	for _, h := range p.held {
		if h.nodes[at] += sign; h.nodes[at] == 0 {
			delete(h.nodes, at)
		}
		if len(h.nodes) == 0 {
			x.held.remove(h.key, &h.who, func(t *held) bool { return t == h })
		}
	}
	if sign < 0 {
		p.held = nil
	}
}

// topology numbers the values that nodes have of one label.
type topology struct {
	label  string
	values map[string]int32
	names  []string
	size   []int32 // nodes with each value
	of     []int32 // the value of each node, by index; -1: it has none
	free   []int32 // unused values
}

// topology returns the numbering of a label's values.
func (c *cache) topology(label string) *topology {
	t := c.topologies[label]
	if t == nil {
		t = &topology{label: label, values: map[string]int32{}}
		c.topologies[label] = t
		for _, n := range c.nodes {
			if n != nil {
				t.place(n)
			}
		}
	}
	return t
}

// placeNode takes in a node's labels.
func (c *cache) placeNode(n *node) {
	for _, t := range c.topologies {
		t.place(n)
	}
}

func (t *topology) place(n *node) {
	for int(n.index) >= len(t.of) {
		t.of = append(t.of, -1)
	}
	old, next := t.of[n.index], int32(-1)
	if n.obj != nil {
		if v, ok := n.obj.Labels[t.label]; ok {
			next = t.number(v)
			t.size[next]++
		}
	}
	t.of[n.index] = next
	if old >= 0 {
		if t.size[old]--; t.size[old] == 0 {
			delete(t.values, t.names[old])
			t.free = append(t.free, old)
		}
	}
}

func (t *topology) number(value string) int32 {
	n, ok := t.values[value]
	if ok {
		return n
	}
	if k := len(t.free); k > 0 {
		n, t.free = t.free[k-1], t.free[:k-1]
		t.names[n] = value
	} else {
		n = int32(len(t.names))
		t.names, t.size = append(t.names, value), append(t.size, 0)
	}
	t.values[value] = n
	return n
}

// at is the value's number on a node; -1: it has none.
func (t *topology) at(n *node) int32 {
	if int(n.index) < len(t.of) {
		return t.of[n.index]
	}
	return -1
}

// selectorOf compiles a label selector, with what matchLabelKeys and mismatchLabelKeys take from the pod's own labels.
func selectorOf(s *v1.LabelSelector, own map[string]string, match, mismatch []string) labels.Selector {
	sel, err := v1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing() // the API server has validated it
	}
	if s == nil {
		return sel
	}
	add := func(keys []string, op func(key, value string) (*labels.Requirement, error)) {
		for _, k := range keys {
			if v, ok := own[k]; ok {
				if r, err := op(k, v); err == nil {
					sel = sel.Add(*r)
				}
			}
		}
	}
	add(match, func(k, v string) (*labels.Requirement, error) {
		return labels.NewRequirement(k, operator.In, []string{v})
	})
	add(mismatch, func(k, v string) (*labels.Requirement, error) {
		return labels.NewRequirement(k, operator.NotIn, []string{v})
	})
	return sel
}
