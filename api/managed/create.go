package managed

import (
	"reflect"
	"slices"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// A new object has one manager, who has all of its fields. They are written down as the object is walked through: what
// Update makes of sets for an object that was there before comes out the same, at a part of the cost.

// unownedNew are the fields of a new object that have a status that nobody has.
var unownedNew = unowned.union(&set{[]elem{{key: "f:status", member: true}}})

// created gives the fields of a new object of i as FieldsV1, without those that no manager has; nil: there are none.
func created(i *api.Info, obj api.Object, subresource string) *metav1.FieldsV1 {
	but := unowned
	if i.HasStatus && subresource == "" {
		but = unownedNew
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	shape := shapeOf(reflect.TypeOf(obj).Elem())
	b, _ := shape.appendFields(append((*buf)[:0], '{'), reflect.ValueOf(i.New()).UnsafePointer(), reflect.ValueOf(obj).UnsafePointer(), but)
	*buf = b
	if len(b) == 1 {
		return nil
	}
	b[len(b)-1] = '}'
	return metav1.NewFieldsV1(unsafe.String(unsafe.SliceData(b), len(b))) // which copies it, in either of its builds
}

// appendFields appends what the struct at r has and an empty one at l (nil: there is none) has not, each field with a comma
// behind it. here tells that one of them has any field.
func (s *shape) appendFields(b []byte, l, r unsafe.Pointer, but *set) (_ []byte, here bool) {
	for n := range s.fields {
		f := &s.fields[n]
		lf, rf := f.in(l), f.in(r)
		here = here || lf != nil || rf != nil
		if rf == nil {
			continue
		}
		var less *elem
		if !but.empty() {
			if at := slices.IndexFunc(but.elems, func(e elem) bool { return e.key == f.key }); at >= 0 {
				less = &but.elems[at]
			}
		}
		switch {
		case less == nil:
			b = f.appendNew(b, f.key, lf, rf, lf == nil, nil)
		case less.sub != nil:
			b = f.appendNew(b, f.key, lf, rf, false, less.sub)
		}
	}
	return b, here
}

// appendNew appends what is at r and not at l, under a key and with a comma behind it. member: the key itself is new.
func (s *slot) appendNew(b []byte, key string, l, r unsafe.Pointer, member bool, but *set) []byte {
	if l != nil && s.same(l, r) {
		return b
	}
	start := len(b)
	b = append(appendQuoted(b, key), ':', '{')
	empty := len(b)
	if member {
		b = append(b, `".":{},`...)
	}
	head, here := len(b), false
	switch s.shape.kind {
	case structure:
		b, here = s.shape.appendFields(b, s.deref(l), s.deref(r), but)
	case listing:
		items := s.items(r)
		b, here = s.shape.appendItems(b, items), len(items) > 0
	case mapping:
		if v := s.value(r); hasItems(v) {
			b, here = s.shape.appendEntries(b, v), true
		}
	}
	switch {
	case len(b) > head:
		b[len(b)-1] = '}'
		return append(b, ',')
	case here && !member, but != nil:
		return b[:start]
	}
	return append(b[:empty], '}', ',') // a leaf, or it has nothing that anybody could have
}

// appendEntries appends the keys of a map.
func (s *shape) appendEntries(b []byte, m reflect.Value) []byte {
	var few [8]string
	keys := few[:0]
	if n := m.Len(); n > len(few) {
		keys = make([]string, 0, n)
	}
	if m.Type() == texts {
		for key := range m.Interface().(map[string]string) {
			keys = append(keys, key)
		}
	} else {
		for it := m.MapRange(); it.Next(); {
			keys = append(keys, it.Key().String())
		}
	}
	slices.Sort(keys)
	room := 0 // for the keys, where those are all
	for _, key := range keys {
		room += len(`"f:":{},`) + len(key)
	}
	b = slices.Grow(b, room)
	for _, key := range keys {
		var at unsafe.Pointer
		if s.elem.shape.kind != leaf { // of a copy: what maps hold has no address
			c := reflect.New(s.elem.typ)
			c.Elem().Set(m.MapIndex(reflect.ValueOf(key).Convert(m.Type().Key())))
			at = c.UnsafePointer()
		}
		b = s.elem.appendNew(b, "f:"+key, nil, at, true, nil)
	}
	return b
}

// appendItems appends a list's items; what is there several times is owned as a whole.
func (s *shape) appendItems(b []byte, list []unsafe.Pointer) []byte {
	type named struct {
		key   string
		at    unsafe.Pointer
		twice bool
	}
	var room [8]named
	items := room[:0]
	var seen index
	for _, at := range list {
		key, ok := s.name(at)
		if !ok {
			continue
		}
		if n, there := seen.find(key, len(items), func(n int) string { return items[n].key }); there {
			items[n].twice = true
			continue
		}
		items = append(items, named{key, at, false})
	}
	slices.SortFunc(items, func(p, q named) int { return compareKeys(p.key, q.key) })
	need := 0 // for the items' keys, where those are all
	for _, i := range items {
		need += len(`"":{},`) + len(i.key)
	}
	b = slices.Grow(b, need)
	for _, i := range items {
		if i.twice {
			b = append(append(appendQuoted(b, i.key), ":{}"...), ',')
		} else {
			b = s.elem.appendNew(b, i.key, nil, i.at, true, nil)
		}
	}
	return b
}
