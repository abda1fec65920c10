package managed

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/lighter-k8s/lighter/api"
)

// delta is what differs at and below one path: what the new value has anew or otherwise, and what it has no more.
// The booleans are for the path itself.
type delta struct {
	took, gone       *set
	tookIt, goneIt   bool
	oldHere, newHere bool // used by those who ask whether a struct is empty
}

// diff compares two objects of i; old nil is an object without content.
func diff(i *api.Info, old, obj api.Object) (took, gone *set) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return diffCustom(i, old, u)
	}
	if old == nil {
		old = i.New()
	}
	return diffOf(reflect.TypeOf(obj), old, obj)
}

func diffOf(t reflect.Type, old, obj api.Object) (took, gone *set) {
	if old == nil {
		old = reflect.New(t.Elem()).Interface().(api.Object)
	}
	d := diffStruct(shapeOf(t.Elem()), reflect.ValueOf(old).UnsafePointer(), reflect.ValueOf(obj).UnsafePointer())
	return d.took, d.gone
}

// compare tells how what is at r differs from what is at l; nil: nothing is there.
func (s *slot) compare(l, r unsafe.Pointer) (d delta) {
	if l != nil && r != nil && s.same(l, r) {
		return delta{oldHere: true, newHere: true}
	}
	switch s.shape.kind {
	case structure:
		d = diffStruct(s.shape, s.deref(l), s.deref(r))
	case listing:
		if lv, rv := s.items(l), s.items(r); len(lv) > 0 || len(rv) > 0 {
			d = diffList(s.shape, lv, rv)
			d.oldHere, d.newHere = true, true
		}
	case mapping:
		if lv, rv := s.value(l), s.value(r); hasItems(lv) || hasItems(rv) {
			d = diffMap(s.shape, lv, rv)
			d.oldHere, d.newHere = true, true
		}
	}
	if !d.oldHere && !d.newHere { // a leaf, or both empty: null and empty are told apart
		return delta{tookIt: r != nil, goneIt: r == nil}
	}
	d.tookIt, d.goneIt = l == nil, r == nil
	return d
}

// deref follows the slot's pointers from its address to a value's; nil: there is none.
func (s *slot) deref(p unsafe.Pointer) unsafe.Pointer {
	for t := s.typ; p != nil && t.Kind() == reflect.Pointer; t = t.Elem() {
		p = *(*unsafe.Pointer)(p)
	}
	return p
}

// value is what is at p, behind pointers; an invalid Value when there is nothing.
func (s *slot) value(p unsafe.Pointer) reflect.Value {
	if p == nil {
		return reflect.Value{}
	}
	v := reflect.NewAt(s.typ, p).Elem()
	for v.IsValid() && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v
}

// items are the addresses of what a list at p holds.
func (s *slot) items(p unsafe.Pointer) []unsafe.Pointer {
	if p = s.deref(p); p == nil {
		return nil
	}
	list := *(*[]struct{})(p) // only its header counts
	first, size := unsafe.Pointer(unsafe.SliceData(list)), s.shape.elem.typ.Size()
	out := make([]unsafe.Pointer, len(list))
	for n := range out {
		out[n] = unsafe.Add(first, uintptr(n)*size)
	}
	return out
}

func hasItems(v reflect.Value) bool { return v.IsValid() && v.Len() > 0 }

// room makes room for what maps of so many entries differ by, where that must be more than a few.
func (d *delta) room(old, new int) {
	for _, side := range [2]struct {
		of         **set
		has, other int
	}{{&d.took, new, old}, {&d.gone, old, new}} {
		if sure := side.has - side.other; sure > few {
			*side.of = &set{make([]elem, 0, min(side.has, sure+sure/8))}
		}
	}
}

// add notes what differs below a path element.
func (d *delta) add(key string, c delta) {
	if c.tookIt || !c.took.empty() {
		if d.took == nil {
			d.took = &set{make([]elem, 0, 4)}
		}
		d.took.elems = append(d.took.elems, elem{key: key, member: c.tookIt, sub: c.took})
	}
	if c.goneIt || !c.gone.empty() {
		if d.gone == nil {
			d.gone = &set{make([]elem, 0, 4)}
		}
		d.gone.elems = append(d.gone.elems, elem{key: key, member: c.goneIt, sub: c.gone})
	}
}

