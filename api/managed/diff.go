package managed

import (
	"reflect"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	if old == nil {
		old = i.New()
	}
	return diffOf(reflect.TypeOf(obj), old, obj)
}

func diffOf(t reflect.Type, old, obj api.Object) (took, gone *set) {
	if old == nil {
		old = reflect.New(t.Elem()).Interface().(api.Object)
	}
	d := diffStruct(shapeOf(t.Elem()), reflect.ValueOf(old).Elem(), reflect.ValueOf(obj).Elem())
	return d.took, d.gone
}

// compare tells how r differs from l; an invalid Value is not there.
func compare(s *shape, l, r reflect.Value) (d delta) {
	switch s.kind {
	case structure, mapping, listing:
		lv, rv := deref(l), deref(r) // invalid when nil
		if s.kind == structure {
			d = diffStruct(s, lv, rv)
		} else if hasItems(lv) || hasItems(rv) {
			d = diffItems(s, lv, rv)
			d.oldHere, d.newHere = true, true
		}
		if !d.oldHere && !d.newHere {
			return whole(l, r) // both empty: null and empty are told apart
		}
		d.tookIt, d.goneIt = !l.IsValid(), !r.IsValid()
		return d
	}
	return whole(l, r)
}

// whole compares what is owned as a whole.
func whole(l, r reflect.Value) delta {
	switch {
	case !l.IsValid():
		return delta{tookIt: true}
	case !r.IsValid():
		return delta{goneIt: true}
	}
	return delta{tookIt: !equal(l, r)}
}

// deref follows pointers; nil gives an invalid Value.
func deref(v reflect.Value) reflect.Value {
	for v.IsValid() && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v
}

func hasItems(v reflect.Value) bool { return v.IsValid() && v.Len() > 0 }

// add notes what differs below a path element.
func (d *delta) add(key string, c delta) {
	if c.tookIt || !c.took.empty() {
		if d.took == nil {
			d.took = &set{}
		}
		d.took.elems = append(d.took.elems, elem{key, c.tookIt, c.took})
	}
	if c.goneIt || !c.gone.empty() {
		if d.gone == nil {
			d.gone = &set{}
		}
		d.gone.elems = append(d.gone.elems, elem{key, c.goneIt, c.gone})
	}
}

func diffStruct(s *shape, l, r reflect.Value) (d delta) {
	for n := range s.fields {
		f := &s.fields[n]
		var lf, rf reflect.Value
		var lp, rp bool
		if l.IsValid() {
			lf, lp = f.in(l)
		}
		if r.IsValid() {
			rf, rp = f.in(r)
		}
		d.oldHere, d.newHere = d.oldHere || lp, d.newHere || rp
		if lp || rp {
			d.add(f.key, compare(f.shape, lf, rf))
		}
	}
	return d
}

func diffItems(s *shape, l, r reflect.Value) (d delta) {
	if s.kind == listing {
		return diffList(s, l, r)
	}
	if s.elem.kind == leaf && (!l.IsValid() || l.Type() == texts) && (!r.IsValid() || r.Type() == texts) {
		return diffTexts(l, r)
	}
	var keys []string
	for _, m := range [2]reflect.Value{l, r} {
		if m.IsValid() {
			for it := m.MapRange(); it.Next(); {
				keys = append(keys, it.Key().String())
			}
		}
	}
	slices.Sort(keys)
	at := func(m reflect.Value, key string) reflect.Value {
		if !m.IsValid() {
			return m
		}
		return m.MapIndex(reflect.ValueOf(key).Convert(m.Type().Key()))
	}
	for _, key := range slices.Compact(keys) {
		d.add("f:"+key, compare(s.elem, at(l, key), at(r, key)))
	}
	return d
}

var texts = reflect.TypeFor[map[string]string]()

