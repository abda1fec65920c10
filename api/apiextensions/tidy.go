package apiextensions

import (
	"bytes"
	"encoding/json"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// tidy writes the values within a definition's schemas (defaults, examples, enums) in one form, whatever form the client sent: a
// definition that says the same in other words has not changed. Schemas that old has too are everybody's, and stay.
func tidy(d, old *definition) {
	for _, v := range d.Spec.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil || old != nil && slices.ContainsFunc(old.Spec.Versions, func(was apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return was.Schema == v.Schema || was.Schema != nil && was.Schema.OpenAPIV3Schema == v.Schema.OpenAPIV3Schema
		}) {
			continue
		}
		tidySchema(*v.Schema.OpenAPIV3Schema)
	}
}

func tidySchema(s apiextensionsv1.JSONSchemaProps) {
	for _, value := range []*apiextensionsv1.JSON{s.Default, s.Example} {
		if value != nil {
			value.Raw = tidyValue(value.Raw)
		}
	}
	for n := range s.Enum {
		s.Enum[n].Raw = tidyValue(s.Enum[n].Raw)
	}
	for _, named := range []map[string]apiextensionsv1.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for _, of := range named {
			tidySchema(of)
		}
	}
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.OneOf, s.AnyOf} {
		for n := range list {
			tidySchema(list[n])
		}
	}
	if s.Not != nil {
		tidySchema(*s.Not)
	}
	for _, of := range []*apiextensionsv1.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if of != nil && of.Schema != nil {
			tidySchema(*of.Schema)
		}
	}
	if s.Items != nil && s.Items.Schema != nil {
		tidySchema(*s.Items.Schema)
	}
}

// tidyValue is JSON without white space and with its keys in order, as Kubernetes 1.37 keeps it.
func tidyValue(raw []byte) []byte {
	if !bytes.ContainsAny(raw, " \t\r\n{") {
		return raw
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil { // which is said elsewhere
		return raw
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return raw
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
