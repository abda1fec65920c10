package crd

import (
	"errors"
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

// fitting is what is compiled of a schema's patterns and long enumerations, once.
type fitting struct{ patterns, enums sync.Map }

// Bounds of what is done for one object. The first is a matter of what clients are told, the second of what it takes: alternatives and values
// of an enumeration count as often as they are looked at. A step takes about 0.1 us.
const (
	mostWrong = 300
	mostSteps = 5_000_000
)

// verdict is what a walk over a value can tell of what the published validator would say.
type verdict int8

const (
	unknown verdict = iota
	fits            // nothing
	unfit           // something
)

func either(fit bool) verdict {
	if fit {
		return fits
	}
	return unfit
}

// judge tells whether the published validator would have something to say of a value, as far as that is easy to tell.
func (l *looking) judge(v any, s spec.Schema) verdict {
	if l.steps++; l.steps > mostSteps {
		return unknown
	}
	if len(s.PatternProperties) > 0 || len(s.Dependencies) > 0 || s.MultipleOf != nil || s.UniqueItems || s.AdditionalItems != nil || len(s.Type) == 0 && s.Format != "" {
		return unknown
	}
	if v == nil {
		if len(s.Enum) == 0 && len(s.AllOf) == 0 && len(s.AnyOf) == 0 && len(s.OneOf) == 0 && s.Not == nil && (len(s.Type) == 0 || s.Nullable) {
			return fits
		}
		return unknown
	}
	if len(s.Enum) > 0 {
		text, ok := v.(string)
		if !ok {
			return unknown
		}
		if !l.listed(text, s.Enum) {
			return unfit
		}
	}
	got := l.alone(v, &s)
	if got != fits {
		return got
	}
	for n := range s.AllOf {
		if got := l.judge(v, s.AllOf[n]); got != fits {
			return got
		}
	}
	if len(s.AnyOf) > 0 {
		if n, sure := l.count(v, s.AnyOf, 1); n == 0 {
			return either(false).unless(!sure)
		}
	}
	if len(s.OneOf) > 0 {
		n, sure := l.count(v, s.OneOf, 2)
		if got := either(n == 1).unless(!sure && n < 2); got != fits {
			return got
		}
	}
	if s.Not != nil {
		switch l.judge(v, *s.Not) {
		case fits:
			return unfit
		case unknown:
			return unknown
		}
	}
	return fits
}

// unless is the verdict, or that it is unknown.
func (v verdict) unless(unsure bool) verdict {
	if unsure {
		return unknown
	}
	return v
}

// count tells how many of alternatives a value fits, up to a number that is enough, and whether that is known of all.
func (l *looking) count(v any, of []spec.Schema, enough int) (n int, sure bool) {
	sure = true
	for i := range of {
		switch l.judge(v, of[i]) {
		case fits:
			if n++; n == enough {
				return n, sure
			}
		case unknown:
			sure = false
		}
	}
	return n, sure
}

// listed tells whether an enumeration has a text.
func (l *looking) listed(text string, enum []any) bool {
	if len(enum) <= 16 {
		return slices.ContainsFunc(enum, func(e any) bool { return e == any(text) })
	}
	at := unsafe.SliceData(enum)
	known, ok := l.fitting.enums.Load(at)
	if !ok {
		all := make(map[string]bool, len(enum))
		for _, e := range enum {
			if e, ok := e.(string); ok {
				all[e] = true
			}
		}
		known, _ = l.fitting.enums.LoadOrStore(at, all)
	}
	return known.(map[string]bool)[text]
}

// alone holds a value against what a schema says without its alternatives.
func (l *looking) alone(v any, s *spec.Schema) verdict {
	of := func(kind string) bool { return len(s.Type) == 0 || s.Type.Contains(kind) }
	// other is for a value whose type is not among those there may be.
	other := either(false).unless(s.Format != "" || s.Nullable)
	switch v := v.(type) {
	case bool:
		if !of("boolean") {
			return other
		}
	case string:
		if !of("string") {
			return other
		}
		return l.text(v, s)
	case int64:
		if !of("integer") && !of("number") || s.Format == "int32" && int64(int32(v)) != v {
			return unknown
		}
		return inBounds(float64(v), s)
	case float64:
		if !of("number") {
			return unknown
		}
		return inBounds(v, s)
	case []any:
		if !of("array") {
			return other
		}
		if n := int64(len(v)); s.MinItems != nil && n < *s.MinItems || s.MaxItems != nil && n > *s.MaxItems {
			return unfit
		}
		if s.Items == nil {
			return fits
		}
		if s.Items.Schema == nil {
			return unknown
		}
		for _, item := range v {
			if got := l.judge(item, *s.Items.Schema); got != fits {
				return got
			}
		}
	case map[string]any:
		if !of("object") {
			return other
		}
		return l.object(v, s)
	default:
		return unknown
	}
	return fits
}

func (l *looking) object(v map[string]any, s *spec.Schema) verdict {
	if s.AdditionalProperties != nil && !s.AdditionalProperties.Allows {
		return unknown
	}
	if n := int64(len(v)); s.MinProperties != nil && n < *s.MinProperties || s.MaxProperties != nil && n > *s.MaxProperties {
		return unfit
	}
	for _, key := range s.Required {
		if _, ok := v[key]; !ok {
			return unfit
		}
	}
	for key, v := range v {
		got := fits
		if _, ok := s.Properties[key]; ok {
			got = l.judge(v, s.Properties[key]) // by value, as the map has it: a pointer to each would be a copy of each
		} else if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
			got = l.judge(v, *s.AdditionalProperties.Schema)
		}
		if got != fits {
			return got
		}
	}
	return fits
}

