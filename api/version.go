package api

import (
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Renamed is the record of another version of a resource whose type, T, has the fields of the stored version's under the
// same numbers: its protobuf form is that of the other.
func Renamed[T Object](of *Info, version string) *Info {
	gvk := schema.GroupVersionKind{Group: of.Group, Version: version, Kind: of.Kind}
	return Version(of, version, func(obj T) (Object, error) {
		out := of.New()
		return out, recode(any(obj).(message), out.(message), out, of.GVK())
	}, func(stored Object) (T, error) {
		out := reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
		return out, recode(stored.(message), any(out).(message), out, gvk)
	})
}

// recode reads what one message says into another.
func recode(from, to message, obj Object, gvk schema.GroupVersionKind) error {
	buf := make([]byte, from.Size())
	n, err := from.MarshalToSizedBuffer(buf)
	if err == nil {
		err = to.Unmarshal(buf[len(buf)-n:])
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return err
}

// Version is the record of another version of a resource. Its rules are those of the version that objects are stored in:
// they see each object as it would be stored.
func Version[T Object](of *Info, version string, to func(T) (Object, error), from func(Object) (T, error)) *Info {
	i := *of
	t := reflect.TypeFor[T]().Elem()
	i.Version, i.Type, i.Stored, i.StoredAs, i.Shown, i.Decoded = version, t, of, "", nil, nil
	i.New = func() Object { return reflect.New(t).Interface().(Object) }
	i.NewList = listMaker(schema.GroupVersionKind{Group: of.Group, Version: version, Kind: of.ListKind})
	i.Deprecated = lifecycle(&i)
	i.ToStored = func(o Object) (Object, error) { return to(o.(T)) }
	i.Load = func(stored Object) (Object, error) { return from(stored) }

	// view is obj as the stored version has it. A body that was decoded can be converted: an error is a bug in to.
	view := func(obj Object) Object {
		if obj == nil {
			return nil
		}
		v, err := to(obj.(T))
		if err != nil {
			panic(fmt.Sprintf("api: convert %s: %v", i.GVK(), err))
		}
		return v
	}
	// change lets do change the view of obj, and obj with it.
	change := func(obj Object, do func(view Object)) {
		v := view(obj)
		do(v)
		back, err := from(v)
		if err != nil {
			panic(fmt.Sprintf("api: convert %s: %v", i.GVK(), err))
		}
		kind := obj.GetObjectKind().GroupVersionKind()
		reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(back).Elem())
		obj.GetObjectKind().SetGroupVersionKind(kind)
	}
	i.Default = func(obj Object) { change(obj, of.Default) }
	i.Prepare = func(obj, old Object) { change(obj, func(v Object) { of.Prepare(v, view(old)) }) }
	i.Validate = func(obj, old Object) field.ErrorList { return of.Validate(view(obj), view(old)) }
	if of.Warnings != nil {
		i.Warnings = func(obj, old Object) []string { return of.Warnings(view(obj), view(old)) }
	}
	if of.GenerationOf != nil {
		i.GenerationOf = func(obj Object) any { return of.GenerationOf(view(obj)) }
	}
	if of.HasStatus {
		i.StatusAlone = of.StatusAlone
		i.CopyStatus = func(dst, src Object) { change(dst, func(v Object) { of.CopyStatus(v, view(src)) }) }
		i.ValidateStatus = func(obj, old Object) field.ErrorList { return of.ValidateStatus(view(obj), view(old)) }
	}
	if of.Deleted != nil {
		i.Deleted = func(obj Object, now metav1.Time) { change(obj, func(v Object) { of.Deleted(v, now) }) }
	}
	if of.HasScale || of.Grace != nil || len(of.Subresources) > 0 {
		panic(fmt.Sprintf("api: %s has what no other version of a resource has", of.GVK()))
	}
	i.Fields = map[string]func(Object) string{}
	for name, f := range of.Fields {
		i.Fields[name] = func(o Object) string { return f(view(o)) }
	}
	i.Columns = nil
	for _, c := range of.Columns {
		if show := c.Show; show != nil {
			c.Show = func(o Object) any { return show(view(o)) }
		}
		i.Columns = append(i.Columns, c)
	}
	return &i
}

// AsStored is obj, an object of i, in the version that objects are stored in: rules that know Go types are asked of that one,
// or an older version would be a way around them. nil stays nil, and so does what cannot be converted.
func (i *Info) AsStored(obj Object) Object {
	if obj == nil || i.ToStored == nil || i.Type == nil || reflect.TypeOf(obj) != reflect.PointerTo(i.Type) {
		return obj
	}
	stored, err := i.ToStored(obj)
	if err != nil {
		return nil
	}
	return stored
}

// lifecycle is the warning to whoever uses a version that is to go, from what its type says of itself; "": it is not.
func lifecycle(i *Info) string {
	obj := i.New()
	d, ok := obj.(interface{ APILifecycleDeprecated() (int, int) })
	if !ok {
		return ""
	}
	major, minor := d.APILifecycleDeprecated()
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", i.GroupVersion(), i.Kind, major, minor)
	if r, ok := obj.(interface{ APILifecycleRemoved() (int, int) }); ok {
		major, minor = r.APILifecycleRemoved()
		text += fmt.Sprintf(", unavailable in v%d.%d+", major, minor)
	}
	if r, ok := obj.(interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}); ok {
		gvk := r.APILifecycleReplacement()
		text += fmt.Sprintf("; use %s %s", gvk.GroupVersion(), gvk.Kind)
	}
	return text
}
