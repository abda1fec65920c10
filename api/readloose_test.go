package api_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/lighter-k8s/lighter/api"
)

// FuzzReadLoose: objects are read as the library reads them, or not.
func FuzzReadLoose(f *testing.F) {
	for _, doc := range []string{`{"a":1,"metadata":{"name":"n","managedFields":[{"manager":"a","fieldsV1":{"f:a":{".":{},"k:{\"n\":\"x\"}":{}}}},{"fieldsV1":{}},{}]},"b":[1,{"c":"\"}"}]}`,
		`{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}},"fieldsV1":{"f:b":{}}}]}}`, `{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}}]},"metadata":{}}`,
		`{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}}],"managedFields":[{"fieldsV1":null}]}}`, `{"metadata":{"managedFields":[{"fieldsV1":{"\u0066:a":{}}}]}}`,
		`{"met\u0061data":{"managedFields":[7]},"metadata":{"managedFields":[{"fieldsV1":{"f:a":{"f:b":{}},"f:c":{"f:b":{}},"f:a":{"f:d":{}}}}]}}`, `{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}}]}`,
		`{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}}]}} x`, `{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}},]}}`, `{"metadata":[{"managedFields":[]}]}`, "{\"metadata\":{\"managedFields\":[{\"fieldsV1\":{\"f:\xff\":{}}}]}}"} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) { sameLoose(t, doc) })
}

func sameLoose(t *testing.T, doc []byte) {
	t.Helper()
	before := bytes.Clone(doc)
	var want map[string]any
	err := kjson.UnmarshalCaseSensitivePreserveInts(doc, &want)
	got, errs := api.ReadLoose(doc)
	if fmt.Sprint(err) != fmt.Sprint(errs) {
		t.Fatalf("%q: got %v, want %v", doc, errs, err)
	}
	if err == nil && !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
		t.Fatalf("%s\ngot  %v\nwant %v", doc, got, want)
	}
	if !bytes.Equal(doc, before) {
		t.Fatal("it was written to")
	}
}

// TestReadLoose: what managers own, at random, is read as the library reads it, and apart from the rest; what is read does not share the bytes.
func TestReadLoose(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var fields func(depth int) string
	fields = func(depth int) string {
		var parts []string
		for range r.IntN(4) * min(depth, 1) {
			key := []string{`.`, `f:a`, `f:b`, `k:{\"a\":\"x\"}`, `k:{\"a\":\"x\\\"\"}`, `v:\"\u003c\n\"`, `v:1`}[r.IntN(7)]
			parts = append(parts, `"`+key+`":`+fields(depth-1))
		}
		return `{` + strings.Join(parts, ",") + `}`
	}
	for range 5000 {
		var entries []string
		for n := range 1 + r.IntN(3) {
			entries = append(entries, fmt.Sprintf(`{"manager":"m%d","fieldsV1":%s,"time":"t"}`, n, fields(4)))
		}
		doc := []byte(`{"kind":"K","spec":{"l":[1,2.5,{"a":null,"b":[true,"\\"]}]},"metadata":{"name":"n","managedFields":[` + strings.Join(entries, ",") + `],"uid":"u"},"status":{}}`)
		if !api.Apart(doc) {
			t.Fatalf("not apart: %s", doc)
		}
		sameLoose(t, doc)
		got, _ := api.ReadLoose(doc)
		again := fmt.Sprint(got)
		clear(doc)
		if fmt.Sprint(got) != again {
			t.Fatal("it shares the bytes that it was read from")
		}
	}
}