func (l *looking) text(v string, s *spec.Schema) verdict {
	if s.MinLength != nil || s.MaxLength != nil {
		n := int64(utf8.RuneCountInString(v))
		if s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			return unfit
		}
	}
	if s.Pattern != "" {
		p, ok := l.fitting.patterns.Load(s.Pattern)
		if !ok {
			compiled, err := regexp.Compile(s.Pattern)
			if err != nil {
				return unknown
			}
			p, _ = l.fitting.patterns.LoadOrStore(s.Pattern, compiled)
		}
		if !p.(*regexp.Regexp).MatchString(v) {
			return unfit
		}
	}
	return either(s.Format == "" || !strfmt.Default.ContainsName(s.Format) || strfmt.Default.Validates(s.Format, v))
}

// inBounds tells whether a number is within bounds that are integers, where no two ways to compare them differ.
func inBounds(v float64, s *spec.Schema) verdict {
	const exact = 1 << 53
	switch s.Format {
	case "", "int32", "int64", "double":
	default:
		return unknown
	}
	for _, bound := range []*float64{s.Minimum, s.Maximum} {
		if bound != nil && s.Format == "int32" && *bound != float64(int32(*bound)) { // which is an error of its own
			return unknown
		}
		if bound != nil && (math.Trunc(*bound) != *bound || math.Abs(*bound) > exact || math.Abs(v) > exact) {
			return unknown
		}
	}
	if s.Minimum != nil && (v < *s.Minimum || s.ExclusiveMinimum && v == *s.Minimum) {
		return unfit
	}
	return either(s.Maximum == nil || v < *s.Maximum || !s.ExclusiveMaximum && v == *s.Maximum)
}

// weight is how much the published validator does for one value under a schema: what is below it in an object is not counted.
func weight(s *spec.Schema) int {
	n := 1 + len(s.Enum)/16
	for _, list := range [...][]spec.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			n += weight(&list[i])
		}
	}
	if s.Not != nil {
		n += weight(s.Not)
	}
	return n
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
	wrong   int // what was found wrong, by the weight of what its schema says
	steps   int
	left    bool // something was not looked at, for one or the other
}

// Validate implements validate.ValueValidator.
func (p *place) Validate(v any) *validate.Result {
	if p.left || p.judge(v, *p.schema) == fits {
		return nil
	}
	var was *common.CorrelatedObject
	if p.was != nil {
		if was = p.was(); was != nil && was.CachedDeepEqual() {
			return nil
		}
	}
	n := weight(p.schema)
	if p.steps += 16 * n; p.wrong > mostWrong || p.steps > mostSteps {
		p.left = true
		return nil
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
	if !got.IsValid() {
		p.wrong += 1 + n/16
	}
	return got
}

// SetPath and Applies implement validate.ValueValidator.
func (p *place) SetPath(string)                 {}
func (p *place) Applies(any, reflect.Kind) bool { return true }

// whole is an object's place, as validation.ValidateCustomResource takes it.
type whole struct{ *place }

func (w whole) Validate(v any, _ ...validation.ValidationOption) *validate.Result {
	got := w.place.Validate(v)
	if got == nil {
		got = &validate.Result{}
	}
	if w.left && (got.IsValid() || w.steps > mostSteps) {
		got.AddErrors(errors.New("not all of the object was held against its schema: it takes too many steps, or too many values do not fit"))
	}
	return got
}
