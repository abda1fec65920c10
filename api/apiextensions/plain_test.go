package apiextensions

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestBare: of definitions at random that have many plain schemas, good and bad ones, the rules say the same with and without these.
func TestBare(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	rounds := 300
	if os.Getenv("PROVE") != "" {
		rounds = 30000
	}
	good, bad := 0, 0
	for range rounds {
		d := &definition{ObjectMeta: metav1.ObjectMeta{Name: "as.example.com"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Scope: "Namespaced",
			Names:      apiextensionsv1.CustomResourceDefinitionNames{Plural: "as", Singular: "a", Kind: "A", ListKind: "AList"},
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: "None"}}}
		for n := range 1 + r.IntN(2) {
			s := someSchema(r, 4)
			s.Type = "object"
			d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: fmt.Sprint("v", n+1), Served: true, Storage: n == 0, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &s}})
		}
		d.Status.StoredVersions = []string{"v1"}
		few := bare(d, 0)
		check := func(d *definition) (said []string) {
			defer func() {
				if r := recover(); r != nil { // as the published rules do, see by
					said = []string{fmt.Sprint(r)}
				}
			}()
			in, err := toInternal(d)
			if err != nil {
				return []string{err.Error()}
			}
			return sorted(validation.ValidateCustomResourceDefinition(context.Background(), in))
		}
		want, got := check(d), check(few)
		if !slices.Equal(got, want) {
			all, _ := json.Marshal(d.Spec.Versions)
			less, _ := json.Marshal(few.Spec.Versions)
			t.Fatalf("LIGHTER_SEED=%d\n%s\nshown as\n%s\ngot  %q\nwant %q", seed, all, less, got, want)
		}
		if len(want) == 0 {
			good++
		} else {
			bad++
		}
	}
	t.Logf("%d good, %d bad", good, bad)
	if good < rounds/20 || bad < rounds/20 {
		t.Error("too few of a kind")
	}
}

// selfType is a name that the rules make up.
var selfType = regexp.MustCompile(`selfType[0-9]+`)

func sorted(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, selfType.ReplaceAllString(e.Error(), "self"))
	}
	slices.Sort(out)
	return out
}

// someSchema is mostly plain, and now and then what has a rule, or breaks one.
func someSchema(r *rand.Rand, depth int) (s apiextensionsv1.JSONSchemaProps) {
	kinds := []string{"string", "integer", "boolean", "number", "object", "object", "object", "array"}
	if depth == 0 {
		kinds = kinds[:4]
	}
	s.Type = kinds[r.IntN(len(kinds))]
	s.Description = []string{"", "what it is"}[r.IntN(2)]
	switch s.Type {
	case "object":
		if r.IntN(5) == 0 {
			of := someSchema(r, depth-1)
			s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &of}
			break
		}
		s.Properties = map[string]apiextensionsv1.JSONSchemaProps{}
		for n := range r.IntN(6) {
			s.Properties[[]string{"a", "b", "metadata", "kind", "spec", "$ref"}[n]] = someSchema(r, depth-1)
		}
	case "array":
		of := someSchema(r, depth-1)
		s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &of}
	}
	if r.IntN(12) > 0 {
		return s
	}
	one, text := int64(-1), "map"
	yes := true
	switch r.IntN(16) {
	case 0:
		s.Type = "strange"
	case 1:
		s.Default = &apiextensionsv1.JSON{Raw: []byte([]string{`"a"`, `{"a":"b"}`, `{"unknown":{}}`, `[1]`, `{`}[r.IntN(5)])}
	case 2:
		s.MaxLength = &one
	case 3:
		s.Pattern = "("
	case 4:
		s.XListType, s.XListMapKeys = &text, []string{"a"}
	case 5:
		s.XEmbeddedResource = true
	case 6:
		s.XPreserveUnknownFields = &yes
	case 7:
		s.XValidations = apiextensionsv1.ValidationRules{{Rule: []string{"has(self.a)", "self.b == 'x'", "true", "self.size() > 0", "("}[r.IntN(5)]}}
	case 8:
		s.AllOf = []apiextensionsv1.JSONSchemaProps{{Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": {MaxLength: &one}}}}
	case 9:
		s.Enum = []apiextensionsv1.JSON{{Raw: []byte(`"a"`)}, {Raw: []byte(`"a"`)}}
	case 10:
		s.Required = []string{"a", "a"}
	case 11:
		s.Nullable, s.XIntOrString = true, r.IntN(2) == 0
	case 12:
		s.UniqueItems = true
	case 13:
		s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: r.IntN(2) == 0}
	case 14:
		s.Format = "strange"
	case 15:
		s.XMapType, s.Not = &text, &apiextensionsv1.JSONSchemaProps{Required: []string{"a"}}
	}
	return s
}

// BenchmarkRules are those of a large definition, most of which is plain.
func BenchmarkRules(b *testing.B) {
	fields := map[string]apiextensionsv1.JSONSchemaProps{}
	for n := range 20000 {
		fields[fmt.Sprint("f", n)] = apiextensionsv1.JSONSchemaProps{Type: "string", Description: "what it is"}
	}
	d := &definition{ObjectMeta: metav1.ObjectMeta{Name: "as.example.com"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Scope: "Namespaced",
		Names:      apiextensionsv1.CustomResourceDefinitionNames{Plural: "as", Singular: "a", Kind: "A", ListKind: "AList"},
		Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: "None"},
		Versions:   []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: fields}}}}},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{StoredVersions: []string{"v1"}}}
	b.ReportAllocs()
	for b.Loop() {
		if errs := CustomResourceDefinition.Validate(d, nil); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
