// Package equal tells whether two values of the API's types mean the same, exactly as apimachinery's
// equality.Semantic.DeepEqual does (a test compares the two), without its allocations: a Comparison is made once for
// each type and walks the memory of both values. It is called on every update, for what raises a generation and for what must not change.
package equal

import (
	"bytes"
	"maps"
	"reflect"
	"sync"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Comparison compares two values of one type, by their addresses.
type Comparison func(a, b unsafe.Pointer) bool

// Rules are what makes two values the same. They keep the comparisons that were made by them.
type Rules struct {
	Special map[reflect.Type]Comparison
	// NilDiffers tells nil slices and maps from empty ones.
	NilDiffers bool
	// Others compares what is neither special nor made of plain values: maps and interfaces.
	Others func(a, b any) bool

	made sync.Map // reflect.Type -> Comparison
}

var semantic = Rules{Others: equality.Semantic.DeepEqual, Special: map[reflect.Type]Comparison{
	reflect.TypeFor[resource.Quantity](): func(a, b unsafe.Pointer) bool {
		return (*resource.Quantity)(a).Cmp(*(*resource.Quantity)(b)) == 0
	},
	reflect.TypeFor[metav1.Time]():      func(a, b unsafe.Pointer) bool { return (*metav1.Time)(a).Equal((*metav1.Time)(b)) },
	reflect.TypeFor[metav1.MicroTime](): func(a, b unsafe.Pointer) bool { return (*metav1.MicroTime)(a).Equal((*metav1.MicroTime)(b)) },
	reflect.TypeFor[corev1.ResourceList](): func(a, b unsafe.Pointer) bool {
		return maps.EqualFunc(*(*corev1.ResourceList)(a), *(*corev1.ResourceList)(b), func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
	},
}}

// Semantic tells whether a and b have the same type and mean the same: nil is an empty slice or map, quantities are
// compared by their amount and times by their instant.
func Semantic(a, b any) bool {
	t := reflect.TypeOf(a)
	if t != reflect.TypeOf(b) {
		return false
	}
	if t == nil {
		return true
	}
	if t.Kind() == reflect.Pointer {
		p, q := reflect.ValueOf(a).UnsafePointer(), reflect.ValueOf(b).UnsafePointer()
		if p == nil || q == nil || p == q {
			return p == q
		}
		return semantic.Of(t.Elem())(p, q)
	}
	// Interfaces hold no address that may be taken: a copy of each has one.
	p, q := reflect.New(t), reflect.New(t)
	p.Elem().Set(reflect.ValueOf(a))
	q.Elem().Set(reflect.ValueOf(b))
	return semantic.Of(t)(p.UnsafePointer(), q.UnsafePointer())
}

// Of gives the comparison of a type's values.
func (r *Rules) Of(t reflect.Type) Comparison {
	if c, ok := r.made.Load(t); ok {
		return c.(Comparison)
	}
	c := r.build(t)
	r.made.Store(t, c)
	return c
}

func (r *Rules) build(t reflect.Type) Comparison {
	if c := r.Special[t]; c != nil {
		return c
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return func(a, b unsafe.Pointer) bool { return *(*uint8)(a) == *(*uint8)(b) }
	case reflect.Int16, reflect.Uint16:
		return func(a, b unsafe.Pointer) bool { return *(*uint16)(a) == *(*uint16)(b) }
	case reflect.Int32, reflect.Uint32:
		return func(a, b unsafe.Pointer) bool { return *(*uint32)(a) == *(*uint32)(b) }
	case reflect.Int64, reflect.Uint64, reflect.Int, reflect.Uint:
		if t.Size() == 8 {
			return func(a, b unsafe.Pointer) bool { return *(*uint64)(a) == *(*uint64)(b) }
		}
	case reflect.String:
		return func(a, b unsafe.Pointer) bool { return *(*string)(a) == *(*string)(b) }
	case reflect.Pointer:
		c := r.lazy(t.Elem())
		return func(a, b unsafe.Pointer) bool {
			p, q := *(*unsafe.Pointer)(a), *(*unsafe.Pointer)(b)
			return p == q || p != nil && q != nil && c(p, q)
		}
	case reflect.Map:
		if t == reflect.TypeFor[map[string]string]() {
			return func(a, b unsafe.Pointer) bool {
				x, y := *(*map[string]string)(a), *(*map[string]string)(b)
				return (!r.NilDiffers || (x == nil) == (y == nil)) && maps.Equal(x, y)
			}
		}
		if t == reflect.TypeFor[map[string]apiextensionsv1.JSONSchemaProps]() {
			return byKey[apiextensionsv1.JSONSchemaProps](r)
		}
	case reflect.Slice:
		return r.slice(t)
	case reflect.Struct:
		return r.structure(t)
	}
	return func(a, b unsafe.Pointer) bool {
		return r.Others(reflect.NewAt(t, a).Elem().Interface(), reflect.NewAt(t, b).Elem().Interface())
	}
}

// lazy is Of, looked up at the first use: types may contain themselves.
func (r *Rules) lazy(t reflect.Type) Comparison {
	get := sync.OnceValue(func() Comparison { return r.Of(t) })
	return func(a, b unsafe.Pointer) bool { return get()(a, b) }
}

func (r *Rules) slice(t reflect.Type) Comparison {
	if t.Elem().Kind() == reflect.Uint8 {
		return func(a, b unsafe.Pointer) bool {
			x, y := *(*[]byte)(a), *(*[]byte)(b)
			return (!r.NilDiffers || (x == nil) == (y == nil)) && bytes.Equal(x, y)
		}
	}
	c, size := r.lazy(t.Elem()), t.Elem().Size()
	return func(a, b unsafe.Pointer) bool {
		x, y := *(*[]struct{})(a), *(*[]struct{})(b) // only their headers count
		if len(x) != len(y) || r.NilDiffers && (x == nil) != (y == nil) {
			return false
		}
		p, q := unsafe.Pointer(unsafe.SliceData(x)), unsafe.Pointer(unsafe.SliceData(y))
		if p == q {
			return true
		}
		for n := range len(x) {
			if at := uintptr(n) * size; !c(unsafe.Add(p, at), unsafe.Add(q, at)) {
				return false
			}
		}
		return true
	}
}

// byKey compares maps of large structs, which a definition has thousands of, in copies that are used again: what maps hold has
// no address.
func byKey[V any](r *Rules) Comparison {
	c := r.lazy(reflect.TypeFor[V]())
	pairs := sync.Pool{New: func() any { return new([2]V) }}
	return func(a, b unsafe.Pointer) bool {
		x, y := *(*map[string]V)(a), *(*map[string]V)(b)
		if len(x) != len(y) || r.NilDiffers && (x == nil) != (y == nil) {
			return false
		}
		pair := pairs.Get().(*[2]V)
		defer func() {
			clear(pair[:])
			pairs.Put(pair)
		}()
		for key := range x {
			var there bool
			if pair[1], there = y[key]; !there {
				return false
			}
			if pair[0] = x[key]; !c(unsafe.Pointer(&pair[0]), unsafe.Pointer(&pair[1])) {
				return false
			}
		}
		return true
	}
}

func (r *Rules) structure(t reflect.Type) Comparison {
	type part struct {
		offset uintptr
		same   Comparison
	}
	var parts []part
	for n := range t.NumField() {
		f := t.Field(n)
		if f.PkgPath != "" { // not exported: DeepEqual panics at these, so there are none that count
			continue
		}
		parts = append(parts, part{f.Offset, r.Of(f.Type)})
	}
	return func(a, b unsafe.Pointer) bool {
		for n := range parts {
			if p := &parts[n]; !p.same(unsafe.Add(a, p.offset), unsafe.Add(b, p.offset)) {
				return false
			}
		}
		return true
	}
}
