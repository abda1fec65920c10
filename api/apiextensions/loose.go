package apiextensions

import (
	"encoding/json"
	"maps"
	"reflect"
	"unsafe"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/lighter-k8s/lighter/api/equal"
)

// Versions out of JSON without a type, as apimachinery's converter makes them, which takes twice as much for maps of schemas.

// readVersions gives a definition that has the versions in a list; not ok: that is left to the converter, as are errors. exact: made JSON again,
// they are the list.
func readVersions(list []any) (d *definition, exact, ok bool) {
	l := loose{exact: true}
	d = &definition{}
	d.Spec.Versions = make([]apiextensionsv1.CustomResourceDefinitionVersion, len(list))
	for n := range list {
		l.version(&d.Spec.Versions[n], list[n])
	}
	return d, l.exact, !l.bad
}

// loose reads JSON without a type. What is null is not there.
type loose struct {
	exact, bad bool
}

func (l *loose) version(v *apiextensionsv1.CustomResourceDefinitionVersion, in any) {
	m, ok := in.(map[string]any)
	validation, is := m["schema"].(map[string]any)
	s, has := validation["openAPIV3Schema"].(map[string]any)
	if !ok || !is || !has || len(validation) != 1 {
		l.bad = true
		return
	}
	m = maps.Clone(m)
	m["schema"] = map[string]any{"openAPIV3Schema": map[string]any{}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, v); err != nil {
		l.bad = true
		return
	}
	back, err := runtime.DefaultUnstructuredConverter.ToUnstructured(v)
	if err != nil {
		l.bad = true
		return
	}
	l.exact = l.exact && value.Equals(value.NewValueInterface(back), value.NewValueInterface(m))
	l.schema(v.Schema.OpenAPIV3Schema, s)
}

func (l *loose) schema(s *schema, in map[string]any) {
	for key, v := range in {
		if v == nil {
			l.exact = false
			continue
		}
		switch key {
		case "id":
			text(l, &s.ID, v)
		case "$schema":
			text(l, &s.Schema, v)
		case "$ref":
			maybe(l, &s.Ref, v)
		case "description":
			text(l, &s.Description, v)
		case "type":
			text(l, &s.Type, v)
		case "format":
			text(l, &s.Format, v)
		case "title":
			text(l, &s.Title, v)
		case "default":
			s.Default = l.json(v)
		case "maximum":
			s.Maximum = l.number(v)
		case "exclusiveMaximum":
			l.flag(&s.ExclusiveMaximum, v)
		case "minimum":
			s.Minimum = l.number(v)
		case "exclusiveMinimum":
			l.flag(&s.ExclusiveMinimum, v)
		case "maxLength":
			maybe(l, &s.MaxLength, v)
		case "minLength":
			maybe(l, &s.MinLength, v)
		case "pattern":
			text(l, &s.Pattern, v)
		case "maxItems":
			maybe(l, &s.MaxItems, v)
		case "minItems":
			maybe(l, &s.MinItems, v)
		case "uniqueItems":
			l.flag(&s.UniqueItems, v)
		case "multipleOf":
			s.MultipleOf = l.number(v)
		case "enum":
			s.Enum = list(l, v, func(to *apiextensionsv1.JSON, v any) { *to = *l.json(v) })
		case "maxProperties":
			maybe(l, &s.MaxProperties, v)
		case "minProperties":
			maybe(l, &s.MinProperties, v)
		case "required":
			s.Required = l.texts(v)
		case "items":
			s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: l.another(v)}
		case "allOf":
			s.AllOf = list(l, v, l.of)
		case "oneOf":
			s.OneOf = list(l, v, l.of)
		case "anyOf":
			s.AnyOf = list(l, v, l.of)
		case "not":
			s.Not = l.another(v)
		case "properties":
			s.Properties = l.named(v)
		case "additionalProperties":
			s.AdditionalProperties = l.either(v)
		case "patternProperties":
			s.PatternProperties = l.named(v)
		case "additionalItems":
			s.AdditionalItems = l.either(v)
		case "definitions":
			s.Definitions = l.named(v)
		case "example":
			s.Example = l.json(v)
		case "nullable":
			l.flag(&s.Nullable, v)
		case "x-kubernetes-preserve-unknown-fields":
			maybe(l, &s.XPreserveUnknownFields, v)
		case "x-kubernetes-embedded-resource":
			l.flag(&s.XEmbeddedResource, v)
		case "x-kubernetes-int-or-string":
			l.flag(&s.XIntOrString, v)
		case "x-kubernetes-list-map-keys":
			s.XListMapKeys = l.texts(v)
		case "x-kubernetes-list-type":
			maybe(l, &s.XListType, v)
		case "x-kubernetes-map-type":
			maybe(l, &s.XMapType, v)
		case "x-kubernetes-validations":
			s.XValidations = list(l, v, l.rule)
		default: // dependencies and externalDocs too, which no structural schema has
			l.bad = true
		}
	}
}

