package proxy

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// table is what the kernel should have: the rules of all services, put together. It finds the smallest
// difference. Where two services want the same entry, the one whose namespace and name sort first has it.
type table struct {
	rules   map[types.NamespacedName]ruleset
	entries claims[entry]
	hairpin claims[netip.Addr]
	gone    map[entry][]netip.AddrPort // UDP entries that are no more; the value is always nil
	pending changes
}

// changes is what must be done to the kernel's table, in this order.
type changes struct {
	NewSets    map[string]bool // affinity sets; true is IPv6
	Chains     map[string][]step
	OldEntries map[entry]string
	NewEntries map[entry]string
	OldHairpin []netip.Addr
	NewHairpin []netip.Addr
	OldChains  []string
	OldSets    []string
}

func (c changes) empty() bool { return reflect.DeepEqual(c, newChanges()) }

func newChanges() changes {
	return changes{NewSets: map[string]bool{}, Chains: map[string][]step{}, OldEntries: map[entry]string{}, NewEntries: map[entry]string{}}
}

func newTable() *table {
	return &table{rules: map[types.NamespacedName]ruleset{}, entries: newClaims[entry](), hairpin: newClaims[netip.Addr](),
		gone: map[entry][]netip.AddrPort{}, pending: newChanges()}
}

// put replaces one service's rules and reports whether UDP connections may lead where they no longer should.
func (t *table) put(key types.NamespacedName, r ruleset) (udp bool) {
	old := t.rules[key]
	for name, six := range r.Affinity {
		if _, ok := old.Affinity[name]; !ok {
			t.pending.NewSets[name] = six
		}
	}
	for name, rules := range r.Chains {
		if !reflect.DeepEqual(rules, old.Chains[name]) {
			t.pending.Chains[name] = rules
		}
	}
	for name := range old.Chains {
		if r.Chains[name] == nil {
			t.pending.OldChains = append(t.pending.OldChains, name)
		}
	}
	for name := range old.Affinity {
		if _, ok := r.Affinity[name]; !ok {
			t.pending.OldSets = append(t.pending.OldSets, name)
		}
	}
	for e, chain := range old.Entries {
		if now, ok := r.Entries[e]; !ok || now != chain {
			t.entries.drop(e, key)
		}
	}
	for e, chain := range r.Entries {
		t.entries.claim(e, key, chain)
	}
	for _, a := range old.Hairpin {
		if !slices.Contains(r.Hairpin, a) {
			t.hairpin.drop(a, key)
		}
	}
	for _, a := range r.Hairpin {
		t.hairpin.claim(a, key, "")
	}
	for e := range r.UDP {
		if _, ok := old.UDP[e]; !ok && e.Host {
			udp = true // what came before the pod went to the node itself, and would go on
		}
	}
	for e, ends := range old.UDP {
		now, ok := r.UDP[e]
		if !ok {
			t.gone[e] = nil
		}
		for _, end := range ends {
			udp = udp || !slices.Contains(now, end)
		}
	}
	if len(r.Entries) == 0 {
		delete(t.rules, key)
	} else {
		t.rules[key] = r
	}
	return udp
}

// flush returns what changed since the last flush, and begins anew.
func (t *table) flush() changes {
	c := t.pending
	t.pending = newChanges()
	// (a service is put at most once between two flushes, so no chain is both new and old)
	t.entries.settle(func(e entry, was, is *string) {
		if was != nil {
			c.OldEntries[e] = *was
		}
		if is != nil {
			c.NewEntries[e] = *is
		}
	})
	t.hairpin.settle(func(a netip.Addr, was, is *string) {
		if was != nil {
			c.OldHairpin = append(c.OldHairpin, a)
		}
		if is != nil {
			c.NewHairpin = append(c.NewHairpin, a)
		}
	})
	slices.Sort(c.OldChains)
	slices.Sort(c.OldSets)
	slices.SortFunc(c.OldHairpin, netip.Addr.Compare)
	slices.SortFunc(c.NewHairpin, netip.Addr.Compare)
	return c
}

// all returns the whole table as changes to an empty one.
func (t *table) all() changes {
	c := newChanges()
	for _, r := range t.rules {
		maps.Copy(c.NewSets, r.Affinity)
		maps.Copy(c.Chains, r.Chains)
	}
	t.entries.each(func(e entry, chain string) { c.NewEntries[e] = chain })
	t.hairpin.each(func(a netip.Addr, _ string) { c.NewHairpin = append(c.NewHairpin, a) })
	slices.SortFunc(c.NewHairpin, netip.Addr.Compare)
	return c
}

// udp returns where each UDP entry may go: nowhere, for those gone since the last call.
func (t *table) udp() staleUDP {
	out := staleUDP(t.gone)
	t.gone = map[entry][]netip.AddrPort{}
	for _, r := range t.rules {
		maps.Copy(out, r.UDP)
	}
	return out
}

// claims holds who wants which element with which value, and what was last settled.
type claims[K comparable] struct {
	by      map[K][]claim
	touched map[K]*string // value before, nil when there was none
}

type claim struct {
	owner types.NamespacedName
	value string
}

func newClaims[K comparable]() claims[K] {
	return claims[K]{by: map[K][]claim{}, touched: map[K]*string{}}
}

func (c claims[K]) claim(k K, owner types.NamespacedName, value string) {
	list := c.by[k]
	i := slices.IndexFunc(list, func(x claim) bool { return x.owner == owner })
	if i >= 0 && list[i].value == value {
		return
	}
	c.touch(k)
	if i >= 0 {
		list[i].value = value
		return
	}
	list = append(list, claim{owner, value})
	slices.SortFunc(list, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.owner.Namespace, b.owner.Namespace), cmp.Compare(a.owner.Name, b.owner.Name))
	})
	c.by[k] = list
}

func (c claims[K]) drop(k K, owner types.NamespacedName) {
	c.touch(k)
	list := slices.DeleteFunc(c.by[k], func(x claim) bool { return x.owner == owner })
	if len(list) == 0 {
		delete(c.by, k)
	} else {
		c.by[k] = list
	}
}

func (c claims[K]) touch(k K) {
	if _, ok := c.touched[k]; !ok {
		c.touched[k] = c.value(k)
	}
}

func (c claims[K]) value(k K) *string {
	if list := c.by[k]; len(list) > 0 {
		v := list[0].value
		return &v
	}
	return nil
}

// settle calls f for each element whose value changed; nil is absent.
func (c claims[K]) settle(f func(k K, was, is *string)) {
	for k, was := range c.touched {
		is := c.value(k)
		if (was == nil) != (is == nil) || was != nil && *was != *is {
			f(k, was, is)
		}
	}
	clear(c.touched)
}

func (c claims[K]) each(f func(K, string)) {
	for k, list := range c.by {
		f(k, list[0].value)
	}
}
