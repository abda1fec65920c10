package managed

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api"
)

// Apply says who applies a configuration, and through what.
type Apply struct {
	Manager     string
	Subresource string
	Force       bool // conflicts are won
	Size        int  // bytes that the configuration came as
	Now         time.Time
	Versions    []*api.Info // all of the resource, for the entries of managers that used them
	Aside       *Aside      // what was set aside of the configuration; nil: nothing
}

// Merge gives what an object of i (nil: there is none) becomes by a server-side apply of a configuration, its managedFields
// included; neither is written to. Nothing is defaulted yet. Errors are API Status errors where clients know them: 409
// with its causes, 400 for another kind and for managedFields in it. Others say what no schema allows.
// The rules are apimachinery's, and for objects of many fields what large makes of them. Source: Kubernetes documentation, Server-Side Apply; KEP-555.
func (a Apply) Merge(i *api.Info, old api.Object, config *unstructured.Unstructured) (api.Object, error) {
	k := kinds{i, a.Versions, map[*api.Info]typed.ParseableType{}}
	build := managedfields.NewDefaultFieldManager
	if i.Type == nil { // made at run time: its versions' fields may be known to nobody
		build = managedfields.NewDefaultCRDFieldManager
	}
	m, err := build(k, k, k, k, i.GVK(), i.GroupVersion(), a.Subresource, k.written(a.Subresource))
	if err != nil {
		return nil, err
	}
	live := old
	if live == nil {
		live = i.New()
	}
	isMany, tooMany, err := a.bounded(k, live, config)
	if err != nil {
		return nil, err
	}
	if old != nil && a.alone(k, old, config) {
		obj, err := a.merge(k, m, old, metadataOf(i, old), config, isMany, tooMany)
		if err != nil {
			return nil, err
		}
		if u, ok := obj.(*unstructured.Unstructured); ok {
			whole := &unstructured.Unstructured{Object: maps.Clone(old.(*unstructured.Unstructured).Object)}
			whole.Object["metadata"] = u.Object["metadata"]
			whole.SetGroupVersionKind(i.GVK())
			return whole, nil
		}
		whole := i.Copied(old)
		*metadata(whole) = *metadata(obj)
		whole.GetObjectKind().SetGroupVersionKind(i.GVK())
		return whole, nil
	}
	live, back, err := a.Aside.marked(i, old, live, config)
	if err != nil {
		return nil, err
	}
	obj, err := a.merge(k, m, old, live, config, isMany, tooMany)
	if err == nil {
		back(obj)
	}
	return obj, err
}

// metadataOf is an object without all else, sharing what is in its metadata.
func metadataOf(i *api.Info, obj api.Object) api.Object {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		out := &unstructured.Unstructured{Object: map[string]any{"metadata": u.Object["metadata"]}}
		out.SetGroupVersionKind(i.GVK())
		return out
	}
	out := i.New()
	*metadata(out) = *metadata(obj)
	return out
}

// alone tells whether metadata is all that a configuration and what its applier had before speak of: then nothing else of the object matters. It
// holds for objects that are as large as any.
func (a Apply) alone(k kinds, live api.Object, config *unstructured.Unstructured) bool {
	i := k.info
	if !i.AsItIs() || a.Subresource != "" || a.Manager == "kubectl" && live.GetAnnotations()[lastApplied] != "" {
		return false
	}
	for key := range config.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			return false
		}
	}
	if u, ok := live.(*unstructured.Unstructured); ok && !k.looked(u) {
		return false
	}
	owners := api.Owners(live)
	if len(owners) == 0 {
		return false
	}
	for _, e := range owners {
		if i.Custom != nil && e.APIVersion != i.GroupVersion().String() {
			return false
		}
		if !a.mine(e) || e.FieldsV1 == nil {
			continue
		}
		had, err := parse(e.FieldsV1.GetRawBytes())
		if err != nil || !had.without("f:metadata").empty() {
			return false
		}
	}
	return true
}

// looked tells whether an object without a Go type is as its schema has it, which a merge with the whole of it would find out.
func (k kinds) looked(u *unstructured.Unstructured) bool {
	t, err := k.typed(k.info)
	if err != nil || !k.info.Custom.Single {
		return false
	}
	w := tree{schema: t.Schema}
	w.fits(t.TypeRef, unmanaged(u))
	return !w.bad
}

