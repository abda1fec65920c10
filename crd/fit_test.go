package crd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/common"
)

// TestFitsAsLibrary: of objects and changes at random, under schemas at random, all is said that the published validator says, and no more.
func TestFitsAsLibrary(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	rounds := 2000
	if os.Getenv("PROVE") != "" {
		rounds = 200000
	}
	fine, wrong, kept, open := 0, 0, 0, 0
	for range rounds {
		props := &apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{"spec": someSchema(r, 3), "kind": {Type: "string", MaxLength: new(int64)}}}
		s, err := structural.NewStructural(props)
		if err != nil {
			continue
		}
		library, schema, err := validation.NewSchemaValidator(props)
		if err != nil {
			t.Fatal(err)
		}
		var f fitting
		old := map[string]any{"kind": "A", "spec": someValue(r, props.Properties["spec"], 20)}
		now := map[string]any{"kind": "A", "spec": someValue(r, props.Properties["spec"], 8)}
		if r.IntN(3) > 0 { // mostly as it was
			now = map[string]any{"kind": "A", "spec": otherwise(r, props.Properties["spec"], old["spec"])}
		}
		correlated := func() *common.CorrelatedObject {
			return common.NewCorrelatedObject(now, old, &model.Structural{Structural: s})
		}
		compare := func(what string, got, want field.ErrorList) {
			t.Helper()
			if g, w := lines(got), lines(want); !slices.Equal(g, w) {
				b, _ := json.Marshal(props.Properties["spec"])
				n, _ := json.Marshal(now)
				o, _ := json.Marshal(old)
				t.Fatalf("LIGHTER_SEED=%d, %s: %s\nin %s\nwhich was %s\ngot  %q\nwant %q", seed, what, b, n, o, g, w)
			}
		}
		want := validation.ValidateCustomResource(nil, now, library)
		compare("create", validation.ValidateCustomResource(nil, now, whole{&place{looking: &looking{fitting: &f}, schema: schema}}), want)
		same := correlated()
		update := validation.ValidateCustomResourceUpdate(nil, now, old, library, validation.WithRatcheting(correlated()))
		compare("update", validation.ValidateCustomResource(nil, now, whole{&place{looking: &looking{fitting: &f}, schema: schema, was: func() *common.CorrelatedObject { return same }}}), update)
		said := (&looking{fitting: &f}).judge(now["spec"], schema.Properties["spec"])
		if said == fits && len(want) != 1 || said == unfit && len(want) == 1 { // what is wrong with its kind
			compare(fmt.Sprint("verdict ", said), nil, want)
		}
		if said == unknown {
			open++
		}
		switch {
		case said == fits:
			fine++
		case len(want) > len(update):
			kept++
		default:
			wrong++
		}
	}
	t.Logf("%d fit, %d do not, %d as before, %d unknown", fine, wrong, kept, open)
	if fine < rounds/20 || wrong < rounds/20 || kept < rounds/100 {
		t.Error("too few of a kind")
	}
}

// TestFitsToTheEnd: of very many values under alternatives the last one is looked at too, and what takes too much is not taken.
func TestFitsToTheEnd(t *testing.T) {
	var alternatives []apiextensions.JSONSchemaProps
	for n := range 1000 {
		alternatives = append(alternatives, apiextensions.JSONSchemaProps{Pattern: fmt.Sprintf("^%d$", n)})
	}
	integer := apiextensions.JSONSchemaProps{Type: "integer"}
	third := 3.0
	integer.MultipleOf = &third // which only the published validator tells
	for name, tt := range map[string]struct {
		item      apiextensions.JSONSchemaProps
		fit, last any
		want      string // of fit alone
	}{
		"one of":    {apiextensions.JSONSchemaProps{Type: "string", OneOf: []apiextensions.JSONSchemaProps{{Pattern: "^a"}, {Pattern: "b$"}}}, "a", "ab", ""},
		"not":       {apiextensions.JSONSchemaProps{Type: "string", Not: &apiextensions.JSONSchemaProps{Pattern: "^a"}}, "b", "a", ""},
		"multiples": {integer, int64(6), int64(7), ""},
		"too many":  {apiextensions.JSONSchemaProps{Type: "string", AnyOf: alternatives}, "999", "x", "not all of the object was held against its schema"},
	} {
		t.Run(name, func(t *testing.T) {
			_, schema, err := validation.NewSchemaValidator(&apiextensions.JSONSchemaProps{Type: "array", Items: &apiextensions.JSONSchemaPropsOrArray{Schema: &tt.item}})
			if err != nil {
				t.Fatal(err)
			}
			check := func(list []any, want string) {
				t.Helper()
				got := strings.Join(lines(validation.ValidateCustomResource(nil, list, whole{&place{looking: &looking{fitting: &fitting{}}, schema: schema}})), " ")
				if (got == "") != (want == "") || !strings.Contains(got, want) {
					t.Errorf("got %.300s, want %s", got, want)
				}
			}
			list := slices.Repeat([]any{tt.fit}, 20000)
			check(list, tt.want)
			if tt.want == "" {
				list[19990] = tt.last
				check(list, "[19990]")
			}
		})
	}
}