func (l *loose) rule(r *apiextensionsv1.ValidationRule, in any) {
	m, ok := in.(map[string]any)
	if _, said := m["rule"].(string); !ok || !said {
		l.bad = true
		return
	}
	for key, v := range m {
		if v == nil {
			l.exact = false
			continue
		}
		switch key {
		case "rule":
			r.Rule = m["rule"].(string)
		case "message":
			text(l, &r.Message, v)
		case "messageExpression":
			text(l, &r.MessageExpression, v)
		case "reason":
			var reason *string
			maybe(l, &reason, v)
			r.Reason = (*apiextensionsv1.FieldValueErrorReason)(reason)
		case "fieldPath":
			text(l, &r.FieldPath, v)
		case "optionalOldSelf":
			maybe(l, &r.OptionalOldSelf, v)
		default:
			l.bad = true
		}
	}
}

// text reads one that is not written where it is empty.
func text[T ~string](l *loose, to *T, v any) {
	s, ok := v.(string)
	*to, l.bad, l.exact = T(s), l.bad || !ok, l.exact && s != ""
}

func (l *loose) flag(to *bool, v any) {
	b, ok := v.(bool)
	*to, l.bad, l.exact = b, l.bad || !ok, l.exact && b
}

func maybe[T any](l *loose, to **T, v any) {
	of, ok := v.(T)
	*to, l.bad = &of, l.bad || !ok
}

func (l *loose) number(v any) *float64 {
	switch v := v.(type) {
	case int64:
		f := float64(v)
		return &f
	case float64:
		return &v
	}
	l.bad = true
	return nil
}

// json is a value of any kind.
func (l *loose) json(v any) *apiextensionsv1.JSON {
	if v == nil {
		return &apiextensionsv1.JSON{}
	}
	raw, err := json.Marshal(v)
	l.bad = l.bad || err != nil
	return &apiextensionsv1.JSON{Raw: raw}
}

// list reads one that is not written where it is empty.
func list[T any](l *loose, v any, each func(to *T, v any)) []T {
	items, ok := v.([]any)
	l.bad, l.exact = l.bad || !ok, l.exact && len(items) > 0
	out := make([]T, len(items))
	for n := range items {
		each(&out[n], items[n])
	}
	return out
}

func (l *loose) texts(v any) []string {
	return list(l, v, func(to *string, v any) {
		s, ok := v.(string)
		*to, l.bad = s, l.bad || !ok
	})
}

func (l *loose) of(s *schema, v any) {
	m, ok := v.(map[string]any)
	l.bad = l.bad || !ok
	l.schema(s, m)
}

func (l *loose) another(v any) *schema {
	s := &schema{}
	l.of(s, v)
	return s
}

func (l *loose) either(v any) *apiextensionsv1.JSONSchemaPropsOrBool {
	if allows, ok := v.(bool); ok {
		return &apiextensionsv1.JSONSchemaPropsOrBool{Allows: allows}
	}
	return &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: l.another(v)}
}

func (l *loose) named(v any) map[string]schema {
	m, ok := v.(map[string]any)
	l.bad, l.exact = l.bad || !ok, l.exact && len(m) > 0
	out := make(map[string]schema, len(m))
	var s schema // of all: each is copied into the map
	for name, v := range m {
		s = schema{}
		l.of(&s, v)
		out[name] = s
	}
	return out
}

// sameJSON compares what stands for the same JSON: values within schemas may be written in several ways.
var sameJSON = equal.Rules{Others: reflect.DeepEqual, Special: map[reflect.Type]equal.Comparison{
	reflect.TypeFor[apiextensionsv1.JSON](): func(a, b unsafe.Pointer) bool {
		x, y := (*apiextensionsv1.JSON)(a).Raw, (*apiextensionsv1.JSON)(b).Raw
		if string(x) == string(y) {
			return true
		}
		var v, w any
		return len(x) > 0 && len(y) > 0 && kjson.UnmarshalCaseSensitivePreserveInts(x, &v) == nil && kjson.UnmarshalCaseSensitivePreserveInts(y, &w) == nil &&
			value.Equals(value.NewValueInterface(v), value.NewValueInterface(w))
	},
}}

// sameVersions tells whether two definitions' versions are the same as JSON has them.
func sameVersions(a, b *definition) bool {
	return sameJSON.Of(reflect.TypeFor[[]apiextensionsv1.CustomResourceDefinitionVersion]())(unsafe.Pointer(&a.Spec.Versions), unsafe.Pointer(&b.Spec.Versions))
}

// takeVersions gives a definition the versions of another one, whose schemas it shares.
func takeVersions(to, from *definition) {
	of := definition{}
	of.Spec.Versions = from.Spec.Versions
	to.Spec.Versions = copied(&of).Spec.Versions
}
