// Package equal tells whether two values of the API's types mean the same, exactly as apimachinery's
// equality.Semantic.DeepEqual does (a test compares the two), without its allocations: a comparison is made once for
// each type and walks the memory of both values. It is called on every update, for what raises a generation and for what must not change.
package equal

import (
	"bytes"
	"maps"
	"reflect"
	"sync"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
		return of(t.Elem())(p, q)
	}
	// Interfaces hold no address that may be taken: a copy of each has one.
	p, q := reflect.New(t), reflect.New(t)
	p.Elem().Set(reflect.ValueOf(a))
	q.Elem().Set(reflect.ValueOf(b))
	return of(t)(p.UnsafePointer(), q.UnsafePointer())
}

// comparison compares two values of one type, by their addresses.
type comparison func(a, b unsafe.Pointer) bool

var made sync.Map // reflect.Type -> comparison

func of(t reflect.Type) comparison {
	if c, ok := made.Load(t); ok {
		return c.(comparison)
	}
	c := build(t)
	made.Store(t, c)
	return c
}

func build(t reflect.Type) comparison {
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return func(a, b unsafe.Pointer) bool { return (*resource.Quantity)(a).Cmp(*(*resource.Quantity)(b)) == 0 }
	case reflect.TypeFor[metav1.Time]():
		return func(a, b unsafe.Pointer) bool { return (*metav1.Time)(a).Equal((*metav1.Time)(b)) }
	case reflect.TypeFor[metav1.MicroTime]():
		return func(a, b unsafe.Pointer) bool { return (*metav1.MicroTime)(a).Equal((*metav1.MicroTime)(b)) }
	case reflect.TypeFor[map[string]string]():
		return func(a, b unsafe.Pointer) bool { return maps.Equal(*(*map[string]string)(a), *(*map[string]string)(b)) }
	case reflect.TypeFor[corev1.ResourceList]():
		return func(a, b unsafe.Pointer) bool {
			return maps.EqualFunc(*(*corev1.ResourceList)(a), *(*corev1.ResourceList)(b), func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
		}
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
		c := lazy(t.Elem())
		return func(a, b unsafe.Pointer) bool {
			p, q := *(*unsafe.Pointer)(a), *(*unsafe.Pointer)(b)
			return p == q || p != nil && q != nil && c(p, q)
		}
	case reflect.Slice:
		return slice(t)
	case reflect.Struct:
		return structure(t)
	}
	// Maps of other kinds, interfaces, floats: rare.
	return func(a, b unsafe.Pointer) bool {
		return equality.Semantic.DeepEqual(reflect.NewAt(t, a).Interface(), reflect.NewAt(t, b).Interface())
	}
}

// lazy is of, looked up at the first use: types may contain themselves.
func lazy(t reflect.Type) comparison {
	get := sync.OnceValue(func() comparison { return of(t) })
	return func(a, b unsafe.Pointer) bool { return get()(a, b) }
}

func slice(t reflect.Type) comparison {
	if t.Elem().Kind() == reflect.Uint8 {
		return func(a, b unsafe.Pointer) bool { return bytes.Equal(*(*[]byte)(a), *(*[]byte)(b)) }
	}
	c, size := lazy(t.Elem()), t.Elem().Size()
	return func(a, b unsafe.Pointer) bool {
		x, y := *(*[]struct{})(a), *(*[]struct{})(b) // only their headers count
		if len(x) != len(y) {
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

func structure(t reflect.Type) comparison {
	type part struct {
		offset uintptr
		same   comparison
	}
	var parts []part
	for n := range t.NumField() {
		f := t.Field(n)
		if f.PkgPath != "" { // not exported: DeepEqual panics at these, so there are none that count
			continue
		}
		parts = append(parts, part{f.Offset, of(f.Type)})
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