// diffTexts is diffItems for labels, annotations and the like, which every object has.
func diffTexts(l, r reflect.Value) (d delta) {
	var lm, rm map[string]string
	if l.IsValid() {
		lm = l.Interface().(map[string]string)
	}
	if r.IsValid() {
		rm = r.Interface().(map[string]string)
	}
	keys := make([]string, 0, 8)
	for key, old := range lm {
		if value, here := rm[key]; !here || value != old {
			keys = append(keys, key)
		}
	}
	for key := range rm {
		if _, here := lm[key]; !here {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		_, here := rm[key]
		d.add("f:"+key, delta{tookIt: here, goneIt: !here})
	}
	return d
}

// item is what lists have at one path element: several are duplicates.
type item struct {
	key  string
	l, r []reflect.Value
}

// diffList compares lists whose items have names: by key fields, or by their value.
func diffList(s *shape, l, r reflect.Value) (d delta) {
	var items []item
	gather := func(list reflect.Value, put func(*item, reflect.Value)) {
		if !list.IsValid() {
			return
		}
	next:
		for n := range list.Len() {
			v := list.Index(n)
			key, ok := s.name(v)
			if !ok {
				continue
			}
			for m := range items {
				if items[m].key == key {
					put(&items[m], v)
					continue next
				}
			}
			items = append(items, item{key: key})
			put(&items[len(items)-1], v)
		}
	}
	gather(l, func(i *item, v reflect.Value) { i.l = append(i.l, v) })
	gather(r, func(i *item, v reflect.Value) { i.r = append(i.r, v) })
	slices.SortFunc(items, func(a, b item) int { return compareKeys(a.key, b.key) })
	one := func(vs []reflect.Value) reflect.Value {
		if len(vs) == 0 {
			return reflect.Value{}
		}
		return vs[0]
	}
	for _, i := range items {
		var c delta
		switch {
		case len(i.l) <= 1 && len(i.r) <= 1:
			c = compare(s.elem, one(i.l), one(i.r))
		case len(i.l) >= 2 && len(i.r) >= 2: // duplicates are owned as a whole
			c.tookIt = !slices.EqualFunc(i.l, i.r, equal)
		case len(i.l) >= 2:
			if len(i.r) == 1 {
				c = compare(s.elem, reflect.Value{}, i.r[0])
			}
			c.goneIt = true
		default:
			if len(i.l) == 1 {
				c = compare(s.elem, i.l[0], reflect.Value{})
			}
			c.tookIt = true
		}
		d.add(i.key, c)
	}
	return d
}

// name is the path element of a list's item; false: it has none, and nobody owns it.
func (s *shape) name(v reflect.Value) (string, bool) {
	v = deref(v)
	if !v.IsValid() {
		return "", false
	}
	if len(s.keys) == 0 {
		b, ok := appendScalar([]byte("v:"), v)
		return string(b), ok
	}
	b := []byte("k:{")
	for _, key := range s.keys {
		for n := range s.elem.fields {
			f := &s.elem.fields[n]
			if f.key[2:] != key {
				continue
			}
			fv, here := f.in(v)
			if fv = deref(fv); !here || !fv.IsValid() {
				if f.byDefault == nil {
					continue
				}
				fv = reflect.ValueOf(*f.byDefault)
			}
			if len(b) > len("k:{") {
				b = append(b, ',')
			}
			b = append(appendQuoted(b, key), ':')
			var ok bool
			if b, ok = appendScalar(b, fv); !ok {
				return "", false
			}
		}
	}
	if len(b) == len("k:{") {
		return "", false
	}
	return string(append(b, '}')), true
}

// appendScalar appends a value as JSON, as path elements have it.
func appendScalar(b []byte, v reflect.Value) ([]byte, bool) {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		for i := range len(s) {
			if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' {
				return appendOdd(b, value.NewValueInterface(s))
			}
		}
		return appendQuoted(b, s), true
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), true
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10), true
	case reflect.Struct:
		if i, ok := v.Interface().(intstr.IntOrString); ok {
			if i.Type == intstr.Int {
				return strconv.AppendInt(b, int64(i.IntVal), 10), true
			}
			return appendOdd(b, value.NewValueInterface(i.StrVal))
		}
	}
	return b, false
}

// appendOdd leaves strings with unusual characters to the library that defines the form.
func appendOdd(b []byte, v value.Value) ([]byte, bool) {
	text, err := fieldpath.SerializePathElement(fieldpath.PathElement{Value: &v})
	if err != nil {
		return b, false
	}
	return append(b, text[2:]...), true
}

// equal tells whether two values are the same as JSON.
func equal(l, r reflect.Value) bool {
	switch l.Kind() {
	case reflect.Pointer, reflect.Interface:
		if l.IsNil() || r.IsNil() {
			return l.IsNil() == r.IsNil()
		}
		return equal(l.Elem(), r.Elem())
	case reflect.Bool:
		return l.Bool() == r.Bool()
	case reflect.String:
		return l.String() == r.String()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return l.Int() == r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return l.Uint() == r.Uint()
	case reflect.Float32, reflect.Float64:
		return l.Float() == r.Float()
	case reflect.Slice:
		if l.IsNil() != r.IsNil() || l.Len() != r.Len() {
			return false
		}
		for n := range l.Len() {
			if !equal(l.Index(n), r.Index(n)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if l.IsNil() != r.IsNil() || l.Len() != r.Len() {
			return false
		}
		for it := l.MapRange(); it.Next(); {
			other := r.MapIndex(it.Key())
			if !other.IsValid() || !equal(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		return equalStruct(l, r)
	}
	return reflect.DeepEqual(l.Interface(), r.Interface())
}

func equalStruct(l, r reflect.Value) bool {
	switch a := l.Interface().(type) {
	case metav1.Time:
		b := r.Interface().(metav1.Time)
		return a.IsZero() && b.IsZero() || a.Unix() == b.Unix() && a.IsZero() == b.IsZero()
	case metav1.MicroTime:
		b := r.Interface().(metav1.MicroTime)
		return a.IsZero() && b.IsZero() || a.UnixMicro() == b.UnixMicro() && a.IsZero() == b.IsZero()
	case resource.Quantity:
		b := r.Interface().(resource.Quantity)
		return a.String() == b.String()
	case intstr.IntOrString:
		return a == r.Interface().(intstr.IntOrString)
	}
	s := shapeOfAny(l.Type())
	if s == nil {
		return reflect.DeepEqual(l.Interface(), r.Interface())
	}
	for n := range s.fields {
		a, inL := s.fields[n].in(l)
		b, inR := s.fields[n].in(r)
		if inL != inR || inL && !equal(a, b) {
			return false
		}
	}
	return true
}

// shapeOfAny gives the fields of a struct, also of one that is owned as a whole; nil: it is written in its own way.
func shapeOfAny(t reflect.Type) *shape {
	if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return nil
	}
	if s := shapeOf(t); s.kind == structure {
		return s
	}
	shapes.Lock()
	defer shapes.Unlock()
	s := atomics[t]
	if s == nil {
		s = &shape{kind: structure, fields: fieldsOf(t, nil)}
		if atomics == nil {
			atomics = map[reflect.Type]*shape{}
		}
		atomics[t] = s
	}
	return s
}

// atomics are the fields of structs that are owned as a whole. Guarded by shapes.
var atomics map[reflect.Type]*shape
