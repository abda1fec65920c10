package managed

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"unsafe"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// tree compares objects without a Go type, as maps, lists and scalars of JSON. It says what the library's Compare says (a test
// compares the two), in time and memory by the size of what differs: the library's sets take time by its square.
type tree struct {
	schema *schema.Schema
	once   bool // lists may not have an item twice
	bad    bool // an object is not as the schema has it
}

// absent is what is not there; nil is null, which is.
type absent struct{}

// differ is the difference of two objects of a type; false: one of them is not of that type.
func differ(t typed.ParseableType, before, after map[string]any) (took, gone *set, ok bool) {
	w := tree{schema: t.Schema}
	if w.fits(t.TypeRef, before); w.bad {
		return nil, nil, false
	}
	if w.fits(t.TypeRef, after); w.bad {
		return nil, nil, false
	}
	d := w.compare(t.TypeRef, before, after)
	return d.took, d.gone, !w.bad
}

// atom is what a type is for a value: what it allows of which the value is, or all that it allows.
func (w *tree) atom(a schema.Atom, v any) schema.Atom {
	switch v.(type) {
	case map[string]any:
		if a.Map != nil {
			return schema.Atom{Map: a.Map}
		}
	case []any:
		if a.List != nil {
			return schema.Atom{List: a.List}
		}
	case nil, absent:
	default:
		if a.Scalar != nil {
			return schema.Atom{Scalar: a.Scalar}
		}
	}
	return a
}

func (w *tree) resolve(t schema.TypeRef) schema.Atom {
	a, ok := w.schema.Resolve(t)
	w.bad = w.bad || !ok
	return a
}

// fieldType is the type of what a map has under a key.
func fieldType(m *schema.Map, key string) schema.TypeRef {
	if f, ok := m.FindField(key); ok {
		return f.Type
	}
	return m.ElementType
}

// fits looks whether a value is of a type.
func (w *tree) fits(t schema.TypeRef, v any) {
	a := w.resolve(t)
	if w.bad {
		return
	}
	switch a = w.atom(a, v); {
	case a.Map != nil:
		m, ok := v.(map[string]any)
		w.bad = w.bad || !ok && v != nil
		for key, v := range m {
			of := fieldType(a.Map, key)
			if of == (schema.TypeRef{}) {
				w.bad = true
			}
			if w.bad {
				return
			}
			w.fits(of, v)
		}
	case a.Scalar != nil:
		w.bad = w.bad || !isScalar(*a.Scalar, v)
	case a.List != nil:
		l, ok := v.([]any)
		w.bad = w.bad || !ok && v != nil
		var names map[string]bool
		if w.once && len(l) > 1 {
			names = map[string]bool{}
		}
		for _, v := range l {
			if a.List.ElementRelationship == schema.Associative {
				if !w.once || len(l) < 2 {
					w.named(a.List, v)
				} else {
					name := w.name(a.List, v)
					w.bad = w.bad || names[name]
					names[name] = true
				}
			}
			if w.bad {
				return
			}
			w.fits(a.List.ElementType, v)
		}
	default:
		w.bad = true
	}
}

// isScalar tells whether a value, or none, is of a scalar type.
func isScalar(s schema.Scalar, v any) bool {
	switch v := v.(type) {
	case nil, absent:
		return true
	case string:
		return s == schema.String || s == schema.Untyped
	case bool:
		return s == schema.Boolean || s == schema.Untyped
	default:
		n := value.NewValueInterface(v)
		return (n.IsInt() || n.IsFloat()) && (s == schema.Numeric || s == schema.Untyped)
	}
}

// compare tells how r differs from l.
func (w *tree) compare(t schema.TypeRef, l, r any) (d delta) {
	if shared(l, r) {
		return d
	}
	a := w.resolve(t)
	if w.bad {
		return d
	}
	_, noL := l.(absent)
	_, noR := r.(absent)
	al, ar := w.atom(a, l), w.atom(a, r)
	whole := false
	switch {
	case noR:
		d, whole = w.as(al, l, r)
	case noL || (al.Map == nil) == (ar.Map == nil) && (al.List == nil) == (ar.List == nil) && (al.Scalar == nil) == (ar.Scalar == nil):
		d, whole = w.as(ar, l, r)
	default: // they are of two kinds, or one is null
		var other delta
		other, _ = w.as(al, l, r)
		d, whole = w.as(ar, l, r)
		d = delta{took: d.took.union(other.took), gone: d.gone.union(other.gone), tookIt: d.tookIt || other.tookIt, goneIt: d.goneIt || other.goneIt}
	}
	if !whole {
		d.tookIt, d.goneIt = d.tookIt || noL, d.goneIt || noR && !noL
	}
	return d
}