func diffStruct(s *shape, l, r unsafe.Pointer) (d delta) {
	for n := range s.fields {
		f := &s.fields[n]
		lf, rf := f.in(l), f.in(r)
		d.oldHere, d.newHere = d.oldHere || lf != nil, d.newHere || rf != nil
		if lf != nil || rf != nil {
			d.add(f.key, f.compare(lf, rf))
		}
	}
	return d
}

func diffMap(s *shape, l, r reflect.Value) (d delta) {
	if s.elem.shape.kind == leaf && (!l.IsValid() || l.Type() == texts) && (!r.IsValid() || r.Type() == texts) {
		return diffTexts(l, r)
	}
	lv, rv := s.entries(l, r), s.entries(r, l)
	d.room(len(lv), len(rv))
	for len(lv) > 0 || len(rv) > 0 {
		var key string
		var le, re unsafe.Pointer
		if len(rv) == 0 || len(lv) > 0 && lv[0].key <= rv[0].key {
			key, le = lv[0].key, lv[0].value
		} else {
			key = rv[0].key
		}
		if len(rv) > 0 && rv[0].key == key {
			re, rv = rv[0].value, rv[1:]
		}
		if le != nil {
			lv = lv[1:]
		}
		if c := s.elem.compare(le, re); c.tookIt || c.goneIt || !c.took.empty() || !c.gone.empty() {
			d.add("f:"+key, c)
		}
	}
	return d
}

// entry is one of a map's, its value a copy: what maps hold has no address.
type entry struct {
	key   string
	value unsafe.Pointer
}

