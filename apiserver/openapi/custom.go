package openapi

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// kind is what an operation takes or gives: a Go type, or a custom resource's object or list. The zero kind is text.
type kind struct {
	typ    reflect.Type
	custom *api.Info
	list   bool
}

// kindOf is a resource's object, or its list.
func kindOf(i *api.Info, list bool) kind {
	switch {
	case i.Custom != nil:
		return kind{custom: i, list: list}
	case list:
		return kind{typ: typeOf(i.NewList())}
	}
	return kind{typ: typeOf(i.New())}
}

func (k kind) none() bool { return k.typ == nil && k.custom == nil }

// name is the kind's published name: of a custom one its group backwards, version and kind, "com.example.v1.Boat".
func (k kind) name() string {
	if k.custom == nil {
		return name(k.typ)
	}
	parts := strings.Split(k.custom.Group, ".")
	slices.Reverse(parts)
	n := strings.Join(append(parts, k.custom.Version, k.custom.Kind), ".")
	if k.list {
		n = strings.TrimSuffix(n, k.custom.Kind) + k.custom.ListKind
	}
	return n
}

// SetCustom makes the documents describe these custom resources too, from the next request on.
func (h *Handler) SetCustom(infos []*api.Info) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range slices.Concat(h.custom, infos) { // documents of others stay
		delete(h.docs, "v3"+root(i.Group, i.Version))
	}
	delete(h.docs, "v2")
	delete(h.docs, "v3")
	h.custom = infos
}

// all are the resources that are described. mu is held.
func (h *Handler) all() []*api.Info { return slices.Concat(h.infos, h.custom) }

// ref makes sure that the kind's schema is there and refers to it.
func (m *models) refKind(k kind) doc {
	if k.custom == nil {
		return m.ref(k.typ)
	}
	n := k.name()
	if _, ok := m.schemas[n]; !ok {
		m.schemas[n] = m.customModel(k)
	}
	return doc{"$ref": m.prefix + n}
}

// customModel is the schema of a custom resource's objects or lists. One that cannot be made is any object.
func (m *models) customModel(k kind) any {
	i := k.custom
	m.ref(reflect.TypeFor[metav1.ObjectMeta]()) // which it refers to
	if !k.list {
		s, err := i.Custom.Schema(!m.v3)
		if err != nil {
			return doc{"type": "object", "description": fmt.Sprintf("the schema cannot be shown: %v", err)}
		}
		return s
	}
	docs := metav1.List{}.SwaggerDoc()
	maps.Copy(docs, metav1.TypeMeta{}.SwaggerDoc())
	property := func(name, kind string) doc { return doc{"type": kind, "description": docs[name]} }
	items := doc{"type": "array", "items": m.refKind(kindOf(i, false)),
		"description": fmt.Sprintf("List of %s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", i.Resource)}
	meta := m.ref(reflect.TypeFor[metav1.ListMeta]())
	if m.v3 {
		meta = doc{"allOf": []doc{meta}}
	}
	meta["description"] = docs["metadata"]
	out := doc{"type": "object", "description": i.ListKind + " is a list of " + i.Kind, "required": []string{"items"},
		"x-kubernetes-group-version-kind": []doc{{"group": i.Group, "version": i.Version, "kind": i.ListKind}},
		"properties":                      doc{"apiVersion": property("apiVersion", "string"), "kind": property("kind", "string"), "metadata": meta, "items": items}}
	if fields := i.SelectableFields(); len(fields) > 0 {
		var list []doc
		for _, f := range fields {
			list = append(list, doc{"fieldPath": f})
		}
		out["x-kubernetes-selectable-fields"] = list
	}
	return out
}