func metadata(o api.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

// merge merges by ourselves where there are many fields, if that can be, and by the library.
func (a Apply) merge(k kinds, m *managedfields.FieldManager, old, live api.Object, config *unstructured.Unstructured, isMany bool, tooMany error) (api.Object, error) {
	if k.info.Type == nil { // the result may share what it is made of
		config = config.DeepCopy()
	}
	if isMany {
		if obj, done, err := a.large(k, old, live, config); done {
			return obj, err
		}
	}
	if tooMany != nil {
		return nil, tooMany
	}
	got, err := m.Apply(a.settled(k, k.named(live), config), config, a.Manager, a.Force)
	if err != nil {
		return nil, err
	}
	obj, ok := got.(api.Object)
	if !ok {
		return nil, fmt.Errorf("apply gave a %T", got)
	}
	a.date(obj, live)
	return obj, nil
}

// settled empties the applier's entry in an object of ours when the configuration has just the fields that it had: then
// nothing is to be taken away, and looking for that is half of the library's work. The entry comes back with the merge.
func (a Apply) settled(k kinds, live api.Object, config *unstructured.Unstructured) api.Object {
	version := k.info.GroupVersion().String()
	entries := api.Owners(live)
	n := slices.IndexFunc(entries, a.mine)
	if n < 0 || entries[n].APIVersion != version || entries[n].FieldsV1 == nil || config.GetAPIVersion() != version {
		return live
	}
	v, err := k.ObjectToTyped(config)
	if err != nil {
		return live // the library says so
	}
	fields, err := v.ToFieldSet()
	if err != nil {
		return live
	}
	if f := k.written(a.Subresource)[fieldpath.APIVersion(version)]; f != nil {
		fields = f.Filter(fields)
	}
	raw, err := fields.ToJSON()
	if err != nil {
		return live
	}
	now, err := parse(raw)
	if err != nil || !bytes.Equal(now.stripped().encode().GetRawBytes(), entries[n].FieldsV1.GetRawBytes()) {
		return live
	}
	entries = slices.Clone(entries)
	entries[n].FieldsV1 = metav1.NewFieldsV1("{}")
	api.SetOwners(live, entries)
	return live
}

// mine tells the applier's entry.
func (a Apply) mine(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == a.Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == a.Subresource
}

// date sets the time of the applier's entry where it is new: the library has a clock of its own.
func (a Apply) date(obj, live api.Object) {
	entries := api.Owners(obj)
	n := slices.IndexFunc(entries, a.mine)
	if n < 0 || entries[n].Time == nil {
		return
	}
	before := api.Owners(live)
	if b := slices.IndexFunc(before, a.mine); b >= 0 && entries[n].Time.Equal(before[b].Time) {
		return
	}
	now := metav1.NewTime(a.Now.UTC().Truncate(time.Second))
	entries[n].Time = &now
	slices.SortStableFunc(entries, order)
	api.SetOwners(obj, entries)
}

// kinds is what the library asks of a resource in one version and its others.
type kinds struct {
	info     *api.Info
	versions []*api.Info
	types    map[*api.Info]typed.ParseableType // one each: values of another schema cannot be compared
}

func (k kinds) typed(i *api.Info) (typed.ParseableType, error) {
	if t, ok := k.types[i]; ok {
		return t, nil
	}
	t, err := Typed(i)
	if err == nil {
		k.types[i] = t
	}
	return t, err
}

func (k kinds) find(gv schema.GroupVersion) *api.Info {
	if gv == k.info.GroupVersion() {
		return k.info
	}
	for _, i := range k.versions {
		if i.GroupVersion() == gv {
			return i
		}
	}
	return nil
}

// named is the object with its kind in it, which objects of memory do not have: a copy of its outermost level, or
// of its metadata too where it has no Go type, and of all of that one where what comes of it may be written to.
func (k kinds) named(obj api.Object) api.Object {
	if u, ok := obj.(*unstructured.Unstructured); ok && k.info.Custom != nil && k.info.Custom.Single {
		o := maps.Clone(u.Object)
		if meta, ok := o["metadata"].(map[string]any); ok {
			o["metadata"] = maps.Clone(meta)
		}
		obj = &unstructured.Unstructured{Object: o}
	} else if ok {
		obj = u.DeepCopy()
	} else {
		obj = shallow(obj)
	}
	obj.GetObjectKind().SetGroupVersionKind(k.info.GVK())
	return obj
}

func shallow(obj api.Object) api.Object {
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	return c.Interface().(api.Object)
}

// ObjectToTyped implements managedfields.TypeConverter.
func (k kinds) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	i := k.find(gvk.GroupVersion())
	if i == nil || i.Kind != gvk.Kind {
		return nil, runtime.NewNotRegisteredErrForKind("server-side apply", gvk)
	}
	t, err := k.typed(i)
	if err != nil {
		return nil, err
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return t.FromStructured(obj, opts...)
}

// TypedToObject implements managedfields.TypeConverter.
func (k kinds) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	content, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no object: %T", v.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// ConvertToVersion implements runtime.ObjectConvertor; an unstructured object becomes what its version's record makes.
func (k kinds) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	from := k.find(gvk.GroupVersion())
	if from == nil {
		return nil, runtime.NewNotRegisteredErrForKind("server-side apply", gvk)
	}
	obj, ok := in.(api.Object)
	if !ok {
		return nil, fmt.Errorf("no object: %T", in)
	}
	if u, ok := in.(*unstructured.Unstructured); ok && from.Type != nil {
		obj = from.New()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
			return nil, err
		}
	}
	gv, ok := target.(schema.GroupVersion)
	if !ok {
		return nil, fmt.Errorf("no version: %v", target)
	}
	to := k.find(gv)
	switch {
	case to == nil:
		return nil, runtime.NewNotRegisteredErrForTarget("server-side apply", reflect.TypeOf(in), target)
	case to == from && from.Type != nil && len(api.Owners(obj)) > 0:
		// The library has read the owners by now; to merge them too would take a third of an apply.
		obj = shallow(obj)
		obj.SetManagedFields(nil)
		return obj, nil
	case to == from:
		return obj, nil
	}
	obj, err := convert(from, to, obj)
	if err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(to.GVK())
	return obj, nil
}

