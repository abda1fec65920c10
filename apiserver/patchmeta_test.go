package apiserver

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// TestMetadataAlone: a patch of metadata alone gives what it gives applied to the whole object, and other patches are not taken for one.
func TestMetadataAlone(t *testing.T) {
	const doc = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"n","uid":"u","resourceVersion":"7","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"a":"b","c":"d"},"finalizers":["x/y"],` +
		`"managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:k":{}}}}]},"data":{"k":"<&>é"},"binaryData":{"b":"AAE="}}`
	i := core.ConfigMap
	old := i.New()
	if _, err := read(i, old, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind  types.PatchType
		patch string
		alone bool // and it can be applied
	}{
		{types.MergePatchType, `{"metadata":{"labels":{"a":null,"e":"f"},"annotations":{"g":"h"}}}`, true},
		{types.MergePatchType, `{"metadata":{"finalizers":null,"resourceVersion":"6","name":"other"}}`, true},
		{types.MergePatchType, `{"metadata":{}}`, true},
		{types.MergePatchType, `{"metadata":{"labels":{"a":1}}}`, false},
		{types.MergePatchType, `{"metadata":{"unknown":1}}`, false},
		{types.MergePatchType, `{"metadata":{"labels":{"e":"f"},"labels":{"e":"g"}}}`, false},
		{types.MergePatchType, `{"metadata":{"managedFields":null}}`, false},
		{types.MergePatchType, `{"metadata":null}`, false},
		{types.MergePatchType, `{"metadata":{"labels":{"e":"f"}},"data":{"k":"v"}}`, false},
		{types.MergePatchType, `{}`, false},
		{types.StrategicMergePatchType, `{"metadata":{"labels":{"e":"f"},"finalizers":["z/z"],"$deleteFromPrimitiveList/finalizers":["x/y"]}}`, false},
		{types.StrategicMergePatchType, `{"metadata":{"labels":{"e":"f","c":null},"finalizers":["z/z"]}}`, true},
		{types.StrategicMergePatchType, `{"metadata":{"$patch":"delete"}}`, false},
		{types.JSONPatchType, `[{"op":"add","path":"/metadata/labels/e","value":"f"},{"op":"test","path":"/metadata/labels/c","value":"d"},{"op":"move","from":"/metadata/labels/a","path":"/metadata/labels/q"}]`, true},
		{types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/c","value":"other"}]`, false},
		{types.JSONPatchType, `[{"op":"copy","from":"/data","path":"/metadata/labels"}]`, false},
		{types.JSONPatchType, `[{"op":"remove","path":"/metadata/managedFields/0"}]`, false},
		{types.JSONPatchType, `[{"op":"remove","path":"/metadata"}]`, false},
		{types.JSONPatchType, `[{"op":"add","path":"","value":{}}]`, false},
		{types.JSONPatchType, `[{"op":"add","path":"/metadata/annotations/e","value":"f"}]`, false},
	} {
		t.Run(string(tt.kind)+tt.patch, func(t *testing.T) {
			p, err := patching(i, tt.kind, []byte(tt.patch))
			if err != nil {
				t.Fatal(err)
			}
			var got api.Object
			if p.alone {
				got = p.metadata(i, old)
			}
			if (got != nil) != tt.alone {
				t.Fatalf("taken: %v", got != nil)
			}
			if got == nil {
				return
			}
			out, err := p.apply([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			want := i.New()
			if strict, err := read(i, want, out); err != nil || len(strict) > 0 {
				t.Fatal(strict, err)
			}
			if !equality.Semantic.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if again, _ := api.EncodeJSON(i, old); string(again) == "" || old.GetLabels()["e"] != "" || old.GetLabels()["a"] != "b" {
				t.Errorf("the object before became %s", again)
			}
		})
	}
}
