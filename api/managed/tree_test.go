package managed

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// several is a type with all that types can have.
var several = func() typed.ParseableType {
	p, err := typed.NewParser(`types:
- name: root
  map:
    fields:
    - {name: apiVersion, type: {scalar: string}}
    - {name: kind, type: {scalar: string}}
    - {name: metadata, type: {namedType: __untyped_deduced_}}
    - {name: text, type: {scalar: string}}
    - {name: number, type: {scalar: numeric}}
    - {name: flag, type: {scalar: boolean}}
    - {name: any, type: {namedType: __untyped_deduced_}}
    - {name: whole, type: {namedType: __untyped_atomic_}}
    - {name: self, type: {namedType: root}}
    - {name: fixed, type: {namedType: root, elementRelationship: atomic}}
    - {name: names, type: {map: {elementType: {scalar: string}}}}
    - {name: roots, type: {map: {elementType: {namedType: root}}}}
    - {name: set, type: {list: {elementType: {scalar: untyped}, elementRelationship: associative}}}
    - {name: list, type: {list: {elementType: {namedType: root}, elementRelationship: atomic}}}
    - {name: items, type: {list: {elementType: {namedType: item}, elementRelationship: associative, keys: [text, number]}}}
- name: item
  map:
    fields:
    - {name: text, type: {scalar: string}, default: "d"}
    - {name: number, type: {scalar: numeric}}
    - {name: self, type: {namedType: root}}
- name: __untyped_atomic_
  scalar: untyped
  list: {elementType: {namedType: __untyped_atomic_}, elementRelationship: atomic}
  map: {elementType: {namedType: __untyped_atomic_}, elementRelationship: atomic}
- name: __untyped_deduced_
  scalar: untyped
  list: {elementType: {namedType: __untyped_atomic_}, elementRelationship: atomic}
  map: {elementType: {namedType: __untyped_deduced_}, elementRelationship: separable}
`)
	if err != nil {
		panic(err)
	}
	return p.Type("root")
}()

// asLibrary is differ, by the library.
func asLibrary(t typed.ParseableType, before, after map[string]any) (took, gone *fieldpath.Set, err error) {
	o, err := t.FromUnstructured(before, typed.AllowDuplicates)
	if err != nil {
		return nil, nil, err
	}
	n, err := t.FromUnstructured(after, typed.AllowDuplicates)
	if err != nil {
		return nil, nil, err
	}
	c, err := o.Compare(n)
	if err != nil {
		return nil, nil, err
	}
	return c.Added.Union(c.Modified), c.Removed, nil
}

func sameAsLibrary(t *testing.T, of typed.ParseableType, before, after map[string]any) (valid bool) {
	t.Helper()
	show := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	took, gone, err := asLibrary(of, before, after)
	gotTook, gotGone, ok := differ(of, before, after)
	if ok != (err == nil) {
		t.Fatalf("%s\n%s\nok is %v, the library says %v", show(before), show(after), ok, err)
	}
	if !ok {
		return false
	}
	for n, want := range []*fieldpath.Set{took, gone} {
		text, err := want.ToJSON()
		if err != nil {
			t.Fatal(err)
		}
		if got := string([]*set{gotTook, gotGone}[n].encode().GetRawBytes()); got != string(text) {
			t.Fatalf("%s\n%s\n%s: got  %s\nwant %s", show(before), show(after), []string{"took", "gone"}[n], got, text)
		}
	}
	return true
}

