package crd

import (
	"math"
	"reflect"
	"regexp"
	"slices"
	"sync"
	"unicode/utf8"
	"unsafe"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// The published validator makes some two kilobytes of each value that it looks at. Nearly all values are as their schema has them, which
// a walk over them can tell; it alone says what is wrong with the rest.

// fitting tells of values that they are as their schema has them. Patterns are compiled once.
type fitting struct{ patterns sync.Map }

// mostWrong is how many values of an object the published validator looks at: no client is told of so many.
const mostWrong = 2000

// fits tells whether the published validator would have nothing to say of a value, as far as that is easy to tell: false says nothing.
func (f *fitting) fits(v any, s spec.Schema) bool {
	if s.Not != nil || len(s.OneOf) > 0 || len(s.PatternProperties) > 0 || len(s.Dependencies) > 0 || s.MultipleOf != nil || s.UniqueItems || s.AdditionalItems != nil ||
		len(s.Type) == 0 && s.Format != "" {
		return false
	}
	if v == nil {
		return len(s.Enum) == 0 && len(s.AllOf) == 0 && len(s.AnyOf) == 0 && (len(s.Type) == 0 || s.Nullable)
	}
	if len(s.Enum) > 0 {
		text, ok := v.(string)
		if !ok || !slices.ContainsFunc(s.Enum, func(e any) bool { return e == any(text) }) {
			return false
		}
	}
	of := func(kind string) bool { return len(s.Type) == 0 || s.Type.Contains(kind) }
	switch v := v.(type) {
	case bool:
		if !of("boolean") {
			return false
		}
	case string:
		if !of("string") || !f.text(v, &s) {
			return false
		}
	case int64:
		if !of("integer") && !of("number") || s.Format == "int32" && int64(int32(v)) != v || !inBounds(float64(v), &s) {
			return false
		}
	case float64:
		if !of("number") || !inBounds(v, &s) {
			return false
		}
	case []any:
		n := int64(len(v))
		if !of("array") || s.MinItems != nil && n < *s.MinItems || s.MaxItems != nil && n > *s.MaxItems {
			return false
		}
		if s.Items != nil {
			if s.Items.Schema == nil {
				return false
			}
			for _, item := range v {
				if !f.fits(item, *s.Items.Schema) {
					return false
				}
			}
		}
	case map[string]any:
		if !of("object") || !f.object(v, s) {
			return false
		}
	default:
		return false
	}
	for n := range s.AllOf {
		if !f.fits(v, s.AllOf[n]) {
			return false
		}
	}
	for n := range s.AnyOf {
		if f.fits(v, s.AnyOf[n]) {
			return true
		}
	}
	return len(s.AnyOf) == 0
}

func (f *fitting) object(v map[string]any, s spec.Schema) bool {
	n := int64(len(v))
	if s.MinProperties != nil && n < *s.MinProperties || s.MaxProperties != nil && n > *s.MaxProperties || s.AdditionalProperties != nil && !s.AdditionalProperties.Allows {
		return false
	}
	for _, key := range s.Required {
		if _, ok := v[key]; !ok {
			return false
		}
	}
	for key, v := range v {
		_, ok := s.Properties[key]
		switch {
		case ok:
			if !f.fits(v, s.Properties[key]) { // by value, as the map has it: a pointer to each would be a copy of each
				return false
			}
		case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
			if !f.fits(v, *s.AdditionalProperties.Schema) {
				return false
			}
		}
	}
	return true
}

func (f *fitting) text(v string, s *spec.Schema) bool {
	if s.MinLength != nil || s.MaxLength != nil {
		n := int64(utf8.RuneCountInString(v))
		if s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			return false
		}
	}
	if s.Pattern != "" {
		p, ok := f.patterns.Load(s.Pattern)
		if !ok {
			compiled, err := regexp.Compile(s.Pattern)
			if err != nil {
				return false
			}
			p, _ = f.patterns.LoadOrStore(s.Pattern, compiled)
		}
		if !p.(*regexp.Regexp).MatchString(v) {
			return false
		}
	}
	return s.Format == "" || !strfmt.Default.ContainsName(s.Format) || strfmt.Default.Validates(s.Format, v)
}

