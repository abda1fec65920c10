package managed

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

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
	elem   *shape   // of a mapping or listing
	keys   []string // of a listing of structs, sorted; none: a set of values
}

type field struct {
	key       string // "f:name"
	index     []int
	shape     *shape
	omitEmpty bool
	omitZero  bool
	byDefault *string // what it is in a list's key when it is left out
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
		s.fields = fieldsOf(t, nil)
		slices.SortFunc(s.fields, func(a, b field) int { return strings.Compare(a.key, b.key) })
		return s
	case reflect.Map:
		return &shape{kind: mapping, elem: build(t.Elem(), markers.Marker{}, "")}
	case reflect.Slice:
		keys := m.Keys
		if mergeKey != "" && len(keys) == 0 && !m.Set {
			keys = []string{mergeKey}
		}
		if t.Elem().Kind() == reflect.Uint8 || len(keys) == 0 && !m.Set {
			return &shape{}
		}
		elem := build(t.Elem(), markers.Marker{}, "")
		if elem.kind == leaf && t.Elem().Kind() == reflect.Struct { // found by its keys, owned as a whole
			elem = &shape{fields: fieldsOf(t.Elem(), nil)}
		}
		return &shape{kind: listing, elem: elem, keys: slices.Sorted(slices.Values(keys))}
	}
	return &shape{}
}

// fieldsOf lists a struct's fields, those of structs that are inlined among them.
func fieldsOf(t reflect.Type, index []int) (out []field) {
	for n := range t.NumField() {
		f := t.Field(n)
		tag := f.Tag.Get("json")
		if tag == "-" || f.PkgPath != "" && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		at := append(slices.Clip(slices.Clone(index)), n)
		if f.Anonymous && name == "" {
			if e := f.Type; e.Kind() == reflect.Struct {
				out = append(out, fieldsOf(e, at)...)
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		var mergeKey string
		if strategy := f.Tag.Get("patchStrategy"); strategy == "merge" || strings.HasPrefix(strategy, "merge,") {
			mergeKey = f.Tag.Get("patchMergeKey")
		}
		m := markers.Field(t.PkgPath(), t.Name(), f.Name)
		out = append(out, field{key: "f:" + name, index: at, shape: build(f.Type, m, mergeKey), byDefault: m.Default, omitEmpty: hasOption(options, "omitempty"), omitZero: hasOption(options, "omitzero")})
	}
	return out
}

func hasOption(options, want string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// in gives the field of a struct; false: it would not be written.
func (f *field) in(v reflect.Value) (reflect.Value, bool) {
	for _, n := range f.index {
		v = v.Field(n)
	}
	if f.omitEmpty && isEmpty(v) || f.omitZero && isZero(v) {
		return reflect.Value{}, false
	}
	return v, true
}

// isEmpty is what omitempty leaves out. Source: encoding/json.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// isZero is what omitzero leaves out. Source: encoding/json.
func isZero(v reflect.Value) bool {
	if v.CanAddr() {
		if z, ok := v.Addr().Interface().(interface{ IsZero() bool }); ok {
			return z.IsZero()
		}
	}
	return v.IsZero()
}