// grown is a value at random; of makes what a type has, if it is not empty. One in odd is something else; 0: none.
func grown(r *rand.Rand, odd, depth int, of string) any {
	texts := []string{"", "a", "b", "ä<&>\"\\\n", "\u2028", "1"}
	if odd > 0 && (depth <= 0 || r.IntN(odd) == 0) { // a surprise
		return []any{nil, "a", int64(1), 1.5, 1.0, true, map[string]any{}, []any{}}[r.IntN(8)]
	}
	fields := func(all ...string) map[string]any {
		m := map[string]any{}
		if depth <= 0 {
			return m
		}
		for _, name := range all {
			if r.IntN(3) == 0 {
				m[name] = grown(r, odd, depth-1, name)
			}
		}
		return m
	}
	many := func(make func() any) []any {
		l := []any{}
		for range r.IntN(4) * min(1, max(0, depth)) {
			l = append(l, make())
		}
		return l
	}
	keyed := func(make func() any) map[string]any {
		m := map[string]any{}
		for range r.IntN(4) * min(1, max(0, depth)) {
			m[texts[r.IntN(len(texts))]] = make()
		}
		return m
	}
	anything := func() any { return grown(r, odd, depth-1, "") }
	switch of {
	case "root", "self", "fixed":
		return fields("text", "number", "flag", "any", "whole", "self", "fixed", "names", "roots", "set", "list", "items")
	case "item":
		m := fields("text", "number", "self")
		if m["text"] == nil {
			m["text"] = texts[r.IntN(len(texts))]
		}
		return m
	case "text":
		return texts[r.IntN(len(texts))]
	case "number":
		return []any{int64(1), int64(2), 1.5, 1.0, int64(-3)}[r.IntN(5)]
	case "flag":
		return r.IntN(2) == 0
	case "names":
		return keyed(func() any { return grown(r, odd, depth-1, "text") })
	case "roots":
		return keyed(func() any { return grown(r, odd, depth-1, "root") })
	case "set":
		return many(func() any { return []any{"a", "b", "ä<", int64(1), int64(20), int64(-3), 1.5, true, false}[r.IntN(9)] })
	case "list":
		return many(func() any { return grown(r, odd, depth-1, "root") })
	case "items":
		return many(func() any { return grown(r, odd, depth-1, "item") })
	}
	switch r.IntN(4) {
	case 0:
		return keyed(anything)
	case 1:
		return many(anything)
	}
	return []any{nil, "a", "b", int64(1), 2.5, true}[r.IntN(6)]
}

// changed is v with some of it made anew.
func changed(r *rand.Rand, odd int, v any, depth int, of string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			name := k
			if of == "roots" {
				name = "root"
			}
			switch r.IntN(8) {
			case 0:
			case 1:
				out[k] = grown(r, odd, depth-1, name)
			default:
				out[k] = changed(r, odd, e, depth-1, name)
			}
		}
		return out
	case []any:
		var out []any
		for _, e := range v {
			switch r.IntN(8) {
			case 0:
			case 1:
				if out = append(out, e); odd > 0 {
					out = append(out, e)
				}
			default:
				out = append(out, changed(r, odd, e, depth-1, map[string]string{"items": "item", "list": "root"}[of]))
			}
		}
		r.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
		return out
	}
	if r.IntN(8) == 0 {
		return grown(r, odd, depth, of)
	}
	return v
}

// TestTreeAsLibrary: objects at random differ as the library says, with a type and without.
func TestTreeAsLibrary(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	valid, invalid := 0, 0
	for range 6000 {
		before, ok := grown(r, 25, 5, "root").(map[string]any)
		if !ok {
			continue
		}
		after := changed(r, 25, before, 5, "root").(map[string]any)
		if sameAsLibrary(t, several, before, after) {
			valid++
		} else {
			invalid++
		}
		if r.IntN(4) == 0 {
			sameAsLibrary(t, typed.DeducedParseableType, before, after)
			sameAsLibrary(t, several, map[string]any{}, after)
		}
	}
	if valid < 300 || invalid < 300 {
		t.Errorf("%d pairs were of the type and %d were not: too few of one kind", valid, invalid)
	}
}

