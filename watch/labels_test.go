package watch

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
)

// fed is a state that is given its events by hand.
type fed struct {
	t     testing.TB
	state *State
	last  store.Revision
}

func feedByHand(t testing.TB) *fed {
	return &fed{t: t, state: New(memory.New(), slog.New(slog.DiscardHandler), time.Now, []*api.Info{core.Pod})}
}

func event(t testing.TB, p *corev1.Pod, gone bool) store.Event {
	e := store.Event{Entry: store.Entry{Key: Key(core.Pod, p.Namespace, p.Name)}, Last: true}
	if !gone {
		var err error
		if e.Value, err = api.EncodeStored(core.Pod, p); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func (f *fed) put(e store.Event) {
	f.last++
	e.Revision = f.last
	f.state.apply([]store.Event{e})
}

func labelled(namespace, name string, set labels.Set) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: set}}
}

// check compares the sets with the table that they are of.
func (l *labelSets) check(t testing.TB, items []*Item) {
	t.Helper()
	for _, i := range items {
		if l.known[i.labels.text] != i.labels || i.labels.items[i.place] != i {
			t.Fatalf("%s is not in its set", i.key)
		}
	}
	in, pairs := 0, map[[2]string]int{}
	for _, s := range l.known {
		if in += len(s.items); len(s.items) == 0 {
			t.Fatalf("%q has no items", s.text)
		}
		for rest := s.text; rest != ""; {
			var key, value string
			key, value, rest = cutLabel(rest)
			pairs[[2]string{key, value}]++
			if h := l.with[key][value]; h == nil || !slices.Contains(h.sets, s) {
				t.Fatalf("%q is not found by %s=%s", s.text, key, value)
			}
		}
	}
	if in != len(items) {
		t.Fatalf("the sets have %d items, the table %d", in, len(items))
	}
	for key, values := range l.with {
		if len(values) == 0 {
			t.Fatalf("nothing is left of %s", key)
		}
		for value, h := range values {
			if n := pairs[[2]string{key, value}]; n == 0 || n != len(h.sets)-h.gone {
				t.Fatalf("%s=%s: %d sets, of which %d are gone; %d have it", key, value, len(h.sets), h.gone, n)
			}
		}
	}
}