// inBounds tells whether a number is within bounds that are integers, where no two ways to compare them differ.
func inBounds(v float64, s *spec.Schema) bool {
	const exact = 1 << 53
	switch s.Format {
	case "", "int32", "int64", "double":
	default:
		return false
	}
	for _, bound := range []*float64{s.Minimum, s.Maximum} {
		if bound != nil && s.Format == "int32" && *bound != float64(int32(*bound)) { // which is an error of its own
			return false
		}
		if bound != nil && (math.Trunc(*bound) != *bound || math.Abs(*bound) > exact || math.Abs(v) > exact) {
			return false
		}
	}
	if s.Minimum != nil && (v < *s.Minimum || s.ExclusiveMinimum && v == *s.Minimum) {
		return false
	}
	return s.Maximum == nil || v < *s.Maximum || !s.ExclusiveMaximum && v == *s.Maximum
}

// sameJSON is reflect.DeepEqual of values of JSON, without its note of each map that it comes to, and at once for those that two objects share.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && a == b
	case int64:
		b, ok := b.(int64)
		return ok && a == b
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) || (a == nil) != (b == nil) {
			return false
		}
		if reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer() {
			return true
		}
		for key, v := range a {
			if of, ok := b[key]; !ok || !sameJSON(v, of) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) || (a == nil) != (b == nil) {
			return false
		}
		if unsafe.SliceData(a) == unsafe.SliceData(b) {
			return true
		}
		for n := range a {
			if !sameJSON(a[n], b[n]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b) // a float, a truth, nothing, or what has no business there
}

// place is where the published validator comes to in an object: it goes on where a value does not fit. What was there before and is
// as it was (was is not nil) is let be. It takes the place of the published ratcheting, which makes as much of each value.
type place struct {
	*looking
	schema *spec.Schema
	path   string
	was    func() *common.CorrelatedObject // nil: nothing to compare with
}

// looking is one look at one object.
type looking struct {
	fitting *fitting
	wrong   int // values that do not fit
}

// Validate implements validate.ValueValidator.
func (p *place) Validate(v any) *validate.Result {
	if p.wrong >= mostWrong || p.fitting.fits(v, *p.schema) {
		return nil
	}
	p.wrong++
	var was *common.CorrelatedObject
	if p.was != nil {
		was = p.was()
	}
	below := func(schema *spec.Schema, path string, of func() *common.CorrelatedObject) validate.ValueValidator {
		if was == nil {
			of = nil
		}
		return &place{looking: p.looking, schema: schema, path: path, was: of}
	}
	s := validate.NewSchemaValidator(p.schema, nil, p.path, strfmt.Default, func(o *validate.SchemaValidatorOptions) {
		o.NewValidatorForField = func(field string, schema *spec.Schema, _ any, path string, _ strfmt.Registry, _ ...validate.Option) validate.ValueValidator {
			if p.path == "" && (field == "kind" || field == "apiVersion") { // which an update does not show as they were
				return below(schema, path, nil)
			}
			return below(schema, path, func() *common.CorrelatedObject { return was.Key(field) })
		}
		o.NewValidatorForIndex = func(n int, schema *spec.Schema, _ any, path string, _ strfmt.Registry, _ ...validate.Option) validate.ValueValidator {
			return below(schema, path, func() *common.CorrelatedObject { return was.Index(n) })
		}
	})
	got := s.Validate(v)
	if !got.IsValid() && was != nil && was.CachedDeepEqual() {
		return nil
	}
	return got
}

// SetPath and Applies implement validate.ValueValidator.
func (p *place) SetPath(string)                 {}
func (p *place) Applies(any, reflect.Kind) bool { return true }

// whole is an object's place, as validation.ValidateCustomResource takes it.
type whole struct{ *place }

func (w whole) Validate(v any, _ ...validation.ValidationOption) *validate.Result {
	if got := w.place.Validate(v); got != nil {
		return got
	}
	return &validate.Result{}
}
