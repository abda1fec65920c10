package apiextensions

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// TestReadVersions: versions at random, whole or spoiled somewhere, are read as apimachinery's converter reads them, and are the same in JSON again
// exactly where it says so.
func TestReadVersions(t *testing.T) {
	seed, fill := filled(t)
	fill.NilChance(.8).MaxDepth(7)
	r := rand.New(rand.NewSource(seed))
	values := []string{`1`, `1.5`, `"<a>"`, `{"b": [1,{}], "a":"&"}`, `[]`, `true`, `null`, ``}
	fill.Funcs(func(j *apiextensionsv1.JSON, c randfill.Continue) {
		if j.Raw = []byte(values[c.Intn(len(values)-2)]); c.Intn(2000) == 0 {
			j.Raw = []byte(values[len(values)-1-c.Intn(2)])
		}
	}, func(of *apiextensionsv1.JSONSchemaPropsOrArray, c randfill.Continue) {
		if of.Schema = (&schema{Type: "string"}); c.Intn(3) == 0 {
			c.Fill(of.Schema)
		}
		if c.Intn(2000) == 0 {
			of.JSONSchemas = []schema{{}}
		}
	}, func(d *apiextensionsv1.JSONSchemaDependencies, c randfill.Continue) {
		if c.Intn(2000) == 0 {
			*d = apiextensionsv1.JSONSchemaDependencies{"a": {Property: []string{"b"}}}
		}
	}, func(d **apiextensionsv1.ExternalDocumentation, c randfill.Continue) {
		if c.Intn(2000) == 0 {
			*d = &apiextensionsv1.ExternalDocumentation{Description: "d"}
		}
	})
	others := []any{nil, "", "a", int64(0), int64(5), 2.5, false, true, []any{}, map[string]any{}, []any{"a"}, []any{nil}, map[string]any{"type": "string"}, []any{map[string]any{"rule": "x"}}}
	var spoil func(v any) any
	spoil = func(v any) any {
		if r.Intn(12) == 0 {
			return others[r.Intn(len(others))]
		}
		switch v := v.(type) {
		case map[string]any:
			for key := range v {
				if r.Intn(3) == 0 {
					v[key] = spoil(v[key])
					break
				}
				if r.Intn(20) == 0 {
					delete(v, key)
				}
			}
			if r.Intn(20) == 0 {
				v["unknown"] = "a"
			}
		case []any:
			if len(v) > 0 {
				n := r.Intn(len(v))
				v[n] = spoil(v[n])
			}
		}
		return v
	}
	exact, other, left := 0, 0, 0
	for round := range 400 {
		d := &definition{}
		for len(d.Spec.Versions) == 0 {
			fill.Fill(&d.Spec.Versions)
		}
		for n := range d.Spec.Versions {
			v := &d.Spec.Versions[n]
			if v.Schema = (&apiextensionsv1.CustomResourceValidation{}); r.Intn(50) > 0 {
				v.Schema.OpenAPIV3Schema = &schema{}
				fill.Fill(v.Schema.OpenAPIV3Schema)
			}
		}
		text, err := json.Marshal(d.Spec.Versions)
		if err != nil {
			t.Fatal(err)
		}
		var list []any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &list); err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			if s, ok := spoil(list).([]any); ok && len(s) > 0 {
				list = s
			}
		}
		got, same, ok := readVersions(list)
		if !ok {
			left++
			continue
		}
		want := &definition{}
		text, _ = json.Marshal(list)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"spec": map[string]any{"versions": list}}, want); err != nil {
			t.Fatalf("LIGHTER_SEED=%d: %v, of\n%s", seed, err, text)
		}
		if !reflect.DeepEqual(got.Spec.Versions, want.Spec.Versions) {
			g, _ := json.Marshal(got.Spec.Versions)
			w, _ := json.Marshal(want.Spec.Versions)
			t.Fatalf("LIGHTER_SEED=%d:\n%s\nis\n%s\nwant\n%s", seed, text, g, w)
		}
		back, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
		if err != nil {
			t.Fatal(err)
		}
		again := back["spec"].(map[string]any)["versions"]
		if is := value.Equals(value.NewValueInterface(list), value.NewValueInterface(again)); is != same {
			b, _ := json.Marshal(again)
			t.Fatalf("LIGHTER_SEED=%d: exact: %v, want %v:\n%s\nis\n%s", seed, same, is, text, b)
		}
		if same {
			exact++
		} else {
			other++
		}
		if !sameVersions(got, want) {
			t.Fatalf("LIGHTER_SEED=%d: not the same as itself: %s", seed, text)
		}
	}
	t.Logf("%d exact, %d not, %d left to the converter", exact, other, left)
	if exact < 50 || other < 5 || left < 20 {
		t.Error("too few of a kind")
	}
}

// TestSameVersions: two definitions' versions are the same where they are as JSON, whatever they are written as.
func TestSameVersions(t *testing.T) {
	of := func(raw string) *definition {
		d := &definition{}
		d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &schema{
			Properties: map[string]schema{"a": {Default: &apiextensionsv1.JSON{Raw: []byte(raw)}}}}}}}
		return d
	}
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{`"<"`, `"\u003c"`, true}, {`{"a":1,"b":2}`, `{"b": 2, "a": 1}`, true}, {`1`, `1.0`, true}, {`1`, `2`, false}, {`"a"`, `"b"`, false}, {`[]`, `{}`, false}, {``, `1`, false},
	} {
		if got := sameVersions(of(tt.a), of(tt.b)); got != tt.same {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}
