// Package openapi describes the API to clients: /openapi/v2, one document of everything, and
// /openapi/v3, one for each group version. Schemas are read off the Go types of k8s.io/api and the
// documentation that they carry; paths off the resource records. Documents are made
// when first asked for.
package openapi

import (
	"cmp"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/gen/markers"
)

// doc is a JSON object.
type doc = map[string]any

// models collects the schemas of Go types by their published names.
type models struct {
	prefix  string // of references: "#/definitions/" in v2, "#/components/schemas/" in v3
	v3      bool
	schemas doc
	types   map[string]reflect.Type    // of those that have one
	of      runtimeschema.GroupVersion // whose document it is
	custom  bool                       // it is of custom resources
}

type named interface{ OpenAPIModelName() string }
type typed interface{ OpenAPISchemaType() []string }
type formatted interface{ OpenAPISchemaFormat() string }
type documented interface{ SwaggerDoc() map[string]string }

func newModels(v3 bool) *models {
	prefix := "#/definitions/"
	if v3 {
		prefix = "#/components/schemas/"
	}
	return &models{prefix: prefix, v3: v3, schemas: doc{}, types: map[string]reflect.Type{}}
}

// name is a type's published name: "io.k8s.api.core.v1.Pod"; v2 and v3 agree on it.
func name(t reflect.Type) string {
	if n, ok := reflect.Zero(t).Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	path := strings.Split(t.PkgPath(), "/")
	host := strings.Split(path[0], ".")
	for a, b := 0, len(host)-1; a < b; a, b = a+1, b-1 {
		host[a], host[b] = host[b], host[a]
	}
	return strings.Join(append(append(host, path[1:]...), t.Name()), ".")
}

// ref makes sure that the type's schema is there and refers to it.
func (m *models) ref(t reflect.Type) doc {
	n := name(t)
	if _, ok := m.schemas[n]; !ok {
		m.schemas[n] = doc{} // a type may refer to itself
		m.types[n] = t
		m.schemas[n] = m.model(t)
	}
	return doc{"$ref": m.prefix + n}
}

// model is the schema of a named type.
func (m *models) model(t reflect.Type) doc {
	zero := reflect.Zero(t).Interface()
	s := doc{}
	docs := map[string]string{}
	if d, ok := zero.(documented); ok {
		docs = d.SwaggerDoc()
	}
	if text := cmp.Or(docs[""], markers.OfType(t.PkgPath(), t.Name()).Doc); text != "" {
		s["description"] = text
	}
	if ty, ok := zero.(typed); ok {
		f, _ := zero.(formatted)
		if several, ok := zero.(interface{ OpenAPIV3OneOfTypes() []string }); ok && m.v3 {
			var any []doc
			for _, one := range several.OpenAPIV3OneOfTypes() {
				any = append(any, doc{"type": one})
			}
			s["oneOf"] = any
			if f != nil && f.OpenAPISchemaFormat() != "" {
				s["format"] = f.OpenAPISchemaFormat()
			}
			return s
		}
		if f != nil && f.OpenAPISchemaFormat() == "int-or-string" {
			s["type"] = "string"
			s["format"] = "int-or-string"
			return s
		}
		if types := ty.OpenAPISchemaType(); len(types) > 0 {
			s["type"] = types[0]
		}
		if f != nil && f.OpenAPISchemaFormat() != "" {
			s["format"] = f.OpenAPISchemaFormat()
		}
		return s
	}
	s["type"] = "object"
	if t.Kind() != reflect.Struct {
		return s
	}
	properties, needed := doc{}, []string{}
	m.fields(t, docs, properties, &needed)
	if w := markers.OfType(t.PkgPath(), t.Name()); w.Union && len(properties) > 0 {
		s["x-kubernetes-unions"] = []doc{union(t, w.Decides)}
	}
	if len(properties) > 0 {
		s["properties"] = properties
	}
	if len(needed) > 0 {
		s["required"] = needed
	}
	if markers.Type(t.PkgPath(), t.Name()).Atomic {
		s["x-kubernetes-map-type"] = "atomic"
	}
	return s
}

