package apiextensions

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api/equal"
)

// internal is the form that the published rules look at.
type internal = apiextensions.CustomResourceDefinition

// by applies published rules, which only read; old may be nil. What they are given shares the definitions' memory.
func by(d, old *definition, rules func(ctx context.Context, d, old *internal) field.ErrorList) (errs field.ErrorList) {
	// The published rules fail at selectable fields of a schema that they found not to be structural.
	defer func() {
		if r := recover(); r != nil {
			errs = field.ErrorList{field.Invalid(field.NewPath("spec", "versions"), field.OmitValueType{}, fmt.Sprintf("cannot be checked: %v", r))}
		}
	}()
	var in [2]*internal
	for n, one := range []*definition{d, old} {
		if one == nil {
			continue
		}
		var err error
		// What is JSON within a definition may be none where it came as protobuf.
		if in[n], err = toInternal(bare(one, manySchemas)); err != nil {
			return field.ErrorList{field.Invalid(field.NewPath("spec"), field.OmitValueType{}, err.Error())}
		}
	}
	return rules(context.Background(), in[0], in[1])
}

// unchanged tells whether both have the same versions with schemas that were valid when they came: nothing new is to be said
// of these, which are nearly all of a definition.
func unchanged(d, old *definition) bool {
	if d.Spec.PreserveUnknownFields || old.Spec.PreserveUnknownFields || !equal.Semantic(&d.Spec.Versions, &old.Spec.Versions) {
		return false
	}
	for _, c := range old.Status.Conditions {
		if c.Type == apiextensionsv1.NonStructuralSchema {
			return false
		}
	}
	for _, v := range d.Spec.Versions {
		if len(v.SelectableFields) > 0 || schemaOf(v) == nil {
			return false
		}
	}
	return true
}

// plainly is the definition with schemas that say nothing.
func plainly(d *definition) *definition {
	out := *d
	out.Spec.Versions = slices.Clone(d.Spec.Versions)
	for n := range out.Spec.Versions {
		out.Spec.Versions[n].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}
	}
	return &out
}

// toInternal is the published conversion. Of schemas, of which that makes several copies, it is given but a mark, in place of
// which the schema comes in the end.
func toInternal(d *definition) (*internal, error) {
	marked := *d
	marked.Spec.Versions = slices.Clone(d.Spec.Versions)
	for n := range marked.Spec.Versions {
		if v := &marked.Spec.Versions[n]; schemaOf(*v) != nil {
			v.Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{ID: strconv.Itoa(n)}}
		}
	}
	out := &internal{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&marked, out, nil); err != nil {
		return nil, err
	}
	versions := out.Spec.Versions
	if len(versions) == 1 && schemaOf(d.Spec.Versions[0]) != nil { // what all versions have is the definition's
		var err error
		out.Spec.Validation.OpenAPIV3Schema, err = Schema(schemaOf(d.Spec.Versions[0]))
		return out, err
	}
	alike := true
	for n := range versions {
		in := schemaOf(d.Spec.Versions[n])
		if in == nil {
			alike = false
			continue
		}
		var err error
		if versions[n].Schema.OpenAPIV3Schema, err = Schema(in); err != nil {
			return nil, err
		}
		alike = alike && equal.Semantic(versions[0].Schema, versions[n].Schema)
	}
	if alike && len(versions) > 0 {
		out.Spec.Validation = versions[0].Schema
		for n := range versions {
			versions[n].Schema = nil
		}
	}
	return out, nil
}

func schemaOf(v apiextensionsv1.CustomResourceDefinitionVersion) *apiextensionsv1.JSONSchemaProps {
	if v.Schema == nil {
		return nil
	}
	return v.Schema.OpenAPIV3Schema
}

// Schema gives a schema in the form that the published packages look at, which shares in's memory.
func Schema(in *apiextensionsv1.JSONSchemaProps) (*apiextensions.JSONSchemaProps, error) {
	var c schemas
	out := &apiextensions.JSONSchemaProps{}
	return out, c.convert(in, out)
}

// schemas converts schemas: level by level, since the published conversion copies each of the large structs thrice.
type schemas struct {
	flat apiextensionsv1.JSONSchemaProps
}

func (c *schemas) convert(in *apiextensionsv1.JSONSchemaProps, out *apiextensions.JSONSchemaProps) error {
	c.flat = *in
	c.flat.Properties, c.flat.PatternProperties, c.flat.Items, c.flat.AdditionalProperties = nil, nil, nil, nil
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&c.flat, out, nil); err != nil {
		return err
	}
	var err error
	if out.Properties, err = c.named(in.Properties); err != nil {
		return err
	}
	if out.PatternProperties, err = c.named(in.PatternProperties); err != nil {
		return err
	}
	if a := in.AdditionalProperties; a != nil {
		out.AdditionalProperties = &apiextensions.JSONSchemaPropsOrBool{Allows: a.Allows}
		if a.Schema != nil {
			out.AdditionalProperties.Schema = &apiextensions.JSONSchemaProps{}
			if err := c.convert(a.Schema, out.AdditionalProperties.Schema); err != nil {
				return err
			}
		}
	}
	if a := in.Items; a != nil {
		out.Items = &apiextensions.JSONSchemaPropsOrArray{}
		if a.Schema != nil {
			out.Items.Schema = &apiextensions.JSONSchemaProps{}
			if err := c.convert(a.Schema, out.Items.Schema); err != nil {
				return err
			}
		}
		if a.JSONSchemas != nil {
			out.Items.JSONSchemas = make([]apiextensions.JSONSchemaProps, len(a.JSONSchemas))
			for n := range a.JSONSchemas {
				if err := c.convert(&a.JSONSchemas[n], &out.Items.JSONSchemas[n]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *schemas) named(in map[string]apiextensionsv1.JSONSchemaProps) (map[string]apiextensions.JSONSchemaProps, error) {
	if in == nil {
		return nil, nil
	}
	out := make(map[string]apiextensions.JSONSchemaProps, len(in))
	var to apiextensions.JSONSchemaProps // of all: each is copied into the map
	for name, of := range in {
		to = apiextensions.JSONSchemaProps{}
		if err := c.convert(&of, &to); err != nil {
			return nil, err
		}
		out[name] = to
	}
	return out, nil
}
