package watch

import (
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
)

// Item is one object at one revision: its encoded form with the little that finding it needs beside it. The typed
// object is made when somebody asks, once, shared by all who hold it, and gone when nobody does. An Item never
// changes; its users must not write to anything it hands out.
type Item struct {
	Info      *api.Info // of the stored version
	Namespace string
	Name      string
	Revision  uint64
	key       string // in the table: "namespace/name" or "name"
	labels    *labelSet
	place     int    // in labels.items; guarded by State.mu
	owner     string // UID of the controlling owner
	node      string // spec.nodeName, of pods
	raw       []byte // protobuf message (or JSON for custom resources) with resourceVersion set; owner and node share it

	hot    *hot
	object atomic.Pointer[held]
}

// newItem makes the Item of a stored value; obj, if not nil, is its typed object. sets are those of the table that it
// comes into, nil when it comes into none.
func newItem(info *api.Info, key string, e store.Entry, obj api.Object, h *hot, sets *labelSets) (*Item, error) {
	raw, _, _, err := api.RawStored(e.Value)
	if err != nil {
		return nil, err
	}
	if obj == nil {
		raw = api.Complete(info, raw)
	}
	i := &Item{Info: info, Revision: uint64(e.Revision), key: key, Name: key, raw: api.WithVersion(raw, uint64(e.Revision)), hot: h}
	if info.Namespaced {
		i.Namespace, i.Name, _ = strings.Cut(key, "/")
	}
	var room [8]api.Label
	labels, owner, err := api.Index(i.raw, room[:0])
	if err != nil {
		return nil, err
	}
	i.labels, i.owner = sets.of(labels), owner
	if info.StoreKey == "pods" {
		i.node = api.Text(i.raw, 2, 10) // spec.nodeName
	}
	if obj != nil {
		i.keep(obj)
	}
	return i, nil
}

// NewItem makes the Item of an entry that was read from the store's history.
func NewItem(info *api.Info, e store.Entry) (*Item, error) {
	return newItem(info, e.Key[len(Prefix)+len(info.StoreKey)+1:], e, nil, nil, nil)
}

// Raw is the object in the stored version's binary encoding, resourceVersion included, without envelope.
func (i *Item) Raw() []byte { return i.raw }

// Key is "namespace/name", or "name"; lists are in its order.
func (i *Item) Key() string { return i.key }

// Object is the typed object.
func (i *Item) Object() (api.Object, error) {
	if o := i.held(); o != nil {
		return o, nil
	}
	o, err := api.DecodeRaw(i.Info, i.raw)
	if err != nil {
		return nil, err
	}
	return i.keep(o), nil
}

// AppendJSON appends the object as JSON, kind and apiVersion first.
func (i *Item) AppendJSON(dst []byte) ([]byte, error) { return api.AppendJSON(dst, i.Info, i.raw) }

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

// label gives the value of a label.
func (i *Item) label(key string) (string, bool) { return i.labels.Lookup(key) }

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
		f.Labels != nil && !f.Labels.Empty() && !f.Labels.Matches(i.labels):
		return false
	}
	if f.Fields == nil {
		return true
	}
	var turned api.Object // into the filter's version, for what only that names
	rules := fieldTerms(f.Fields).rules
	for n := range rules {
		r := &rules[n]
		value := ""
		if f.own() || r.name == "metadata.name" || r.name == "metadata.namespace" {
			value, _ = i.field(r.name)
		} else if get := f.Info.Fields[r.name]; get != nil {
			if turned == nil {
				if o, err := i.Object(); err == nil {
					turned, _ = f.Info.Load(o)
				}
			}
			if turned != nil {
				value = get(turned)
			}
		}
		if !r.takes(value) {
			return false
		}
	}
	return true
}

// own tells whether Fields are named as the stored version names them.
func (f *Filter) own() bool { return f.Info == nil || f.Info.Stored == f.Info }

// Lean is the typed object for those who only show it: perhaps without its managed fields, and not kept.
func (i *Item) Lean() (api.Object, error) {
	if o := i.held(); o != nil {
		return o, nil
	}
	return api.DecodeLean(i.Info, i.raw)
}

// IsJSON tells whether Raw is JSON.
func (i *Item) IsJSON() bool { return len(i.raw) > 0 && i.raw[0] == '{' }
