package apiextensions

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

const (
	// perPlace is the work of a schema that has rules, beside them: the types of what it describes are declared twice.
	perPlace = 80
	// mostRules bounds the rules of a definition: they take half a second of a processor. It is some five times what the largest definitions that
	// are in use have, such as the routes of the Gateway API.
	mostRules = 5 * api.MostWork
)

// laborious complains about a definition whose rules would take too long to compile. Upstream bounds what they cost to evaluate and not how many
// they are: 10,000 take it more than ten seconds.
func laborious(d *definition) field.ErrorList {
	work := 0
	for n, v := range d.Spec.Versions {
		if s := schemaOf(v); s != nil {
			work += rules(*s)
		}
		if work > mostRules {
			return field.ErrorList{field.Invalid(field.NewPath("spec", "versions").Index(n).Child("schema", "openAPIV3Schema"), field.OmitValueType{},
				fmt.Sprintf("x-kubernetes-validations up to here have too many places, words and signs to be compiled: %d, at most %d", work, mostRules))}
		}
	}
	return nil
}

// rules is the work of all rules in a schema, which comes by value as maps have it: a pointer to each would be a copy of each.
func rules(s apiextensionsv1.JSONSchemaProps) (work int) {
	if len(s.XValidations) > 0 {
		work = perPlace
		for _, r := range s.XValidations {
			work += api.Work(r.Rule) + api.Work(r.MessageExpression)
		}
	}
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for n := range list {
			work += rules(list[n])
		}
	}
	if s.Not != nil {
		work += rules(*s.Not)
	}
	if s.Items != nil {
		for n := range s.Items.JSONSchemas {
			work += rules(s.Items.JSONSchemas[n])
		}
		if s.Items.Schema != nil {
			work += rules(*s.Items.Schema)
		}
	}
	for _, o := range []*apiextensionsv1.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if o != nil && o.Schema != nil {
			work += rules(*o.Schema)
		}
	}
	for _, m := range []map[string]apiextensionsv1.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for name := range m {
			work += rules(m[name])
		}
	}
	return work
}
