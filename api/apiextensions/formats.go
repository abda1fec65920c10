package apiextensions

import (
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	published "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// release is the Kubernetes whose formats are known.
var release = version.MajorMinor(1, 37)

// warnings tell of formats in schemas that nothing is held against, each once; of those that were in the old definition nothing is said.
func warnings(d, old *definition) (out []string) {
	said := map[string]bool{}
	if old != nil {
		for _, f := range unknownFormats(old) {
			said[f] = true
		}
	}
	for _, f := range unknownFormats(d) {
		if !said[f] {
			said[f] = true
			out = append(out, fmt.Sprintf("unrecognized format %q", f))
		}
	}
	return out
}

// unknownFormats are the formats in all versions' schemas that are unknown for the type that they stand at, in order.
func unknownFormats(d *definition) (out []string) {
	for _, v := range d.Spec.Versions {
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			within(*v.Schema.OpenAPIV3Schema, func(format, kind string) {
				of := spec.Schema{SchemaProps: spec.SchemaProps{Format: format}}
				if kind != "" {
					of.Type = spec.StringOrArray{kind}
				}
				out = append(out, published.GetUnrecognizedFormats(&of, release)...)
			})
		}
	}
	return out
}

// within visits the formats, with the types that they stand at, of a schema and all that structural schemas may have below it, those of
// properties by their names' order. Schemas come by value, as maps have them.
func within(s apiextensionsv1.JSONSchemaProps, visit func(format, kind string)) {
	if s.Format != "" {
		visit(s.Format, s.Type)
	}
	if len(s.Properties) > 0 {
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			within(s.Properties[name], visit)
		}
	}
	if s.Items != nil && s.Items.Schema != nil {
		within(*s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		within(*s.AdditionalProperties.Schema, visit)
	}
	for _, all := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for n := range all {
			within(all[n], visit)
		}
	}
	if s.Not != nil {
		within(*s.Not, visit)
	}
}
