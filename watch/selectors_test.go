package watch

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
)

// TestSelectorsOfManyTerms: they take what the library's take.
func TestSelectorsOfManyTerms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	key := func() string { return pick("a", "b", "c", "d", "e") }
	value := func() string { return pick("1", "2", "3", "04", "x", "") }
	number := func() string { return pick("04", "0", "1", "2") }
	took := 0
	for range 4000 {
		var terms []string
		for range fewTerms + 1 + r.IntN(8) {
			k := key()
			if r.IntN(12) > 0 {
				terms = append(terms, pick(k+"!="+value(), k+" notin ("+value()+","+value()+")"))
			} else {
				terms = append(terms, pick("!"+k, k, k+" in (1,2,3,x,"+value()+")", k+">"+number(), k+"<"+number()))
			}
		}
		plain, err := labels.Parse(strings.Join(terms, ","))
		if err != nil {
			t.Fatal(err)
		}
		many := ManyLabels(plain)
		if _, ok := many.(*manyLabels); !ok {
			t.Fatalf("%T of %d terms", many, len(terms))
		}
		for range 20 {
			set := labels.Set{}
			var list []api.Label
			for _, k := range []string{"a", "b", "c", "d", "e"} {
				if r.IntN(2) == 0 {
					set[k] = value()
					list = append(list, api.Label{Key: k, Value: set[k]})
				}
			}
			got, want := many.Matches((*labelSets)(nil).of(list)), plain.Matches(set)
			if got != want || many.Matches(set) != want {
				t.Fatalf("%v takes %v: got %v, want %v", plain, set, got, want)
			}
			if want {
				took++
			}
		}
	}
	if took < 1000 {
		t.Errorf("only %d of 80000 were taken", took)
	}
	took = 0
	for range 4000 {
		var terms []string
		for range 1 + r.IntN(4) {
			terms = append(terms, key()+pick("=", "!=", "==", "!=")+value())
		}
		plain, err := fields.ParseSelector(strings.Join(terms, ","))
		if err != nil {
			t.Fatal(err)
		}
		set := fields.Set{}
		for _, k := range []string{"a", "b", "c", "d", "e"} {
			set[k] = value()
		}
		got := true
		for _, rule := range fieldTerms(plain).rules {
			got = got && rule.takes(set[rule.name])
		}
		if want := plain.Matches(set); got != want {
			t.Fatalf("%v takes %v: got %v, want %v", plain, set, got, want)
		} else if want {
			took++
		}
	}
	if took < 400 {
		t.Errorf("only %d of 4000 were taken", took)
	}
}

func BenchmarkSelectorOfManyTerms(b *testing.B) {
	var terms []string
	for n := range 4000 {
		terms = append(terms, fmt.Sprintf("k%d!=v", n))
	}
	plain, err := labels.Parse(strings.Join(terms, ","))
	if err != nil {
		b.Fatal(err)
	}
	set := (*labelSets)(nil).of([]api.Label{{Key: "app", Value: "web"}, {Key: "k7", Value: "w"}, {Key: "tier", Value: "front"}})
	for name, s := range map[string]labels.Selector{"library": plain, "ours": ManyLabels(plain)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !s.Matches(set) {
					b.Fatal("not taken")
				}
			}
		})
	}
}
