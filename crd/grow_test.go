package crd

import (
	"encoding/json"
	"maps"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// TestGrower: it foretells what the library fills in.
func TestGrower(t *testing.T) {
	var in apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal([]byte(`{"type":"object","properties":{
		"text":{"type":"string","default":"abc"},
		"none":{"type":"string","nullable":true,"default":"abc"},
		"items":{"type":"array","items":{"type":"object","default":{"x":1},"properties":{
			"a":{"type":"string","default":"some text"},
			"b":{"type":"object","default":{},"properties":{"c":{"type":"object","default":{"k":"v"},"additionalProperties":{"type":"string"}},"d":{"type":"integer"}}}}}},
		"named":{"type":"object","additionalProperties":{"type":"object","nullable":true,"default":{},"properties":{"e":{"type":"array","default":[1,2],"items":{"type":"integer"}}}}},
		"plain":{"type":"object","properties":{"f":{"type":"string"}}}}}`), &in); err != nil {
		t.Fatal(err)
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&in, &props, nil); err != nil {
		t.Fatal(err)
	}
	s, err := structural.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	g := growerOf(s)
	flat := *s
	flat.Properties = maps.Clone(s.Properties)
	delete(flat.Properties, "items")
	delete(flat.Properties, "named")
	if once := growerOf(&flat); !g.multiplies() || once == nil || once.multiplies() {
		t.Errorf("multiplies: %v, and without lists and maps %v", g.multiplies(), once.multiplies())
	}
	// nulls are those that a default takes the place of, and named their keys' text: which was there.
	for text, nulls := range map[string]int{
		`{}`: 0, `{"text":"x","none":null}`: 0, `{"items":[]}`: 0, `{"items":[{},{"a":"x"},{"b":{}},{"b":{"c":{}}}]}`: 0, `{"items":[null,{}]}`: 32,
		`{"text":null}`: 32 + len("text"), `{"named":{"a":{},"b":null,"c":{"e":[]}}}`: 0, `{"plain":{}}`: 0, `{"items":[{"b":null}]}`: 32 + len("b"), `{"items":3}`: 0,
	} {
		var v map[string]any
		if err := utiljson.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		before, got := sizeOf(v), g.adds(v, mostGrown)
		defaulting.Default(v, s)
		if want := sizeOf(v) - before + nulls; got != want {
			t.Errorf("%s: got %d, want %d", text, got, want)
		}
	}
}
