package crd

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/watch"
)

// definition is one custom resource as it is served. What is large, its schemas above all, stays in the bytes of the
// definition's own item until somebody uses the resource.
type definition struct {
	name    string
	group   string
	uid     types.UID
	reads   int64 // the generation that it was made of
	storage string
	item    atomic.Pointer[watch.Item] // the newest
	stored  *api.Info                  // what memory holds of it: objects in any version
	all     []*version                 // that the definition has, those that are not served too
	infos   []*api.Info                // of those that are
	convert converter
	accepts *apiextensionsv1.CustomResourceDefinitionNames
	leaving bool
}

// version is one version of a definition.
type version struct {
	of   *definition
	name string
	info *api.Info
	lazy lazy
}

// read is the definition as its item has it. It is shared.
func (d *definition) read() (*apiextensionsv1.CustomResourceDefinition, error) {
	return read(d.item.Load())
}

// outline is a definition without its schemas, which take most of the time that decoding it all does. It is never written back.
func outline(item *watch.Item) (*apiextensionsv1.CustomResourceDefinition, error) {
	o, err := item.Info.Outline(item.Raw())
	if err != nil {
		return nil, err
	}
	return o.(*apiextensionsv1.CustomResourceDefinition), nil
}

func read(item *watch.Item) (*apiextensionsv1.CustomResourceDefinition, error) {
	o, err := item.Object()
	if err != nil {
		return nil, err
	}
	d, ok := o.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return nil, fmt.Errorf("definition is a %T", o)
	}
	return d, nil
}

// define makes what is to be served of a definition (nil: it is gone); nil when that is nothing, old when nothing changed
// that matters.
func (r *Resources) define(item *watch.Item, old *definition) (*definition, error) {
	if item == nil {
		return nil, nil
	}
	crd, err := outline(item)
	if err != nil {
		return old, err
	}
	if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return nil, nil
	}
	leaving := crd.DeletionTimestamp != nil
	if old != nil && old.uid == crd.UID && old.reads == crd.Generation && old.leaving == leaving && sameNames(old.accepts, &crd.Status.AcceptedNames) {
		old.item.Store(item)
		return old, nil
	}
	storage, err := apihelpers.GetCRDStorageVersion(crd)
	if err != nil {
		return old, err
	}
	d := &definition{name: crd.Name, group: crd.Spec.Group, uid: crd.UID, reads: crd.Generation, storage: storage,
		accepts: crd.Status.AcceptedNames.DeepCopy(), leaving: leaving}
	d.item.Store(item)
	d.convert.of, d.convert.webhooks = d, r.Webhooks
	d.convert.asks = crd.Spec.Conversion != nil && crd.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter
	d.stored = d.record(crd, storage)
	d.stored.Stored = d.stored
	d.stored.Custom = &api.Custom{Definition: d.name, Read: func(raw []byte) (api.Object, error) { return api.DecodeRaw(d.stored, raw) }}
	for n := range crd.Spec.Versions {
		d.add(crd, &crd.Spec.Versions[n])
	}
	for _, i := range d.infos {
		i.Custom.Versions = d.infos
	}
	return d, nil
}

func sameNames(a, b *apiextensionsv1.CustomResourceDefinitionNames) bool {
	return a.Plural == b.Plural && a.Singular == b.Singular && a.Kind == b.Kind && a.ListKind == b.ListKind &&
		slices.Equal(a.ShortNames, b.ShortNames) && slices.Equal(a.Categories, b.Categories)
}

// verbs are a custom resource's, in the order in which discovery shows them.
var verbs = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}