// fields adds a struct's fields, those of inlined structs included.
func (m *models) fields(t reflect.Type, docs map[string]string, properties doc, required *[]string) {
	for n := range t.NumField() {
		f := t.Field(n)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || tag == "-" {
			continue
		}
		if tag == "" && (f.Anonymous || strings.Contains(options, "inline")) {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			innerDocs := map[string]string{}
			if d, ok := reflect.Zero(inner).Interface().(documented); ok {
				innerDocs = d.SwaggerDoc()
			}
			m.fields(inner, innerDocs, properties, required)
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		s := m.value(f.Type)
		omits := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if v := m.zero(t, f, !omits && f.Type.Kind() != reflect.Pointer); v != nil {
			s["default"] = v
		}
		said := markers.OfField(t.PkgPath(), t.Name(), f.Name)
		text := cmp.Or(said.Doc, docs[tag])
		if values := possible(f.Type); values != "" {
			if said.Gap {
				text += "\n"
			}
			text += values
		}
		if text != "" {
			s["description"] = strings.TrimPrefix(text, "\n\n")
		}
		if ref, ok := s["$ref"]; ok && m.v3 && len(s) > 1 { // beside a reference nothing else counts
			delete(s, "$ref")
			s["allOf"] = []doc{{"$ref": ref}}
		}
		merging(t, f, s)
		properties[tag] = s
		if said.Needed == "required" || said.Needed == "" && !omits {
			*required = append(*required, tag)
		}
	}
}

// merging says how strategic merge patches and server-side applies treat the field.
func merging(t reflect.Type, f reflect.StructField, s doc) {
	if v := f.Tag.Get("patchStrategy"); v != "" {
		s["x-kubernetes-patch-strategy"] = v
	}
	key := f.Tag.Get("patchMergeKey")
	if key != "" {
		s["x-kubernetes-patch-merge-key"] = key
	}
	m := markers.Field(t.PkgPath(), t.Name(), f.Name)
	switch s["type"] {
	case "array":
		switch {
		case m.Set:
			s["x-kubernetes-list-type"] = "set"
		case len(m.Keys) > 0:
			s["x-kubernetes-list-type"], s["x-kubernetes-list-map-keys"] = "map", m.Keys
		case key != "" && !m.Atomic:
			s["x-kubernetes-list-type"], s["x-kubernetes-list-map-keys"] = "map", []string{key}
		case f.Type.Name() != "": // a type of its own says what it is
		case f.Name == "Items" && strings.HasSuffix(t.Name(), "List"): // of objects: nobody writes that
		default:
			s["x-kubernetes-list-type"] = "atomic"
		}
		return
	}
	switch {
	case markers.OfField(t.PkgPath(), t.Name(), f.Name).Atomic:
		s["x-kubernetes-list-type"] = "atomic"
	case m.Atomic:
		s["x-kubernetes-map-type"] = "atomic"
	case m.Granular:
		s["x-kubernetes-map-type"] = "granular"
	}
}

// value is the schema of a field's type.
func (m *models) value(t reflect.Type) doc {
	switch t.Kind() {
	case reflect.Pointer:
		return m.value(t.Elem())
	case reflect.Struct:
		return m.ref(t)
	case reflect.Map:
		return doc{"type": "object", "additionalProperties": m.value(t.Elem())}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return doc{"type": "string", "format": "byte"}
		}
		return doc{"type": "array", "items": m.value(t.Elem())}
	case reflect.Bool:
		return doc{"type": "boolean"}
	case reflect.Int64, reflect.Uint64, reflect.Int, reflect.Uint:
		return doc{"type": "integer", "format": "int64"}
	case reflect.Int32, reflect.Uint32, reflect.Int16, reflect.Uint16, reflect.Int8, reflect.Uint8:
		return doc{"type": "integer", "format": "int32"}
	case reflect.Float32, reflect.Float64:
		return doc{"type": "number", "format": "double"}
	case reflect.String:
		if values := markers.OfType(t.PkgPath(), t.Name()).Enum; len(values) > 0 {
			var list []string
			for _, v := range values {
				list = append(list, v.Text)
			}
			return doc{"type": "string", "enum": list}
		}
		return doc{"type": "string"}
	}
	return doc{"type": "object"} // interface: anything
}

// possible tells the values of an enumeration, for a field's description.
func possible(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	values := markers.OfType(t.PkgPath(), t.Name()).Enum
	if t.Kind() != reflect.String || len(values) == 0 {
		return ""
	}
	text := "\n\nPossible enum values:"
	for _, v := range values {
		text += strings.TrimRight("\n - `"+strconv.Quote(v.Text)+"` "+v.Doc, " ")
	}
	return text
}

// union tells which of a struct's fields is set, by the one that decides if there is one.
func union(t reflect.Type, decides string) doc {
	out, by := doc{}, doc{}
	for n := range t.NumField() {
		f := t.Field(n)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Name == decides {
			out["discriminator"] = tag
		} else {
			by[tag] = f.Name
		}
	}
	out["fields-to-discriminateBy"] = by
	return out
}

// zero is the default of a field that v3 names: what its comment says, or the zero value of one that is always there.
func (m *models) zero(t reflect.Type, f reflect.StructField, always bool) any {
	if !m.v3 {
		return nil
	}
	if said := markers.Field(t.PkgPath(), t.Name(), f.Name).Default; said != nil {
		return *said
	}
	if said := markers.OfField(t.PkgPath(), t.Name(), f.Name).Default; said != nil {
		return said
	}
	of := f.Type
	if of.Kind() == reflect.Struct {
		if _, special := reflect.Zero(of).Interface().(typed); special || of == reflect.TypeFor[runtime.RawExtension]() {
			return nil
		}
		return doc{}
	}
	if !always {
		return nil
	}
	switch of.Kind() {
	case reflect.String:
		return ""
	case reflect.Bool:
		return false
	case reflect.Int64, reflect.Int32, reflect.Int, reflect.Int16, reflect.Int8, reflect.Uint32, reflect.Uint16, reflect.Uint8, reflect.Float64, reflect.Float32:
		return 0
	}
	return nil
}
