package api

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func one[T Object](f func(T)) func(Object) {
	if f == nil {
		return func(Object) {}
	}
	return func(o Object) { f(o.(T)) }
}

// two hands a nil old on as T's nil.
func two[T Object](f func(obj, old T)) func(obj, old Object) {
	if f == nil {
		return func(_, _ Object) {}
	}
	return func(obj, old Object) { o, _ := old.(T); f(obj.(T), o) }
}

func check[T Object](f func(obj, old T) field.ErrorList) func(obj, old Object) field.ErrorList {
	if f == nil {
		return func(_, _ Object) field.ErrorList { return nil }
	}
	return func(obj, old Object) field.ErrorList { o, _ := old.(T); return f(obj.(T), o) }
}

// listMaker makes empty lists of a resource; the list types are the scheme's.
func listMaker(gvk schema.GroupVersionKind) func() runtime.Object {
	return func() runtime.Object {
		list, err := Scheme().New(gvk)
		if err != nil {
			panic(fmt.Sprintf("api: no list type: %v", err))
		}
		return list
	}
}