// record is what all records of a definition have in common.
func (d *definition) record(crd *apiextensionsv1.CustomResourceDefinition, name string) *api.Info {
	names := d.accepts
	if s := d.stored; s != nil && s.Version == name { // they share what they have
		i := *s
		i.Custom = nil
		return &i
	}
	i := &api.Info{
		GroupVersionResource: schema.GroupVersionResource{Group: d.group, Version: name, Resource: names.Plural},
		Kind:                 names.Kind, ListKind: names.ListKind, Singular: names.Singular, Short: names.ShortNames, Categories: names.Categories,
		Verbs: verbs, Namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped, StoreKey: d.group + "/" + names.Plural,
	}
	gvk := i.GVK()
	i.New = func() api.Object {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
	i.NewList = func() runtime.Object {
		l := &unstructured.UnstructuredList{Object: map[string]any{}}
		l.SetGroupVersionKind(gvk.GroupVersion().WithKind(i.ListKind))
		return l
	}
	return i
}

// version is the one of that name, or nil.
func (d *definition) version(name string) *version {
	for _, v := range d.all {
		if v.name == name {
			return v
		}
	}
	return nil
}

// add makes one version and its record.
func (d *definition) add(crd *apiextensionsv1.CustomResourceDefinition, spec *apiextensionsv1.CustomResourceDefinitionVersion) {
	i := d.record(crd, spec.Name)
	v := &version{of: d, name: spec.Name, info: i}
	d.all = append(d.all, v)
	i.Stored = d.stored
	i.Custom = &api.Custom{Definition: d.name, Revision: fmt.Sprintf("%s/%d", d.uid, d.reads), Leaving: d.leaving, Single: len(crd.Spec.Versions) == 1, Receive: v.receive, Read: v.read, Schema: v.openapi}
	if d.convert.asks {
		i.Custom.Warm = v.warm
	}
	i.Custom.Deprecated = deprecated(crd, spec, i)
	i.Typed = v.typed
	i.Default, i.Prepare, i.Validate = v.defaults, v.prepare, v.validate
	i.ToStored = func(obj api.Object) (api.Object, error) { return v.toStored(obj.(*unstructured.Unstructured)) }
	i.Load = func(stored api.Object) (api.Object, error) {
		return v.load(stored.DeepCopyObject().(*unstructured.Unstructured))
	}
	if s := spec.Subresources; s != nil {
		if s.Status != nil {
			i.HasStatus, i.CopyStatus, i.ValidateStatus = true, copyStatus, v.validate
		}
		if s.Scale != nil {
			v.scale(s.Scale.DeepCopy())
		}
	}
	i.GenerationOf = func(obj api.Object) any { return specOf(obj.(*unstructured.Unstructured), i.HasStatus) }
	i.Columns = columns(spec.AdditionalPrinterColumns)
	for _, f := range spec.SelectableFields {
		if i.Fields == nil {
			i.Fields = map[string]func(api.Object) string{}
		}
		i.Fields[f.JSONPath[min(1, len(f.JSONPath)):]] = selectable(f.JSONPath)
	}
	if spec.Served {
		d.infos = append(d.infos, i)
	}
}

// deprecated is the warning that users of a version get, or "". Source: API comments of deprecationWarning; which version is
// recommended: what Kubernetes 1.37 does.
func deprecated(crd *apiextensionsv1.CustomResourceDefinition, spec *apiextensionsv1.CustomResourceDefinitionVersion, i *api.Info) string {
	if !spec.Deprecated {
		return ""
	}
	if spec.DeprecationWarning != nil {
		return *spec.DeprecationWarning
	}
	best := spec.Name
	for _, v := range crd.Spec.Versions {
		if v.Served && !v.Deprecated && apiversion.CompareKubeAwareVersionStrings(v.Name, best) > 0 {
			best = v.Name
		}
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", i.Group, spec.Name, i.Kind)
	if best != spec.Name {
		text += fmt.Sprintf("; use %s/%s %s", i.Group, best, i.Kind)
	}
	return text
}

// drop lets go of schemas that nobody used since then.
func (d *definition) drop(since time.Time) {
	for _, v := range d.all {
		v.lazy.drop(since)
	}
	if s := d.version(d.storage); s != nil && s.lazy.used.Load() < since.Unix() {
		d.convert.forget()
	}
}