// FuzzTree: the same of any JSON.
func FuzzTree(f *testing.F) {
	f.Add([]byte(`{"text":"a","items":[{"text":"a","number":1}],"set":[1,"a"]}`), []byte(`{"text":"b","items":[{"number":1},{"text":"a","number":1.0}],"set":["a",1.5,null]}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var before, after map[string]any
		if json.Unmarshal(a, &before) != nil || json.Unmarshal(b, &after) != nil || before == nil || after == nil {
			return
		}
		sameAsLibrary(t, several, before, after)
		sameAsLibrary(t, typed.DeducedParseableType, before, after)
	})
}

// TestHandwritten: sets that somebody wrote, in any order and with elements twice, are put into the library's form, without it where they are plain.
func TestHandwritten(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	elements := []string{"f:a", "f:b", "f:", "f:\\u00e9", "f:a b", `k:{\"a\":1}`, `k:{\"a\":-1}`, `k:{\"a\":-12}`, `k:{\"a\":12}`, `k:{\"a\":0}`, `k:{\"a\":true}`, `k:{\"a\":false}`, `k:{\"a\":\"1\"}`, `k:{\"a\":\"\"}`,
		`k:{\"a\":1,\"b\":2}`, `k:{\"a\":1,\"c\":2}`, `k:{\"a\":\"x\",\"b\":\"y\"}`, `k:{\"a\":\"x\"}`, `k:{\"b\":1}`, `k:{\"ab\":1}`, "v:1", "v:-1", "v:2", "v:10", "v:-10", "v:99999999999999", "v:true", "v:false",
		`v:\"a\"`, `v:\"ab\"`, `v:\"é\"`, `v:\"z\"`, `v:\"1\"`, `v:\"中\"`, `v:\"\u4e2d\"`, "."}
	odd := []string{"v:1.5", "v:[1]", "i:3", `v:\"\\\"\"`, `v:\"<\"`, "v:9007199254740993", "v:null", `k:{\"b\":1,\"a\":2}`, "x:a", "v: 1", "v:01"}
	var write func(elements []string, depth int) string
	write = func(elements []string, depth int) string {
		var parts []string
		for range r.IntN(8) {
			below := "{}"
			if depth < 3 && r.IntN(3) == 0 {
				below = write(elements, depth+1)
			}
			parts = append(parts, `"`+elements[r.IntN(len(elements))]+`":`+below)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for n := range 3000 {
		from := elements
		if n%3 == 0 {
			from = append(slices.Clone(elements), odd...)
		}
		raw := write(from, 0)
		if strings.Contains(raw, `".":{"`) { // which nobody writes
			continue
		}
		want, valid := byLibraryForm([]byte(raw))
		if s, err := readPlain([]byte(raw)); err == nil {
			if got := s.encodeAs(metav1.NewFieldsV1(raw)); !valid || string(got.GetRawBytes()) != string(want.GetRawBytes()) {
				t.Fatalf("seed %d: %s\n got %s\nwant %s %v", seed, raw, got.GetRawBytes(), want.GetRawBytes(), valid)
			}
		} else if n%3 != 0 {
			t.Fatalf("seed %d: %s is not plain", seed, raw)
		}
	}
}

// FuzzFields: FieldsV1 is refused or read as the library reads it, and written in its one form.
func FuzzFields(f *testing.F) {
	for _, raw := range []string{`{"f:a":{".":{},"k:{\"name\":\"x\",\"port\":1}":{"f:b":{}},"v:\"y\"":{}},"i:3":{}}`, `{"f:b":{},"f:a":{}}`, `{}`, `{".":{}}`, `{"f:\u00e9\"":{}}`, `{"k:{\"b\":1,\"a\":2}":{}}`, `{"x":{}}`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parse(append([]byte(nil), raw...))
		if err != nil {
			return
		}
		out := s.encode().GetRawBytes()
		if _, err := readPlain(raw); err == nil {
			if theirs, ok := byLibraryForm(raw); !ok || string(theirs.GetRawBytes()) != string(out) {
				t.Errorf("%q is written as %q, by the library as %q, %v", raw, out, theirs.GetRawBytes(), ok)
			}
		}
		again, err := parse(out)
		if err != nil || string(again.encode().GetRawBytes()) != string(out) {
			t.Errorf("%q is written as %q, which is %v: %v", raw, out, again, err)
		}
		if union := s.union(again); string(union.encode().GetRawBytes()) != string(out) {
			t.Errorf("%q and itself are %q", out, union.encode().GetRawBytes())
		}
		if less, _ := s.subtract(again); !less.empty() {
			t.Errorf("%q without itself is %q", out, less.encode().GetRawBytes())
		}
	})
}