// TestSameJSON: values at random are the same where the library for all values says so, whether they share memory or not.
func TestSameJSON(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	equal := 0
	for range 5000 {
		s := someSchema(r, 3)
		a := someValue(r, s, 8)
		b := otherwise(r, s, a)
		if r.IntN(4) == 0 {
			b = runtime.DeepCopyJSONValue(a)
		}
		got := sameJSON(a, b)
		if want := reflect.DeepEqual(a, b); got != want || !sameJSON(a, a) {
			t.Fatalf("seed %d: got %v, want %v of %#v and %#v", seed, got, want, a, b)
		}
		if got {
			equal++
		}
	}
	for _, v := range []any{nil, map[string]any(nil), map[string]any{}, []any(nil), []any{}, int64(1), 1.0, "1", true} {
		for _, o := range []any{nil, map[string]any(nil), map[string]any{}, []any(nil), []any{}, int64(1), 1.0, "1", true} {
			if got, want := sameJSON(v, o), reflect.DeepEqual(v, o); got != want {
				t.Errorf("%#v and %#v: got %v, want %v", v, o, got, want)
			}
		}
	}
	if equal < 500 || equal > 4900 {
		t.Errorf("%d of 5000 are the same", equal)
	}
}

func lines(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Error())
	}
	slices.Sort(out)
	return out
}

