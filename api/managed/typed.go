package managed

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/gen/markers"
)

// Typed is the type of a resource's objects as structured-merge-diff knows it: what the record gives, or what the fields
// of its Go type and the comments at them say. It is made when first asked for; a server that nobody applies to has none.
func Typed(i *api.Info) (typed.ParseableType, error) {
	if i.Typed != nil {
		return i.Typed()
	}
	definitions.Lock()
	defer definitions.Unlock()
	if t, ok := definitions.roots[i.Type]; ok {
		return t, nil
	}
	if definitions.of == nil {
		definitions.of, definitions.roots = map[reflect.Type]*definition{}, map[reflect.Type]typed.ParseableType{}
	}
	s := &schema.Schema{Types: slices.Clone(untyped)}
	seen := map[*definition]bool{}
	var add func(d *definition)
	add = func(d *definition) {
		if seen[d] {
			return
		}
		seen[d] = true
		s.Types = append(s.Types, d.def)
		for _, u := range d.uses {
			add(u)
		}
	}
	root := define(i.Type)
	add(root)
	t := typed.ParseableType{Schema: s, TypeRef: schema.TypeRef{NamedType: &root.def.Name}}
	definitions.roots[i.Type] = t
	return t, nil
}

// definition is a struct type. Those of one type are shared by all roots.
type definition struct {
	def  schema.TypeDef
	uses []*definition
}

var definitions struct {
	sync.Mutex
	of    map[reflect.Type]*definition
	roots map[reflect.Type]typed.ParseableType
}

// What may hold whatever JSON can: as a whole, or maps by their keys.
var (
	wholly, byKey   = "__untyped_atomic_", "__untyped_deduced_"
	anything, loose = schema.TypeRef{NamedType: &wholly}, schema.TypeRef{NamedType: &byKey}
	scalarAny       = schema.Untyped
	untyped         = []schema.TypeDef{
		{Name: wholly, Atom: schema.Atom{Scalar: &scalarAny, List: &schema.List{ElementType: anything, ElementRelationship: schema.Atomic},
			Map: &schema.Map{ElementType: anything, ElementRelationship: schema.Atomic}}},
		{Name: byKey, Atom: schema.Atom{Scalar: &scalarAny, List: &schema.List{ElementType: anything, ElementRelationship: schema.Atomic},
			Map: &schema.Map{ElementType: loose, ElementRelationship: schema.Separable}}},
	}
)

// define makes a struct type's definition, those of its fields' types included. definitions is locked.
func define(t reflect.Type) *definition {
	if d := definitions.of[t]; d != nil {
		return d
	}
	m := &schema.Map{}
	d := &definition{def: schema.TypeDef{Name: t.PkgPath() + "." + t.Name(), Atom: schema.Atom{Map: m}}}
	definitions.of[t] = d // a type may hold itself
	if markers.Type(t.PkgPath(), t.Name()).Atomic {
		m.ElementRelationship = schema.Atomic
	}
	if d.fields(m, t); len(m.Fields) == 0 { // as the published OpenAPI has it: an object of which nothing is said
		m.ElementType = loose
	}
	slices.SortFunc(m.Fields, func(a, b schema.StructField) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// fields adds those of a struct, and of structs that are inlined in it.
func (d *definition) fields(m *schema.Map, t reflect.Type) {
	for n := range t.NumField() {
		f := t.Field(n)
		name, options, inlined := jsonName(f)
		switch {
		case inlined:
			if f.Type.Kind() == reflect.Struct {
				d.fields(m, f.Type)
			}
		case name != "":
			mark := markers.Field(t.PkgPath(), t.Name(), f.Name)
			field := schema.StructField{Name: name, Type: d.ref(f.Type, mark, mergeKey(f))}
			if mark.Default != nil {
				field.Default = *mark.Default
			} else if !hasOption(options, "omitempty") && !hasOption(options, "omitzero") {
				field.Default = zeroOf(f.Type)
			}
			m.Fields = append(m.Fields, field)
		}
	}
}

// zeroOf is what a key of a list is when it is left out although it is always written; nil: nothing.
func zeroOf(t reflect.Type) any {
	switch t.Kind() {
	case reflect.String:
		return ""
	case reflect.Int32, reflect.Int64:
		return int64(0)
	case reflect.Bool:
		return false
	}
	return nil
}

// published is what a type with a JSON form of its own says of it; none: it can be anything.
type published interface{ OpenAPISchemaType() []string }

// ref refers to a type where a field with the marker and the merge key of its patch tags has it.
func (d *definition) ref(t reflect.Type, m markers.Marker, mergeKey string) schema.TypeRef {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	scalar := func(s schema.Scalar) schema.TypeRef { return schema.TypeRef{Inlined: schema.Atom{Scalar: &s}} }
	switch {
	case t == reflect.TypeFor[runtime.RawExtension]():
		return anything
	case t == reflect.TypeFor[metav1.FieldsV1]():
		return schema.TypeRef{Inlined: schema.Atom{Map: &schema.Map{ElementType: loose}}}
	case t.Implements(marshaler), reflect.PointerTo(t).Implements(marshaler):
		if p, ok := reflect.Zero(t).Interface().(published); ok && len(p.OpenAPISchemaType()) == 0 {
			return loose // any JSON: parts of a definition's schema
		}
		return scalar(schema.Untyped)
	}
	switch t.Kind() {
	case reflect.Bool:
		return scalar(schema.Boolean)
	case reflect.String:
		return scalar(schema.String)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return scalar(schema.Numeric)
	case reflect.Struct:
		of := define(t)
		d.uses = append(d.uses, of)
		ref := schema.TypeRef{NamedType: &of.def.Name}
		atomic, separable := schema.Atomic, schema.Separable
		switch {
		case m.Atomic:
			ref.ElementRelationship = &atomic
		case m.Granular:
			ref.ElementRelationship = &separable
		}
		return ref
	case reflect.Map:
		at := &schema.Map{ElementType: d.ref(t.Elem(), markers.Marker{}, "")}
		if m.Atomic {
			at.ElementRelationship = schema.Atomic
		}
		return schema.TypeRef{Inlined: schema.Atom{Map: at}}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return scalar(schema.String)
		}
		list := &schema.List{ElementType: d.ref(t.Elem(), markers.Marker{}, ""), ElementRelationship: schema.Atomic}
		if keys := listKeys(m, mergeKey); len(keys) > 0 || m.Set {
			list.ElementRelationship, list.Keys = schema.Associative, keys
		}
		return schema.TypeRef{Inlined: schema.Atom{List: list}}
	}
	return anything
}
