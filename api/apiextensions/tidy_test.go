package apiextensions

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Values are kept in one form wherever they stand in a schema, but for schemas that the stored definition has too.
func TestTidy(t *testing.T) {
	raw := func(text string) *apiextensionsv1.JSON { return &apiextensionsv1.JSON{Raw: []byte(text)} }
	of := func(text string) *definition {
		leaf := apiextensionsv1.JSONSchemaProps{Default: raw(text), Enum: []apiextensionsv1.JSON{*raw(text)}}
		s := apiextensionsv1.JSONSchemaProps{Example: raw(text), Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": leaf},
			Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &leaf}, AnyOf: []apiextensionsv1.JSONSchemaProps{leaf}, Not: &leaf,
			AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &leaf}}
		return &definition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &s}}}}}
	}
	all := func(d *definition) (out []string) {
		s := d.Spec.Versions[0].Schema.OpenAPIV3Schema
		out = append(out, string(s.Example.Raw))
		for _, leaf := range []apiextensionsv1.JSONSchemaProps{s.Properties["a"], *s.Items.Schema, s.AnyOf[0], *s.Not, *s.AdditionalProperties.Schema} {
			out = append(out, string(leaf.Default.Raw), string(leaf.Enum[0].Raw))
		}
		return out
	}
	for sent, want := range map[string]string{
		`{ "b": 1, "a": [1, 2.50, "x <y>"] }`: `{"a":[1,2.50,"x <y>"],"b":1}`,
		`"a b"`:                               `"a b"`,
		"1e3":                                 "1e3",
		"[1, \n2]":                            "[1,2]",
		"{ not JSON":                          "{ not JSON",
	} {
		d := of(sent)
		tidy(d, nil)
		for _, got := range all(d) {
			if got != want {
				t.Errorf("%s became %s, want %s", sent, got, want)
			}
		}
		shared := of(sent)
		tidy(shared, shared)
		if got := all(shared)[0]; got != sent {
			t.Errorf("a shared schema: %s became %s", sent, got)
		}
	}
}
