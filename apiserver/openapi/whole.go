package openapi

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/lighter-k8s/lighter/api"
)

// Schema is what the documents say of a resource's objects, with all that it refers to in place: what types of expressions are made
// of. A type within itself is an value of any type. Made anew each time.
func Schema(i *api.Info) (*spec.Schema, error) {
	m := newModels(true)
	m.refKind(kindOf(i, false))
	data, err := json.Marshal(m.schemas)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	return schemaOf(all, m.prefix, kindOf(i, false).name())
}

// SchemaIn is the schema of a kind in the OpenAPI v3 document of another server, as Schema is.
func SchemaIn(document []byte, of schema.GroupVersionKind) (*spec.Schema, error) {
	var d struct {
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, err
	}
	all := d.Components.Schemas
	for name, one := range all {
		s, _ := one.(doc)
		kinds, _ := s["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			if k, _ := k.(doc); k["group"] == of.Group && k["version"] == of.Version && k["kind"] == of.Kind {
				return schemaOf(all, "#/components/schemas/", name)
			}
		}
	}
	return nil, fmt.Errorf("the document has no schema of %s", of)
}

func schemaOf(all map[string]any, prefix, root string) (*spec.Schema, error) {
	p := pieces{all, prefix, mostPieces}
	s := p.whole(doc{"$ref": prefix + root}, nil)
	if p.left < 0 {
		return nil, fmt.Errorf("schema of %s: it has too many pieces", root)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	out := &spec.Schema{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", root, err)
	}
	return out, nil
}

// mostPieces bounds what a schema grows to when all that it refers to, and that again, is put in its place: a small document can
// say so much that no memory holds it.
const mostPieces = 1 << 20

// pieces are the schemas of a document.
type pieces struct {
	all    map[string]any
	prefix string // of references to them
	left   int    // values that may still be put in place
}

// anything is the schema that expressions take for a value of any type.
var anything = doc{"x-kubernetes-int-or-string": true}

// whole puts what a schema refers to in its place. within are the names that it is part of.
func (p *pieces) whole(v any, within []string) any {
	if p.left--; p.left < 0 {
		return nil
	}
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for n := range v {
			out[n] = p.whole(v[n], within)
		}
		return out
	case doc:
		if name := refers(v); name != "" {
			name = strings.TrimPrefix(name, p.prefix)
			for _, w := range within {
				if w == name {
					return anything
				}
			}
			return p.whole(p.all[name], append(within[:len(within):len(within)], name))
		}
		out := make(doc, len(v))
		for k, one := range v {
			if _, text := one.(string); k != "description" || !text { // a field may have that name
				out[k] = p.whole(one, within)
			}
		}
		return out
	}
	return v
}

// refers is whom a schema refers to: alone, or with a description and a default beside it.
func refers(s doc) string {
	if of, ok := s["allOf"].([]any); ok && len(of) == 1 {
		s, _ = of[0].(doc)
	}
	name, _ := s["$ref"].(string)
	return name
}
