// Package openapi describes the API to clients: /openapi/v2, one document of everything, and
// /openapi/v3, one for each group version. Schemas are read off the Go types of k8s.io/api and the
// documentation that they carry; paths off the resource records. Documents are made
// when first asked for.
package openapi

import (
	"reflect"
	"strings"

	"github.com/lighter-k8s/lighter/gen/markers"
)

// doc is a JSON object.
type doc = map[string]any

// models collects the schemas of Go types by their published names.
type models struct {
	prefix  string // of references: "#/definitions/" in v2, "#/components/schemas/" in v3
	v3      bool
	schemas doc
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
	return &models{prefix: prefix, v3: v3, schemas: doc{}}
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
	if text := docs[""]; text != "" {
		s["description"] = text
	}
	if ty, ok := zero.(typed); ok {
		f, _ := zero.(formatted)
		if f != nil && f.OpenAPISchemaFormat() == "int-or-string" {
			if m.v3 {
				s["oneOf"] = []doc{{"type": "integer"}, {"type": "string"}}
			} else {
				s["type"] = "string"
			}
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
	if said, ok := required[name(t)]; ok {
		needed = said
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
		if ref, ok := s["$ref"]; ok && m.v3 {
			s = doc{"allOf": []doc{{"$ref": ref}}}
			if f.Type.Kind() == reflect.Struct {
				s["default"] = doc{}
			}
		}
		if text := docs[tag]; text != "" {
			s["description"] = text
		}
		merging(t, f, s)
		properties[tag] = s
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && f.Type.Kind() != reflect.Pointer {
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
		default:
			s["x-kubernetes-list-type"] = "atomic"
		}
		return
	}
	switch {
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
		return doc{"type": "object", "additionalProperties": m.inner(t.Elem())}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return doc{"type": "string", "format": "byte"}
		}
		return doc{"type": "array", "items": m.inner(t.Elem())}
	case reflect.Bool:
		return doc{"type": "boolean"}
	case reflect.Int64, reflect.Uint64, reflect.Int, reflect.Uint:
		return doc{"type": "integer", "format": "int64"}
	case reflect.Int32, reflect.Uint32, reflect.Int16, reflect.Uint16, reflect.Int8, reflect.Uint8:
		return doc{"type": "integer", "format": "int32"}
	case reflect.Float32, reflect.Float64:
		return doc{"type": "number", "format": "double"}
	case reflect.String:
		return doc{"type": "string"}
	}
	return doc{"type": "object"} // interface: anything
}

// inner is the schema of an element of a list or map.
func (m *models) inner(t reflect.Type) doc {
	s := m.value(t)
	if ref, ok := s["$ref"]; ok && m.v3 {
		s = doc{"allOf": []doc{{"$ref": ref}}}
		if t.Kind() == reflect.Struct {
			s["default"] = doc{}
		}
	}
	return s
}