// shared tells whether two values are one map or list in memory, which objects share of which one was made of the other.
func shared(l, r any) bool {
	switch l := l.(type) {
	case map[string]any:
		r, ok := r.(map[string]any)
		return ok && l != nil && reflect.ValueOf(l).UnsafePointer() == reflect.ValueOf(r).UnsafePointer()
	case []any:
		r, ok := r.([]any)
		return ok && len(l) > 0 && len(l) == len(r) && unsafe.SliceData(l) == unsafe.SliceData(r)
	}
	return false
}

// as compares both as an atom; whole: they have no parts of their own.
func (w *tree) as(a schema.Atom, l, r any) (d delta, whole bool) {
	switch {
	case a.Map != nil:
		lm, _ := l.(map[string]any)
		rm, _ := r.(map[string]any)
		if a.Map.ElementRelationship == schema.Atomic || len(lm) == 0 && len(rm) == 0 {
			return leafs(l, r), true
		}
		return w.maps(a.Map, lm, rm), false
	case a.Scalar != nil:
		if !isScalar(*a.Scalar, l) && !isScalar(*a.Scalar, r) {
			w.bad = true
			return d, false
		}
		return leafs(l, r), true
	case a.List != nil:
		ll, _ := l.([]any)
		rl, _ := r.([]any)
		if a.List.ElementRelationship == schema.Atomic || len(ll) == 0 && len(rl) == 0 {
			return leafs(l, r), true
		}
		return w.lists(a.List, ll, rl), false
	}
	w.bad = true
	return d, false
}

// leafs compares what is owned as a whole.
func leafs(l, r any) delta {
	switch {
	case l == absent{}:
		return delta{tookIt: true}
	case r == absent{}:
		return delta{goneIt: true}
	}
	return delta{tookIt: !sameJSON(l, r)}
}

func sameJSON(l, r any) bool {
	switch l := l.(type) {
	case string:
		r, ok := r.(string)
		return ok && l == r
	case bool:
		r, ok := r.(bool)
		return ok && l == r
	}
	return value.Equals(value.NewValueInterface(l), value.NewValueInterface(r))
}

