package builtin

import (
	"reflect"
	"runtime/debug"
	"testing"

	"github.com/lighter-k8s/lighter/api"
)

// No object may stop a server: everything a record does is done with objects whose every
// pointer, list and map is there but holds nothing, and with ones where they are missing; the
// ones they replace may lack defaults that came later.
func TestRecordsTakeOddObjects(t *testing.T) {
	for _, i := range All() {
		t.Run(i.GroupVersionResource.String(), func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%v\n%s", r, debug.Stack())
				}
			}()
			for depth := range 9 {
				obj, old := i.New(), i.New()
				hollow(reflect.ValueOf(obj).Elem(), depth)
				hollow(reflect.ValueOf(old).Elem(), max(0, depth-1))
				use(i, obj.DeepCopyObject().(api.Object), nil, false)
				use(i, obj.DeepCopyObject().(api.Object), nil, true)
				use(i, obj.DeepCopyObject().(api.Object), old, true)
				use(i, old, obj.DeepCopyObject().(api.Object), true)
			}
		})
	}
}

// use does with obj, over old, all that a record can do: with a request, or with something
// stored, which is only read.
func use(i *api.Info, obj, old api.Object, request bool) {
	i.Default(obj) // as it was when it was stored, too
	if request {
		i.Prepare(obj, old)
		i.Validate(obj, old)
	}
	if request && i.Warnings != nil {
		i.Warnings(obj, old)
	}
	if i.GenerationOf != nil {
		i.GenerationOf(obj)
	}
	if i.HasStatus && old != nil {
		i.CopyStatus(obj, old)
		i.ValidateStatus(obj, old)
	}
	if i.HasScale {
		i.GetScale(obj)
		i.SetScale(obj, 3)
	}
	for _, f := range i.Fields {
		f(obj)
	}
	for _, c := range i.Table() {
		c.Show(obj)
	}
	if i.Grace != nil {
		i.Grace(obj, nil)
	}
	if i.ToStored != nil {
		if stored, err := i.ToStored(obj); err == nil {
			_, _ = i.Load(stored)
		}
	}
}

// hollow gives every pointer something to point to, every list and map one member, down to the depth.
func hollow(v reflect.Value, depth int) {
	if !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			hollow(v.Elem(), depth-1)
		}
	case reflect.Slice:
		if depth > 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			hollow(v.Index(0), depth-1)
		}
	case reflect.Map:
		if depth > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			value := reflect.New(v.Type().Elem()).Elem()
			hollow(value, depth-1)
			v.SetMapIndex(reflect.Zero(v.Type().Key()), value)
		}
	case reflect.Struct:
		for n := range v.NumField() {
			hollow(v.Field(n), depth)
		}
	}
}
