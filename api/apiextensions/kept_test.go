package apiextensions

import (
	"encoding/json"
	"strings"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/lighter-k8s/lighter/api"
)

// byUpstream is what kube-apiserver 1.37.2 wrote to etcd for a small definition.
const byUpstream = `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"keyts.probe.example.org","uid":"1b9e1bf1-07d9-4f7a-899c-57f0be3f38f6","generation":1,"creationTimestamp":"2026-11-26T22:13:12Z"},"spec":{"group":"probe.example.org","version":"v1","names":{"plural":"keyts","singular":"keyt","kind":"Keyt","listKind":"KeytList"},"scope":"Namespaced","validation":{"openAPIV3Schema":{"type":"object"}},"versions":[{"name":"v1","served":true,"storage":true}],"conversion":{"strategy":"None"},"preserveUnknownFields":false},"status":{"conditions":[{"type":"NamesAccepted","status":"True","lastTransitionTime":"2026-11-26T22:13:12Z","reason":"NoConflicts","message":"no conflicts found"},{"type":"Established","status":"True","lastTransitionTime":"2026-11-26T22:13:12Z","reason":"InitialNamesAccepted","message":"the initial names have been accepted"}],"acceptedNames":{"plural":"keyts","singular":"keyt","kind":"Keyt","listKind":"KeytList"},"storedVersions":["v1"]}}` + "\n"

func TestKeptAsUpstream(t *testing.T) {
	stored, err := FromKept([]byte(byUpstream))
	if err != nil {
		t.Fatal(err)
	}
	obj, err := api.DecodeStored(CustomResourceDefinition, stored)
	if err != nil {
		t.Fatal(err)
	}
	d := obj.(*definition)
	if v := d.Spec.Versions[0]; d.Name != "keyts.probe.example.org" || v.Schema == nil || v.Schema.OpenAPIV3Schema.Type != "object" || d.Spec.PreserveUnknownFields {
		t.Errorf("read as %+v", d.Spec)
	}
	kept, err := ToKept(stored)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != byUpstream {
		t.Errorf("kept as\n%s\nwant\n%s", kept, byUpstream)
	}
	if again, err := FromKept(stored); err != nil || string(again) != string(stored) {
		t.Errorf("a value of our own form became %q, %v", again, err)
	}
}

// TestKeptWhole: a definition with all that v1 can say comes back from upstream's form as it was.
func TestKeptWhole(t *testing.T) {
	var d definition
	text := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"as.b.example.org"},"spec":{"group":"b.example.org","scope":"Cluster",
		"names":{"plural":"as","singular":"a","kind":"A","listKind":"AList","shortNames":["x"],"categories":["all"]},
		"conversion":{"strategy":"Webhook","webhook":{"clientConfig":{"url":"https://a.example.org/c"},"conversionReviewVersions":["v1"]}},
		"versions":[{"name":"v1","served":true,"storage":false,"deprecated":true,"deprecationWarning":"old","schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string","x-kubernetes-validations":[{"rule":"self != ''"}]}}}},
			"subresources":{"status":{},"scale":{"specReplicasPath":".spec.r","statusReplicasPath":".status.r"}},"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":".a"}]},
		{"name":"v2","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}},"selectableFields":[{"jsonPath":".a"}]}]}}`
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	stored, err := api.EncodeStored(CustomResourceDefinition, &d)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := ToKept(stored)
	if err != nil || !strings.HasPrefix(string(kept), `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1"`) {
		t.Fatalf("%s, %v", kept, err)
	}
	back, err := FromKept(kept)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := api.DecodeStored(CustomResourceDefinition, back)
	if err != nil {
		t.Fatal(err)
	}
	got := obj.(*definition)
	got.TypeMeta = d.TypeMeta
	CustomResourceDefinition.Default(&d)
	CustomResourceDefinition.Default(got)
	if !apiequality.Semantic.DeepEqual(got, &d) {
		have, _ := json.Marshal(got)
		want, _ := json.Marshal(&d)
		t.Errorf("came back as\n%s\nwant\n%s", have, want)
	}
}
