package managed

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api/equal"
	"github.com/lighter-k8s/lighter/gen/markers"
)

type kind uint8

const (
	leaf      kind = iota // a scalar, or what is owned as a whole
	structure             // by its fields
	mapping               // by its keys
	listing               // a list of structs by their keys, or of values each once
)

// shape is how values of a Go type (pointers to it included) merge. Shapes are made once a type and may be cyclic.
type shape struct {
	kind   kind
	fields []field  // of a structure, by JSON name, and of a listing's items
	elem   slot     // of a mapping or listing
	keys   []string // of a listing of structs, sorted; none: a set of values
}

// slot is a place in memory that holds a value: a field, or what a list or map holds.
type slot struct {
	typ   reflect.Type // pointers included
	shape *shape
	same  equal.Comparison // as JSON
}

type field struct {
	slot
	key       string // "f:name"
	offset    uintptr
	omitted   func(unsafe.Pointer) bool // it would not be written; nil: it always is
	byDefault *string                   // what it is in a list's key when it is left out
}

var shapes struct {
	sync.RWMutex
	of map[reflect.Type]*shape
}

// shapeOf is the shape of a struct type of the API.
func shapeOf(t reflect.Type) *shape {
	shapes.RLock()
	s := shapes.of[t]
	shapes.RUnlock()
	if s != nil {
		return s
	}
	shapes.Lock()
	defer shapes.Unlock()
	if shapes.of == nil {
		shapes.of = map[reflect.Type]*shape{}
	}
	return build(t, markers.Marker{}, "")
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// build makes the shape of a type where a field with the marker and the merge key of its patch tags has it.
// shapes is locked.
func build(t reflect.Type, m markers.Marker, mergeKey string) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case m.Atomic, t.Implements(marshaler), reflect.PointerTo(t).Implements(marshaler):
		return &shape{}
	}
	switch t.Kind() {
	case reflect.Struct:
		if markers.Type(t.PkgPath(), t.Name()).Atomic && !m.Granular {
			return &shape{}
		}
		if s := shapes.of[t]; s != nil {
			return s
		}
		s := &shape{kind: structure}
		shapes.of[t] = s
		s.fields = fieldsOf(t, 0)
		slices.SortFunc(s.fields, func(a, b field) int { return strings.Compare(a.key, b.key) })
		return s
	case reflect.Map:
		return &shape{kind: mapping, elem: slotOf(t.Elem(), markers.Marker{}, "")}
	case reflect.Slice:
		keys := listKeys(m, mergeKey)
		if t.Elem().Kind() == reflect.Uint8 || len(keys) == 0 && !m.Set {
			return &shape{}
		}
		elem := slotOf(t.Elem(), markers.Marker{}, "")
		if elem.shape.kind == leaf && t.Elem().Kind() == reflect.Struct { // found by its keys, owned as a whole
			elem.shape = &shape{fields: fieldsOf(t.Elem(), 0)}
		}
		return &shape{kind: listing, elem: elem, keys: slices.Sorted(slices.Values(keys))}
	}
	return &shape{}
}

// listKeys are the fields by which a list's items are told apart; none: they are not, or by their values.
func listKeys(m markers.Marker, mergeKey string) []string {
	if mergeKey != "" && len(m.Keys) == 0 && !m.Set && !m.Atomic {
		return []string{mergeKey}
	}
	return m.Keys
}

func slotOf(t reflect.Type, m markers.Marker, mergeKey string) slot {
	return slot{typ: t, shape: build(t, m, mergeKey), same: exact.Of(t)}
}

// exact compares values as they are in JSON.
var exact = equal.Rules{NilDiffers: true, Others: reflect.DeepEqual, Special: map[reflect.Type]equal.Comparison{
	reflect.TypeFor[resource.Quantity]():   func(a, b unsafe.Pointer) bool { return sameQuantity((*resource.Quantity)(a), (*resource.Quantity)(b)) },
	reflect.TypeFor[corev1.ResourceList](): sameResources,
	reflect.TypeFor[metav1.Time](): func(a, b unsafe.Pointer) bool {
		x, y := (*metav1.Time)(a), (*metav1.Time)(b)
		return x.IsZero() == y.IsZero() && x.Unix() == y.Unix()
	},
	reflect.TypeFor[metav1.MicroTime](): func(a, b unsafe.Pointer) bool {
		x, y := (*metav1.MicroTime)(a), (*metav1.MicroTime)(b)
		return x.IsZero() == y.IsZero() && x.UnixMicro() == y.UnixMicro()
	},
}}

