package apiextensions

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/lighter-k8s/lighter/api/equal"
)

// The published rules make some four kilobytes of each schema within a schema. Most of those of large definitions only say of what type
// a field is, and there is no rule that they could break: of these the rules are shown none.

// manySchemas is from how many schemas on a definition is shown to the rules without those that are plain.
const manySchemas = 1000

// bare is a definition without most of its schemas that are plain: the definition itself where it has not many, or where other parts of it speak of them.
func bare(d *definition, many int) *definition {
	n := 0
	for _, v := range d.Spec.Versions {
		if len(v.SelectableFields) > 0 {
			return d
		}
		if s := schemaOf(v); s != nil {
			n += schemasIn(*s)
		}
	}
	if n < many {
		return d
	}
	out := *d
	out.Spec.Versions = append(out.Spec.Versions[:0:0], out.Spec.Versions...)
	for n := range out.Spec.Versions {
		if v := &out.Spec.Versions[n]; schemaOf(*v) != nil {
			less, _ := stripped(*schemaOf(*v), true)
			v.Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &less}
			if was := d.Spec.Versions; n > 0 && equal.Semantic(out.Spec.Versions[0].Schema, v.Schema) && !equal.Semantic(was[0].Schema, was[n].Schema) {
				less.Description += "." // where all versions have the same schema, complaints name it otherwise
			}
		}
	}
	return &out
}

// schemasIn counts a schema and those of properties and items below it. Schemas go by value, as maps have them: a pointer to each would be a
// copy of each in the heap.
func schemasIn(s apiextensionsv1.JSONSchemaProps) int {
	n := 1
	for name := range s.Properties {
		n += schemasIn(s.Properties[name])
	}
	if s.Items != nil && s.Items.Schema != nil {
		n += schemasIn(*s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		n += schemasIn(*s.AdditionalProperties.Schema)
	}
	return n
}

// stripped is a schema without the plain ones among its properties, but for those that objects of any kind have, with one in their place where
// nothing else is left. isPlain: it is plain itself, as all below it is.
func stripped(s apiextensionsv1.JSONSchemaProps, root bool) (_ apiextensionsv1.JSONSchemaProps, isPlain bool) {
	if spoken(s) {
		return s, false
	}
	isPlain = quiet(s)
	if n := len(s.Properties); n > 0 {
		var less map[string]apiextensionsv1.JSONSchemaProps
		some := false
		for name := range s.Properties {
			of, plain := stripped(s.Properties[name], false)
			if plain && !(root && (name == "metadata" || name == "kind" || name == "apiVersion")) {
				some = true
				continue
			}
			isPlain = isPlain && plain
			if less == nil {
				less = map[string]apiextensionsv1.JSONSchemaProps{}
			}
			less[name] = of
		}
		if some && s.AdditionalProperties == nil && (!isPlain || root) {
			if less == nil {
				less = map[string]apiextensionsv1.JSONSchemaProps{"plain": {Type: "string"}}
			}
			s.Properties = less
		}
	}
	if s.Items != nil && s.Items.Schema != nil {
		of, plain := stripped(*s.Items.Schema, false)
		if isPlain = isPlain && plain; !plain && len(s.XListMapKeys) == 0 {
			s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &of}
		}
	}
	if a := s.AdditionalProperties; a != nil && a.Schema != nil {
		of, plain := stripped(*a.Schema, false)
		if isPlain = isPlain && plain; !plain {
			s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: a.Allows, Schema: &of}
		}
	}
	return s, isPlain
}

// spoken tells whether a schema says anything that has to do with the fields in it: defaults, expressions, alternatives.
func spoken(s apiextensionsv1.JSONSchemaProps) bool {
	return s.Default != nil || s.Example != nil || len(s.XValidations) > 0 || len(s.AllOf) > 0 || len(s.AnyOf) > 0 || len(s.OneOf) > 0 || s.Not != nil || s.XEmbeddedResource
}

// quiet tells whether a schema says of what type something is and nothing else, but for words for those who read it and what is below it.
func quiet(s apiextensionsv1.JSONSchemaProps) bool {
	if s.ID != "" || s.Schema != "" || s.Ref != nil || s.Format != "" || s.Maximum != nil || s.ExclusiveMaximum || s.Minimum != nil || s.ExclusiveMinimum ||
		s.MaxLength != nil || s.MinLength != nil || s.Pattern != "" || s.MaxItems != nil || s.MinItems != nil || s.UniqueItems || s.MultipleOf != nil || s.Enum != nil ||
		s.MaxProperties != nil || s.MinProperties != nil || s.Required != nil || s.AllOf != nil || s.OneOf != nil || s.AnyOf != nil || s.PatternProperties != nil ||
		s.Dependencies != nil || s.AdditionalItems != nil || s.Definitions != nil || s.ExternalDocs != nil || s.Nullable || s.XPreserveUnknownFields != nil || s.XIntOrString ||
		s.XListMapKeys != nil || s.XListType != nil || s.XMapType != nil || s.XValidations != nil {
		return false
	}
	switch s.Type {
	case "string", "integer", "number", "boolean":
		return s.Properties == nil && s.Items == nil && s.AdditionalProperties == nil
	case "object":
		return s.Items == nil && (s.AdditionalProperties == nil || s.Properties == nil && s.AdditionalProperties.Schema != nil)
	case "array":
		return s.Properties == nil && s.AdditionalProperties == nil && s.Items != nil && s.Items.Schema != nil && s.Items.JSONSchemas == nil
	}
	return false
}