// convert gives a copy of an object in another version of its resource.
func convert(from, to *api.Info, obj api.Object) (api.Object, error) {
	obj = obj.DeepCopyObject().(api.Object)
	var err error
	if from.ToStored != nil {
		if obj, err = from.ToStored(obj); err != nil {
			return nil, err
		}
	}
	if to.Load != nil {
		if obj, err = to.Load(obj); err != nil {
			return nil, err
		}
	}
	return obj, nil
}

// New implements runtime.ObjectCreater.
func (k kinds) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	i := k.find(gvk.GroupVersion())
	if i == nil || i.Kind != gvk.Kind {
		return nil, runtime.NewNotRegisteredErrForKind("server-side apply", gvk)
	}
	obj := i.New()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Default implements runtime.ObjectDefaulter: defaults are filled in where the other writes' are.
func (k kinds) Default(runtime.Object) {}

// Convert and ConvertFieldLabel belong to runtime.ObjectConvertor; an apply does not use them.
func (k kinds) Convert(_, _, _ any) error { return fmt.Errorf("no conversion into an object") }
func (k kinds) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// written are the fields that can be applied through a subresource, the same in all versions: nobody owns others.
// It says of applies what registry's carry does of all updates.
func (k kinds) written(subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	var f fieldpath.Filter
	switch {
	case subresource == "" && k.info.HasStatus:
		f = allButStatus
	case subresource == "":
		return nil
	case k.info.Type == nil && subresource == "status": // a custom resource's: nothing else
		f = fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("status"))
	case parts[subresource] != nil:
		f = fieldpath.NewIncludeMatcherFilter(append(k.metadata(), parts[subresource]...)...)
	default:
		f = fieldpath.NewIncludeMatcherFilter(append(k.metadata(), fieldpath.MakePrefixMatcherOrDie(subresource))...)
	}
	out := map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(k.info.GroupVersion().String()): f}
	for _, i := range k.versions {
		out[fieldpath.APIVersion(i.GroupVersion().String())] = f
	}
	return out
}

var allButStatus = fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))

// parts are what subresources write that are not called as what they write.
var parts = map[string][]*fieldpath.SetMatcher{
	"approval":            {fieldpath.MakePrefixMatcherOrDie("status")},
	"ephemeralcontainers": {fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers")},
	"finalize":            {fieldpath.MakePrefixMatcherOrDie("spec", "finalizers")},
	"resize": {fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resources"),
		fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resizePolicy")},
	"scale": {fieldpath.MakePrefixMatcherOrDie("spec", "replicas")},
}

// metadata is what a write of a part may change of it. The labels of a Deployment are its users'.
func (k kinds) metadata() []*fieldpath.SetMatcher {
	out := []*fieldpath.SetMatcher{fieldpath.MakePrefixMatcherOrDie("metadata", "annotations"), fieldpath.MakePrefixMatcherOrDie("metadata", "finalizers")}
	if k.info.StoreKey != "deployments" {
		out = append(out, fieldpath.MakePrefixMatcherOrDie("metadata", "labels"))
	}
	return out
}