// entries are what a map holds, by their keys. Of a leaf that the other map has not, it counts only that it is here.
func (s *shape) entries(m, other reflect.Value) []entry {
	if !hasItems(m) {
		return nil
	}
	out := make([]entry, m.Len())
	key := reflect.New(m.Type().Key()).Elem()
	it := m.MapRange()
	for n := range out {
		it.Next()
		key.SetIterKey(it)
		out[n] = entry{key.String(), unsafe.Pointer(&here)}
		if s.elem.shape.kind != leaf || hasItems(other) && other.MapIndex(key).IsValid() {
			v := reflect.New(s.elem.typ)
			v.Elem().SetIterValue(it)
			out[n].value = v.UnsafePointer()
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return out
}

var here byte

var texts = reflect.TypeFor[map[string]string]()

// diffTexts is diffMap for labels, annotations and the like, which every object has.
func diffTexts(l, r reflect.Value) (d delta) {
	var lm, rm map[string]string
	if l.IsValid() {
		lm = l.Interface().(map[string]string)
	}
	if r.IsValid() {
		rm = r.Interface().(map[string]string)
	}
	var small [2][few]string
	took, gone := slices.Grow(small[0][:0], max(0, len(rm)-len(lm))), slices.Grow(small[1][:0], max(0, len(lm)-len(rm)))
	for key, value := range rm {
		if old, here := lm[key]; !here || value != old {
			took = append(took, key)
		}
	}
	for key := range lm {
		if _, here := rm[key]; !here {
			gone = append(gone, key)
		}
	}
	return delta{took: leaves(took), gone: leaves(gone)}
}

// leaves is the set of a map's keys.
func leaves(keys []string) *set {
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	out := &set{make([]elem, len(keys))}
	for n, key := range keys {
		out.elems[n] = elem{key: "f:" + key, member: true}
	}
	return out
}

// item is what lists have at one path element.
type item struct {
	key  string
	l, r unsafe.Pointer       // the first of each list; nil: it has none
	more *[2][]unsafe.Pointer // duplicates
}

func (i *item) put(side int, v unsafe.Pointer) {
	at := &i.l
	if side == 1 {
		at = &i.r
	}
	switch {
	case *at == nil:
		*at = v
		return
	case i.more == nil:
		i.more = new([2][]unsafe.Pointer)
	}
	i.more[side] = append(i.more[side], v)
}

// index finds items by their keys: a few by a look at each, more by a map.
type index map[string]int

const few = 16

// find tells where the item of a key is among so many, whose keys it asks for, or that it comes next.
func (i *index) find(key string, items int, keyOf func(int) string) (n int, there bool) {
	if items <= few {
		for n := range items {
			if keyOf(n) == key {
				return n, true
			}
		}
		return items, false
	}
	if *i == nil {
		*i = make(index, 4*few)
	}
	for n := len(*i); n < items; n++ { // what came since
		(*i)[keyOf(n)] = n
	}
	if n, there = (*i)[key]; !there {
		n = items
	}
	return n, there
}

// diffList compares lists whose items have names: by key fields, or by their value.
func diffList(s *shape, l, r []unsafe.Pointer) (d delta) {
	items := make([]item, 0, max(len(l), len(r)))
	var seen index
	for side, list := range [2][]unsafe.Pointer{l, r} {
		for _, v := range list {
			key, ok := s.name(v)
			if !ok {
				continue
			}
			n, there := seen.find(key, len(items), func(n int) string { return items[n].key })
			if !there {
				items = append(items, item{key: key})
			}
			items[n].put(side, v)
		}
	}
	slices.SortFunc(items, func(a, b item) int { return compareKeys(a.key, b.key) })
	d.room(len(l), len(r))
	for _, i := range items {
		var c delta
		switch {
		case i.more == nil:
			c = s.elem.compare(i.l, i.r)
		case len(i.more[0]) > 0 && len(i.more[1]) > 0: // duplicates are owned as a whole
			c.tookIt = !s.elem.same(i.l, i.r) || !slices.EqualFunc(i.more[0], i.more[1], s.elem.same)
		case len(i.more[0]) > 0:
			if i.r != nil {
				c = s.elem.compare(nil, i.r)
			}
			c.goneIt = true
		default:
			if i.l != nil {
				c = s.elem.compare(i.l, nil)
			}
			c.tookIt = true
		}
		d.add(i.key, c)
	}
	return d
}

// name is the path element of the list's item at p; false: it has none, and nobody owns it.
func (s *shape) name(p unsafe.Pointer) (string, bool) {
	if len(s.keys) == 0 {
		b, ok := s.elem.append([]byte("v:"), p)
		return string(b), ok
	}
	if p = s.elem.deref(p); p == nil {
		return "", false
	}
	b := append(make([]byte, 0, 64), "k:{"...)
	for _, key := range s.keys {
		for n := range s.elem.shape.fields {
			f := &s.elem.shape.fields[n]
			if f.key[2:] != key {
				continue
			}
			at := f.in(p)
			if f.deref(at) == nil && f.byDefault == nil {
				continue
			}
			if len(b) > len("k:{") {
				b = append(b, ',')
			}
			b = append(appendQuoted(b, key), ':')
			var ok bool
			if f.deref(at) == nil {
				b, ok = appendText(b, *f.byDefault)
			} else {
				b, ok = f.append(b, at)
			}
			if !ok {
				return "", false
			}
		}
	}
	if len(b) == len("k:{") {
		return "", false
	}
	return string(append(b, '}')), true
}

// append appends the scalar at p as JSON, as path elements have it; false: it is none.
func (s *slot) append(b []byte, p unsafe.Pointer) ([]byte, bool) {
	if p = s.deref(p); p == nil {
		return b, false
	}
	t := s.typ
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return appendText(b, *(*string)(p))
	case reflect.Bool:
		return strconv.AppendBool(b, *(*bool)(p)), true
	case reflect.Int32:
		return strconv.AppendInt(b, int64(*(*int32)(p)), 10), true
	case reflect.Int64:
		return strconv.AppendInt(b, *(*int64)(p), 10), true
	case reflect.Struct:
		if t == reflect.TypeFor[intstr.IntOrString]() {
			if i := (*intstr.IntOrString)(p); i.Type == intstr.Int {
				return strconv.AppendInt(b, int64(i.IntVal), 10), true
			} else {
				return appendText(b, i.StrVal)
			}
		}
	}
	return b, false // no list is told apart by others
}

// appendText leaves strings with unusual characters to the library that defines the form.
func appendText(b []byte, s string) ([]byte, bool) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' {
			v := value.NewValueInterface(s)
			text, err := fieldpath.SerializePathElement(fieldpath.PathElement{Value: &v})
			if err != nil {
				return b, false
			}
			return append(b, text[2:]...), true
		}
	}
	return appendQuoted(b, s), true
}
