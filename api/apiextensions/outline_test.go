package apiextensions

import (
	"encoding/json"
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// full is a definition of two versions with schemas.
func full(t testing.TB) []byte {
	t.Helper()
	var d definition
	text := `{"metadata":{"name":"as.b.example.org","uid":"u","generation":3,"finalizers":["x"]},"spec":{"group":"b.example.org","scope":"Cluster","names":{"plural":"as","kind":"A"},
		"versions":[{"name":"v1","served":true,"storage":false,"deprecated":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string"}}}},"subresources":{"status":{}}},
		{"name":"v2","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}},"selectableFields":[{"jsonPath":".a"}]},{"name":"v3"}]},
		"status":{"conditions":[{"type":"Established","status":"True"}],"acceptedNames":{"plural":"as","kind":"A"},"storedVersions":["v2"]}}`
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	raw, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestOutline(t *testing.T) {
	raw := full(t)
	o, err := CustomResourceDefinition.Outline(raw)
	if err != nil {
		t.Fatal(err)
	}
	d := o.(*definition)
	if d.Kind != "CustomResourceDefinition" || d.Name != "as.b.example.org" || len(d.Spec.Versions) != 3 || d.Spec.Versions[0].Schema != nil || d.Spec.Versions[0].Subresources == nil {
		t.Errorf("got %+v", d)
	}
	for n := range raw {
		_, _ = CustomResourceDefinition.Outline(raw[:n]) // it must not crash
	}
}

// FuzzOutline: an outline is the definition without its schemas.
func FuzzOutline(f *testing.F) {
	f.Add(full(f))
	f.Add([]byte("\x12\x04:\x02\"\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := CustomResourceDefinition.Outline(raw)
		var want apiextensionsv1.CustomResourceDefinition
		if len(raw) > 0 && raw[0] == '{' || want.Unmarshal(raw) != nil {
			return
		}
		if err != nil {
			t.Fatalf("what can be read has no outline: %v", err)
		}
		got := o.(*definition)
		got.TypeMeta = want.TypeMeta
		for n := range want.Spec.Versions {
			want.Spec.Versions[n].Schema = nil
		}
		if !reflect.DeepEqual(got, &want) {
			t.Errorf("%q: got %+v, want %+v", raw, got, want)
		}
	})
}

func BenchmarkOutline(b *testing.B) {
	raw := full(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CustomResourceDefinition.Outline(raw); err != nil {
			b.Fatal(err)
		}
	}
}