// TestSelectors: after random writes, lists by random selectors are what a look at each object gives.
func TestSelectors(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("LIGHTER_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 4))
	f := feedByHand(t)
	world := map[string]*corev1.Pod{}
	keys, values := []string{"app", "tier", "n", strings.Repeat("long.", 40) + "x/n"}, []string{"", "1", "2", "30", "web"}
	some := func(list []string) string { return list[random.IntN(len(list))] }
	found := 0
	selector := func() string {
		var all []string
		for range 1 + random.IntN(3) {
			key := some(keys)
			switch random.IntN(8) {
			case 0:
				all = append(all, key)
			case 1:
				all = append(all, "!"+key)
			case 2:
				all = append(all, key+"!="+some(values))
			case 3:
				all = append(all, fmt.Sprintf("%s notin (%s,%s)", key, some(values), some(values)))
			case 4:
				all = append(all, fmt.Sprintf("%s in (%s,%s,%s)", key, some(values), some(values), some(values)))
			case 5:
				all = append(all, key+">1")
			case 6:
				all = append(all, key+"<30")
			default:
				all = append(all, key+"="+some(values))
			}
		}
		return strings.Join(all, ",")
	}
	for step := range 4000 {
		p := labelled(some([]string{"a", "b", "c"}), fmt.Sprint("p", random.IntN(200)), labels.Set{})
		for _, key := range keys {
			if random.IntN(3) > 0 {
				p.Labels[key] = some(values)
			}
		}
		if random.IntN(10) == 0 {
			p.Labels["own"] = fmt.Sprint(step)
		}
		key := p.Namespace + "/" + p.Name
		gone := random.IntN(4) == 0
		f.put(event(t, p, gone))
		if world[key] = p; gone {
			delete(world, key)
		}
		if step%10 > 0 {
			continue
		}
		text := selector()
		by, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		filter := Filter{Labels: by}
		if random.IntN(3) == 0 {
			filter.Namespace = "a"
		}
		if random.IntN(5) == 0 {
			filter.Fields = fields.OneTermNotEqualSelector("metadata.name", "p1")
		}
		var want, got []string
		for _, key := range slices.Sorted(maps.Keys(world)) {
			if p := world[key]; by.Matches(labels.Set(p.Labels)) && (filter.Namespace == "" || p.Namespace == "a") && (filter.Fields == nil || p.Name != "p1") {
				want = append(want, key)
			}
		}
		items, _ := f.state.List(core.Pod, filter)
		for _, i := range items {
			got = append(got, i.key)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("step %d, %s, %+v:\n got %v\nwant %v", step, text, filter, got, want)
		}
		table := f.state.tables["pods"]
		if _, ok := table.found(&filter, time.Now()); ok {
			found++
		}
		all, _ := f.state.List(core.Pod, Filter{})
		table.labels.check(t, all)
	}
	if found < 50 || found > 350 {
		t.Errorf("%d of 400 lists came from the sets, the others from walks: both ways should be gone often", found)
	}
	for _, p := range world {
		f.put(event(t, p, true))
	}
	if l := &f.state.tables["pods"].labels; len(l.known) != 0 || len(l.with) != 0 {
		t.Errorf("nothing is there, and %d sets and %d labels are", len(l.known), len(l.with))
	}
}

// TestOddLabels: what no validation would let pass is told apart nonetheless, and found by what the object says.
func TestOddLabels(t *testing.T) {
	f := feedByHand(t)
	long := strings.Repeat("x", 20000)
	for n, set := range []labels.Set{{}, {"": ""}, {"a": "\x00b"}, {"a\x00": "b"}, {"a": "", "b": ""}, {"ab": ""}, {long: long + "1"}, {long: long + "2"}} {
		f.put(event(t, labelled("n", fmt.Sprint("p", n), set), false))
	}
	table := f.state.tables["pods"]
	if n := len(table.labels.known); n != 8 {
		t.Errorf("%d sets, want 8", n)
	}
	if s := table.labels.of([]api.Label{{Key: long, Value: long + "2"}}); len(s.items) != 1 || s.Get(long) != long+"2" || !s.Has(long) || s.Has("a") {
		t.Errorf("found %d items", len(s.items))
	}
	// Of an entry that is there twice the last one counts, as for protobuf's decoders.
	var none *labelSets
	if s := none.of([]api.Label{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}}); s.text != "\x01a\x012\x01b\x013" {
		t.Errorf("%q", s.text)
	}
}

// BenchmarkApply is what memory takes in an update of one of 10,000 pods for.
func BenchmarkApply(b *testing.B) {
	for name, set := range map[string]func(n int) labels.Set{
		"100 sets":   func(n int) labels.Set { return labels.Set{"app": fmt.Sprint("app-", n%100), "tier": "web"} },
		"a set each": func(n int) labels.Set { return labels.Set{"app": "web", "name": fmt.Sprint("web-", n), "tier": "web"} },
		"a new set each time": func(n int) labels.Set {
			return labels.Set{"app": "web", "name": fmt.Sprint("web-", n/10000, "-", n), "tier": "web"}
		},
	} {
		b.Run(name, func(b *testing.B) {
			f := feedByHand(b)
			events := make([]store.Event, 20000)
			for n := range events {
				events[n] = event(b, labelled("n", fmt.Sprint("p", n%10000), set(n)), false)
				if name != "a new set each time" {
					events[n] = event(b, labelled("n", fmt.Sprint("p", n%10000), set(n%10000)), false)
				}
			}
			for _, e := range events {
				f.put(e)
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				f.put(events[n%len(events)])
			}
		})
	}
}
