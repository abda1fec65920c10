package api_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/lighter-k8s/lighter/api"
)

var looseInfo = &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}, Kind: "Thing"}

// FuzzLoose: objects without a Go type are encoded, and say who owns their fields, as the libraries have it.
func FuzzLoose(f *testing.F) {
	for _, doc := range []string{`{"kind":"Thing","apiVersion":"example.com/v1"}`, `{}`, `{"spec":{"b":[1,2.5,-0,1e300,null,true,"<a>\u2028"],"a":{"kind":"x"}}}`, `{"metadata":null}`,
		`{"metadata":{"managedFields":[{"manager":"a","operation":"Apply","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:a":{".":{},"k:{\"n\":\"x\"}":{}}},"subresource":"status"}]}}`,
		`{"metadata":{"managedFields":[{"time":null,"fieldsV1":null},7,{"manager":1},{"time":"x"},{"unknown":{}}]}}`, `{"metadata":{"managedFields":[{"time":"2026-01-02T03:04:05.5+01:00","fieldsV1":{}}]}}`, `{"metadata":{"managedFields":[]}}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var o map[string]any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(doc, &o); err != nil || o == nil {
			return
		}
		got, err := api.EncodeJSON(looseInfo, &unstructured.Unstructured{Object: o})
		if err != nil {
			t.Fatal(err)
		}
		rest := map[string]any{}
		for k, v := range o {
			if k != "kind" && k != "apiVersion" {
				rest[k] = v
			}
		}
		if len(rest) == 0 {
			rest["metadata"] = map[string]any{}
		}
		want, err := json.Marshal(rest)
		if err != nil {
			t.Fatal(err)
		}
		if want = append([]byte(api.JSONPrefix(looseInfo)), want[1:]...); !bytes.Equal(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		ours, theirs := (&unstructured.Unstructured{Object: o}).DeepCopy(), (&unstructured.Unstructured{Object: o}).DeepCopy()
		var entries []metav1.ManagedFieldsEntry
		if panics(func() { entries = theirs.GetManagedFields() }) {
			return
		}
		if mine := api.Owners(ours); !reflect.DeepEqual(mine, entries) {
			t.Fatalf("owners\ngot  %v\nwant %v", mine, entries)
		}
		if panics(func() { theirs.SetManagedFields(entries) }) {
			return
		}
		api.SetOwners(ours, entries)
		if !reflect.DeepEqual(ours.Object, theirs.Object) {
			t.Fatalf("got  %v\nwant %v", ours.Object, theirs.Object)
		}
	})
}

func panics(f func()) (is bool) {
	defer func() { is = recover() != nil }()
	f()
	return false
}

// BenchmarkOwners gives an object of many fields its owners, and reads them.
func BenchmarkOwners(b *testing.B) {
	fields := []byte(`{"f:spec":{`)
	for n := range 25000 {
		if n > 0 {
			fields = append(fields, ',')
		}
		fields = append(append(fields, `"f:key`...), []byte{'0' + byte(n/10000), '0' + byte(n/1000%10), '0' + byte(n/100%10), '0' + byte(n/10%10), '0' + byte(n%10)}...)
		fields = append(fields, `":{}`...)
	}
	fields = append(fields, "}}"...)
	now := metav1.NewTime(time.Unix(1e9, 0))
	entries := []metav1.ManagedFieldsEntry{{Manager: "a", Operation: "Update", APIVersion: "v1", Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(fields))}}
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}
	b.ReportAllocs()
	for b.Loop() {
		api.SetOwners(u, entries)
		if len(api.Owners(u)) != 1 {
			b.Fatal("nobody")
		}
	}
}