// sameQuantity: "1Gi" and "1073741824" are as much and not the same.
func sameQuantity(a, b *resource.Quantity) bool {
	return a.Cmp(*b) == 0 && (a.Format == b.Format || a.String() == b.String())
}

func sameResources(a, b unsafe.Pointer) bool {
	x, y := *(*corev1.ResourceList)(a), *(*corev1.ResourceList)(b)
	return (x == nil) == (y == nil) && maps.EqualFunc(x, y, func(p, q resource.Quantity) bool { return sameQuantity(&p, &q) })
}

// fieldsOf lists a struct's fields, those of structs that are inlined among them; base is where it begins.
func fieldsOf(t reflect.Type, base uintptr) (out []field) {
	for n := range t.NumField() {
		f := t.Field(n)
		name, options, inlined := jsonName(f)
		switch {
		case inlined:
			if e := f.Type; e.Kind() == reflect.Struct {
				out = append(out, fieldsOf(e, base+f.Offset)...)
			}
		case name != "":
			m := markers.Field(t.PkgPath(), t.Name(), f.Name)
			out = append(out, field{slot: slotOf(f.Type, m, mergeKey(f)), key: "f:" + name, offset: base + f.Offset, byDefault: m.Default,
				omitted: omission(f.Type, hasOption(options, "omitempty"), hasOption(options, "omitzero"))})
		}
	}
	return out
}

// jsonName is what a field is called in JSON, "" when it is not there, or that its own fields are its struct's.
func jsonName(f reflect.StructField) (name, options string, inlined bool) {
	tag := f.Tag.Get("json")
	if tag == "-" || f.PkgPath != "" && !f.Anonymous {
		return "", "", false
	}
	name, options, _ = strings.Cut(tag, ",")
	switch {
	case f.Anonymous && name == "":
		return "", "", true
	case name == "":
		name = f.Name
	}
	return name, options, false
}

// mergeKey is the field by which a strategic merge patch tells a list's items apart.
func mergeKey(f reflect.StructField) string {
	if strategy := f.Tag.Get("patchStrategy"); strategy == "merge" || strings.HasPrefix(strategy, "merge,") {
		return f.Tag.Get("patchMergeKey")
	}
	return ""
}

func hasOption(options, want string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// in gives a field of the struct at p; nil: there is no such struct, or the field would not be written.
func (f *field) in(p unsafe.Pointer) unsafe.Pointer {
	if p == nil {
		return nil
	}
	if p = unsafe.Add(p, f.offset); f.omitted != nil && f.omitted(p) {
		return nil
	}
	return p
}

// omission is what omitempty and omitzero leave out of a type's values. Source: encoding/json.
func omission(t reflect.Type, ifEmpty, ifZero bool) func(unsafe.Pointer) bool {
	if !ifEmpty && !ifZero {
		return nil
	}
	if ifZero && reflect.PointerTo(t).Implements(zeroer) {
		return func(p unsafe.Pointer) bool {
			return reflect.NewAt(t, p).Interface().(interface{ IsZero() bool }).IsZero()
		}
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return func(p unsafe.Pointer) bool { return *(*uint8)(p) == 0 }
	case reflect.Int32, reflect.Uint32:
		return func(p unsafe.Pointer) bool { return *(*int32)(p) == 0 }
	case reflect.Int64, reflect.Uint64:
		return func(p unsafe.Pointer) bool { return *(*int64)(p) == 0 }
	case reflect.String:
		return func(p unsafe.Pointer) bool { return len(*(*string)(p)) == 0 }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return len(*(*[]struct{})(p)) == 0 }
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Map:
		if t == texts {
			return func(p unsafe.Pointer) bool { return len(*(*map[string]string)(p)) == 0 }
		}
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().Len() == 0 }
	case reflect.Struct:
		if !ifZero {
			return nil
		}
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
}

var zeroer = reflect.TypeFor[interface{ IsZero() bool }]()
