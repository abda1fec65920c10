package openapi

import (
	"encoding/json"
	"fmt"
	"strings"

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
	root := kindOf(i, false).name()
	if data, err = json.Marshal(whole(all, m.prefix, doc{"$ref": m.prefix + root}, nil)); err != nil {
		return nil, err
	}
	out := &spec.Schema{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", root, err)
	}
	return out, nil
}

// anything is the schema that expressions take for a value of any type.
var anything = doc{"x-kubernetes-int-or-string": true}

// whole puts what a schema refers to in its place. within are the names that it is part of.
func whole(all map[string]any, prefix string, v any, within []string) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for n := range v {
			out[n] = whole(all, prefix, v[n], within)
		}
		return out
	case doc:
		if name := refers(v); name != "" {
			name = strings.TrimPrefix(name, prefix)
			for _, w := range within {
				if w == name {
					return anything
				}
			}
			return whole(all, prefix, all[name], append(within[:len(within):len(within)], name))
		}
		out := make(doc, len(v))
		for k, one := range v {
			if _, text := one.(string); k != "description" || !text { // a field may have that name
				out[k] = whole(all, prefix, one, within)
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
