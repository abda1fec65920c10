package watch

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
)

// Item is one object at one revision: its encoded form with the little that
// finding it needs beside it. The typed object and other encodings are made when somebody asks, once,
// and shared by all. An Item never changes; its users must not write to anything it hands out.
type Item struct {
	Info      *api.Info // of the stored version
	Namespace string
	Name      string
	Revision  uint64
	Labels    labels.Set
	owner     string // UID of the controlling owner
	node      string // spec.nodeName, of pods
	raw       []byte // protobuf message (or JSON for custom resources) with resourceVersion set

	object atomic.Pointer[api.Object]
}

// Raw is the object in the stored version's binary encoding, resourceVersion included, without envelope.
func (i *Item) Raw() []byte { return i.raw }

// Object is the typed object.
func (i *Item) Object() (api.Object, error) {
	if o := i.object.Load(); o != nil {
		return *o, nil
	}
	o, err := api.DecodeRaw(i.Info, i.raw)
	if err != nil {
		return nil, err
	}
	i.object.Store(&o)
	return o, nil
}

// JSON is the object as JSON, kind and apiVersion first.
func (i *Item) JSON() ([]byte, error) {
	o, err := i.Object()
	if err != nil {
		return nil, err
	}
	return api.EncodeJSON(i.Info, o)
}

// release lets go of the typed object of an item that is no longer the newest: few will ask again.
func (i *Item) release() { i.object.Store(nil) }

// field gives the value of a selectable field, and whether there is such a field.
func (i *Item) field(name string) (string, bool) {
	switch name {
	case "metadata.name":
		return i.Name, true
	case "metadata.namespace":
		return i.Namespace, true
	}
	if name == "spec.nodeName" && i.Info.StoreKey == "pods" {
		return i.node, true
	}
	f := i.Info.Fields[name]
	if f == nil {
		return "", false
	}
	o, err := i.Object()
	if err != nil {
		return "", true
	}
	return f(o), true
}

// Filter narrows a list or watch. The zero Filter takes all.
type Filter struct {
	Namespace string // "" is all
	Name      string // "" is all
	Labels    labels.Selector
	Fields    fields.Selector
	// Info is the version whose field names Fields uses; nil: the stored one.
	Info *api.Info
}

// Match tells whether the filter takes the item.
func (f *Filter) Match(i *Item) bool {
	switch {
	case i == nil,
		f.Namespace != "" && f.Namespace != i.Namespace,
		f.Name != "" && f.Name != i.Name,
		f.Labels != nil && !f.Labels.Empty() && !f.Labels.Matches(i.Labels):
		return false
	}
	if f.Fields != nil {
		for _, r := range f.Fields.Requirements() {
			got := f.field(i, r.Field)
			if (got == r.Value) != (r.Operator != "!=") {
				return false
			}
		}
	}
	return true
}

// field is the value of a field as the filter's version names it.
func (f *Filter) field(i *Item, name string) string {
	if f.Info == nil || f.Info.Stored == f.Info || name == "metadata.name" || name == "metadata.namespace" {
		got, _ := i.field(name)
		return got
	}
	get := f.Info.Fields[name]
	o, err := i.Object()
	if err == nil && get != nil {
		if o, err = f.Info.Load(o); err == nil {
			return get(o)
		}
	}
	return ""
}

// NewItem makes the Item of an entry that was read from the store's history.
func NewItem(info *api.Info, e store.Entry) (*Item, error) {
	return newItem(info, e.Key[len(Prefix)+len(info.StoreKey)+1:], e, nil)
}