func some[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// someSchema is a schema of all that one can be, values and values' validations.
func someSchema(r *rand.Rand, depth int) (s apiextensions.JSONSchemaProps) {
	number := func(most int) *int64 {
		if r.IntN(3) > 0 {
			return nil
		}
		n := int64(r.IntN(most))
		return &n
	}
	float := func(of ...float64) *float64 {
		if r.IntN(4) > 0 {
			return nil
		}
		n := some(r, of...)
		return &n
	}
	kinds := []string{"string", "integer", "number", "boolean", "object", "array", ""}
	if depth == 0 {
		kinds = kinds[:4]
	}
	s.Type = some(r, kinds...)
	s.Nullable = r.IntN(4) == 0
	yes := true
	switch s.Type {
	case "string":
		s.MinLength, s.MaxLength = number(2), number(5)
		s.Pattern = some(r, "", "", "", "^a", "b$", "^[a-z]*$")
		s.Format = some(r, "", "", "", "date-time", "uuid", "ipv4", "strange", "byte")
		if r.IntN(5) == 0 {
			s.Enum = []apiextensions.JSON{"a", "ab", "abc"}
		}
	case "integer", "number":
		s.Minimum, s.Maximum, s.MultipleOf = float(0, -5, 1.5, 1<<60, -1<<31-1), float(7, 3, 2.5, -1, 1<<60, 1<<32-1), float(2, 0.5)
		s.ExclusiveMinimum, s.ExclusiveMaximum = r.IntN(2) == 0, r.IntN(2) == 0
		s.Format = some(r, "", "", "int32", "int64", "double", "float")
		if r.IntN(6) == 0 {
			s.Enum = []apiextensions.JSON{int64(1), int64(2), 3.5}
		}
	case "object":
		s.MinProperties, s.MaxProperties = number(2), number(4)
		if r.IntN(2) == 0 {
			of := someSchema(r, depth-1)
			s.AdditionalProperties = &apiextensions.JSONSchemaPropsOrBool{Allows: true, Schema: &of}
			break
		}
		s.Properties = map[string]apiextensions.JSONSchemaProps{}
		for _, key := range []string{"a", "b", "c"}[:1+r.IntN(3)] {
			s.Properties[key] = someSchema(r, depth-1)
		}
		if r.IntN(3) == 0 {
			s.Required = []string{some(r, "a", "b", "x")}
		}
		if r.IntN(4) == 0 {
			with := apiextensions.JSONSchemaProps{Required: []string{some(r, "a", "b")}}
			without := apiextensions.JSONSchemaProps{Properties: map[string]apiextensions.JSONSchemaProps{"a": {MaxLength: number(3), Enum: []apiextensions.JSON{"a", int64(1)}}}}
			switch r.IntN(4) {
			case 0:
				s.AnyOf = []apiextensions.JSONSchemaProps{with, without}
			case 1:
				s.AllOf = []apiextensions.JSONSchemaProps{with, without}
			case 2:
				s.OneOf = []apiextensions.JSONSchemaProps{with, without}
			case 3:
				s.Not = &with
			}
		}
	case "array":
		s.MinItems, s.MaxItems = number(2), number(4)
		of := someSchema(r, depth-1)
		s.Items = &apiextensions.JSONSchemaPropsOrArray{Schema: &of}
	case "":
		if r.IntN(2) == 0 {
			s.XPreserveUnknownFields = &yes
			break
		}
		s.XIntOrString = true
		s.AnyOf = []apiextensions.JSONSchemaProps{{Type: "integer"}, {Type: "string"}}
		s.Pattern = some(r, "", "^[0-9]+$")
	}
	return s
}

// someValue is one that is of the schema's type but for one in odd.
func someValue(r *rand.Rand, s apiextensions.JSONSchemaProps, odd int) any {
	kind := s.Type
	if kind == "" {
		kind = some(r, "string", "integer")
	}
	if r.IntN(odd) == 0 {
		kind = some(r, "string", "integer", "number", "boolean", "null", "object", "array")
	}
	switch kind {
	case "string":
		return some(r, "", "a", "ab", "abc", "äöü", "b", "1", "12", "192.0.2.1", "2026-01-02T03:04:05Z", "\xff")
	case "integer":
		return some[any](r, int64(0), int64(1), int64(2), int64(7), int64(-3), int64(1<<40), int64(1<<62))
	case "number":
		return some[any](r, int64(0), int64(1), 2.0, 2.5, -3.25, 1e300, 7.0)
	case "boolean":
		return r.IntN(2) == 0
	case "object":
		out := map[string]any{}
		for _, key := range []string{"a", "b", "c", "d"} {
			if r.IntN(2) == 0 {
				continue
			}
			of, ok := s.Properties[key]
			if s.AdditionalProperties != nil {
				of, ok = *s.AdditionalProperties.Schema, true
			}
			if ok || r.IntN(4) == 0 {
				out[key] = someValue(r, of, odd)
			}
		}
		return out
	case "array":
		out := []any{}
		for range r.IntN(4) {
			var of apiextensions.JSONSchemaProps
			if s.Items != nil {
				of = *s.Items.Schema
			}
			out = append(out, someValue(r, of, odd))
		}
		return out
	}
	return nil
}

// otherwise is a value of which a part is another.
func otherwise(r *rand.Rand, s apiextensions.JSONSchemaProps, v any) any {
	if r.IntN(4) == 0 {
		return someValue(r, s, 8)
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, of := range v {
			out[key] = of
		}
		for key := range v {
			of := s.Properties[key]
			if s.AdditionalProperties != nil {
				of = *s.AdditionalProperties.Schema
			}
			out[key] = otherwise(r, of, v[key])
			break
		}
		return out
	case []any:
		out := slices.Clone(v)
		if len(out) > 0 && s.Items != nil {
			n := r.IntN(len(out))
			out[n] = otherwise(r, *s.Items.Schema, out[n])
		}
		return out
	}
	return v
}

// BenchmarkValidateMany is a large object that is as its schema has it.
func BenchmarkValidateMany(b *testing.B) {
	props := &apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{"m": {Type: "object",
		AdditionalProperties: &apiextensions.JSONSchemaPropsOrBool{Allows: true, Schema: &apiextensions.JSONSchemaProps{Type: "string"}}}}}
	library, schema, err := validation.NewSchemaValidator(props)
	if err != nil {
		b.Fatal(err)
	}
	m := map[string]any{}
	for n := range 25000 {
		m[fmt.Sprint("k", n)] = "v"
	}
	now := map[string]any{"m": m}
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			validation.ValidateCustomResource(nil, now, library)
		}
	})
	b.Run("fits", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			validation.ValidateCustomResource(nil, now, whole{&place{looking: &looking{fitting: &fitting{}}, schema: schema}})
		}
	})
}
