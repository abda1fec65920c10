package openapi

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestSchemaIn: the schema of a kind is found in another server's document, whole, whatever that holds besides.
func TestSchemaIn(t *testing.T) {
	const head, tail = `{"openapi":"3.0.0","components":{"schemas":{`, `}}}`
	boat := func(schema string) string {
		return `"Boat":{"x-kubernetes-group-version-kind":[{"group":"other","version":"v1","kind":"Boat"},{"group":"sea","version":"v1","kind":"Boat"}],` + schema + `}`
	}
	ref := func(name string) string { return `{"$ref":"#/components/schemas/` + name + `"}` }
	var doubling strings.Builder // each holds the next twice
	doubling.WriteString(boat(`"properties":{"a":` + ref("n0") + `}`))
	for n := range 64 {
		fmt.Fprintf(&doubling, `,"n%d":{"properties":{"a":%s,"b":%s}}`, n, ref(fmt.Sprint("n", n+1)), ref(fmt.Sprint("n", n+1)))
	}
	for name, tt := range map[string]struct{ document, want string }{
		"with what it refers to":   {head + boat(`"type":"object","properties":{"spec":{"description":"d","allOf":[`+ref("Spec")+`]}}`) + `,"Spec":{"properties":{"n":{"type":"integer"}}}` + tail, "integer"},
		"within itself":            {head + boat(`"properties":{"spec":{"properties":{"n":`+ref("Boat")+`}}}`) + tail, ""},
		"what is not there":        {head + boat(`"properties":{"spec":{"properties":{"n":`+ref("Nothing")+`}}}`) + tail, ""},
		"that doubles and doubles": {head + doubling.String() + tail, "error: it has too many pieces"},
		"of another kind":          {head + `"Ship":{"x-kubernetes-group-version-kind":[{"group":"sea","version":"v1","kind":"Ship"}]}` + tail, "error: no schema"},
		"that is none":             {`{"components":[]}`, "error: cannot unmarshal"},
		"with odd parts":           {head + `"Boat":{"x-kubernetes-group-version-kind":[7,{"kind":3}]},"Ship":[]` + tail, "error: no schema"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := SchemaIn([]byte(tt.document), schema.GroupVersionKind{Group: "sea", Version: "v1", Kind: "Boat"})
			if want, fails := strings.CutPrefix(tt.want, "error: "); fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, %v", s, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.Properties["spec"].Properties["n"].Type, ""); got != tt.want {
				t.Errorf("got %q, want %q: %+v", got, tt.want, s)
			}
		})
	}
}
