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

// laborious complains about a definition whose schemas are nested too deep, or whose rules would take too long to compile. Upstream bounds what they cost to evaluate and not how many
// they are: 10,000 take it more than ten seconds.
func laborious(d *definition) field.ErrorList {
	var l labor
	for n, v := range d.Spec.Versions {
		if s := schemaOf(v); s != nil {
			l.of(*s, 0)
		}
		at := field.NewPath("spec", "versions").Index(n).Child("schema", "openAPIV3Schema")
		if l.deep {
			return field.ErrorList{field.Invalid(at, field.OmitValueType{}, fmt.Sprintf("schemas must not be nested more than %d levels deep", mostNested))}
		}
		if l.work > mostRules {
			return field.ErrorList{field.Invalid(at, field.OmitValueType{},
				fmt.Sprintf("x-kubernetes-validations up to here have too many places, words and signs to be compiled: %d, at most %d", l.work, mostRules))}
		}
	}
	return nil
}

// mostNested is how many schemas may be in one another: what looks at them needs 14 KB of stack for each.
const mostNested = 1000

// labor is the work of all rules in schemas, and whether some are nested too deep.
type labor struct {
	work int
	deep bool
}

// of looks at a schema, which comes by value as maps have it: a pointer to each would be a copy of each.
func (l *labor) of(s apiextensionsv1.JSONSchemaProps, depth int) {
	if depth > mostNested || l.deep {
		l.deep = true
		return
	}
	if len(s.XValidations) > 0 {
		l.work += perPlace
		for _, r := range s.XValidations {
			l.work += api.Work(r.Rule) + api.Work(r.MessageExpression)
		}
	}
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for n := range list {
			l.of(list[n], depth+1)
		}
	}
	if s.Not != nil {
		l.of(*s.Not, depth+1)
	}
	if s.Items != nil {
		for n := range s.Items.JSONSchemas {
			l.of(s.Items.JSONSchemas[n], depth+1)
		}
		if s.Items.Schema != nil {
			l.of(*s.Items.Schema, depth+1)
		}
	}
	for _, o := range []*apiextensionsv1.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if o != nil && o.Schema != nil {
			l.of(*o.Schema, depth+1)
		}
	}
	for _, m := range []map[string]apiextensionsv1.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for name := range m {
			l.of(m[name], depth+1)
		}
	}
}