func (w *tree) maps(m *schema.Map, l, r map[string]any) (d delta) {
	keys := make([]string, 0, max(len(l), len(r)))
	keys = slices.AppendSeq(keys, maps.Keys(r))
	for key := range l {
		if _, ok := r[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(l) == 0 {
		d.took = &set{make([]elem, 0, len(r))}
	}
	for _, key := range keys {
		c := w.compare(fieldType(m, key), at(l, key), at(r, key))
		if c.tookIt || c.goneIt || !c.took.empty() || !c.gone.empty() {
			d.add("f:"+key, c)
		}
	}
	return d
}

func at(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	return absent{}
}

// lists compares lists whose items have names. Several at one are duplicates, which are owned as a whole.
func (w *tree) lists(t *schema.List, l, r []any) (d delta) {
	type item struct {
		key  string
		l, r []any
	}
	items := make([]item, 0, max(len(l), len(r)))
	index := make(map[string]int, max(len(l), len(r)))
	find := func(v any) *item {
		key := w.name(t, v)
		n, ok := index[key]
		if !ok {
			n = len(items)
			items, index[key] = append(items, item{key: key}), n
		}
		return &items[n]
	}
	for n := range l {
		i := find(l[n])
		i.l = append(i.l, l[n])
	}
	for n := range r {
		i := find(r[n])
		i.r = append(i.r, r[n])
	}
	if w.bad {
		return d
	}
	slices.SortFunc(items, func(a, b item) int { return compareKeys(a.key, b.key) })
	first := func(vs []any) any {
		if len(vs) == 0 {
			return absent{}
		}
		return vs[0]
	}
	for _, i := range items {
		var c delta
		switch {
		case len(i.l) <= 1 && len(i.r) <= 1:
			c = w.compare(t.ElementType, first(i.l), first(i.r))
		case len(i.l) >= 2 && len(i.r) >= 2:
			c.tookIt = !slices.EqualFunc(i.l, i.r, sameJSON)
		case len(i.l) >= 2:
			if len(i.r) == 1 {
				c = w.compare(t.ElementType, absent{}, i.r[0])
			}
			c.goneIt = true
		default:
			if len(i.l) == 1 {
				c = w.compare(t.ElementType, i.l[0], absent{})
			}
			c.tookIt = true
		}
		d.add(i.key, c)
	}
	return d
}

// keysOf are a map's keys.
func keysOf(m map[string]any) []string {
	keys := slices.AppendSeq(make([]string, 0, len(m)), maps.Keys(m))
	slices.Sort(keys)
	return keys
}

// listed is the set of a list's items, each by of, which is told how often its name is there.
func (w *tree) listed(l []any, t *schema.List, of func(v any, times int) elem) *set {
	names, times := make([]string, len(l)), make(map[string]int, len(l))
	for n, v := range l {
		names[n] = w.name(t, v)
		times[names[n]]++
	}
	if w.bad {
		return nil
	}
	out := &set{make([]elem, 0, len(times))}
	for n, v := range l {
		if count := times[names[n]]; count > 0 {
			e := of(v, count)
			e.key, times[names[n]] = names[n], 0
			out.elems = append(out.elems, e)
		}
	}
	slices.SortFunc(out.elems, func(a, b elem) int { return compareKeys(a.key, b.key) })
	return out
}

// named looks whether a list's item has a name.
func (w *tree) named(t *schema.List, v any) {
	var room [128]byte
	if _, ok := plainName(room[:0], t, v); !ok {
		w.name(t, v)
	}
}

// plainName appends the path element of an item of which all keys are there, in order, and are texts or integers; false: it is another one.
func plainName(b []byte, t *schema.List, v any) ([]byte, bool) {
	m, ok := v.(map[string]any)
	if !ok || len(t.Keys) == 0 || !slices.IsSorted(t.Keys) {
		return b, false
	}
	b = append(b, "k:{"...)
	for n, key := range t.Keys {
		if n > 0 {
			b = append(b, ',')
		}
		if b, ok = appendText(b, key); !ok {
			return b, false
		}
		b = append(b, ':')
		switch v := m[key].(type) {
		case string:
			if b, ok = appendText(b, v); !ok {
				return b, false
			}
		case int64:
			b = strconv.AppendInt(b, v, 10)
		default:
			return b, false
		}
	}
	return append(b, '}'), true
}

// name is the path element of a list's item.
func (w *tree) name(t *schema.List, v any) string {
	var room [128]byte
	if b, ok := plainName(room[:0], t, v); ok {
		return string(b)
	}
	if len(t.Keys) == 0 {
		switch v := v.(type) {
		case nil, map[string]any, []any:
			w.bad = true
			return ""
		case string:
			b, ok := appendText([]byte("v:"), v)
			w.bad = w.bad || !ok
			return string(b)
		}
		of := value.NewValueInterface(v)
		return w.spelled(fieldpath.PathElement{Value: &of})
	}
	m, ok := v.(map[string]any)
	if !ok {
		w.bad = true
		return ""
	}
	fields := make(value.FieldList, 0, len(t.Keys))
	for _, key := range t.Keys {
		v, ok := m[key]
		if !ok {
			a := w.resolve(t.ElementType)
			if a.Map == nil {
				w.bad = true
				return ""
			}
			if f, _ := a.Map.FindField(key); f.Default != nil {
				v, ok = f.Default, true
			}
		}
		if ok {
			fields = append(fields, value.Field{Name: key, Value: value.NewValueInterface(v)})
		}
	}
	if len(fields) == 0 {
		w.bad = true
		return ""
	}
	fields.Sort()
	return w.spelled(fieldpath.PathElement{Key: &fields})
}

func (w *tree) spelled(e fieldpath.PathElement) string {
	text, err := fieldpath.SerializePathElement(e)
	w.bad = w.bad || err != nil
	return text
}
