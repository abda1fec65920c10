package openapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/api/builtin"
)

// TestV2WithOthers: what another server says of its group version is in the v2 document, what it says of others is not, and
// names that mean something else here are not mixed up.
func TestV2WithOthers(t *testing.T) {
	h := New(builtin.All(), "v1.37.0")
	get := func(tag, accept string) *http.Response {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/openapi/v2", nil)
		r.Header.Set("If-None-Match", tag)
		r.Header.Set("Accept", accept)
		h.ServeHTTP(w, r)
		return w.Result()
	}
	alone := get("", "application/json").Header.Get("ETag")
	text, tag := `{"swagger": "2.0", "info": {"title": "sea", "version": "1"},
		"paths": {"/apis/sea.example.com/v1/boats": {"get": {"operationId": "listBoats", "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}}}}},
			"/apis/apps/v1/deployments": {"get": {"operationId": "mine", "responses": {"200": {"description": "OK"}}}}},
		"definitions": {"io.k8s.api.core.v1.Pod": {"type": "object", "description": "a boat"}, "unused": {"type": "object"}}}`, `"1"`
	h.SetOthers(map[string]Other{"apis/sea.example.com/v1": {V2: func(context.Context) ([]byte, string) { return []byte(text), tag }}})
	read := func() (doc struct {
		Paths       map[string]map[string]json.RawMessage
		Definitions map[string]struct{ Description string }
	}, etag string) {
		r := get("", "application/json")
		if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		return doc, r.Header.Get("ETag")
	}
	doc, etag := read()
	boats := string(doc.Paths["/apis/sea.example.com/v1/boats"]["get"])
	_, name, _ := strings.Cut(boats, "#/definitions/")
	name, _, _ = strings.Cut(name, `"`)
	if name == "io.k8s.api.core.v1.Pod" || doc.Definitions[name].Description != "a boat" {
		t.Errorf("boats are %s, which is %q", boats, doc.Definitions[name].Description)
	}
	if strings.Contains(string(doc.Paths["/apis/apps/v1/deployments"]["get"]), `"operationId":"mine"`) || len(doc.Paths) < 200 || doc.Definitions["io.k8s.api.core.v1.Pod"].Description == "a boat" {
		t.Errorf("what is ours is said by another: %d paths", len(doc.Paths))
	}
	if _, again := read(); etag == alone || again != etag || get(etag, "application/json").StatusCode != http.StatusNotModified {
		t.Errorf("tags %s, %s, %s", alone, etag, again)
	}
	if r := get("", proto2); r.Header.Get("Content-Type") != proto2 {
		t.Errorf("protobuf is %s", r.Header.Get("Content-Type"))
	} else if data, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(data), "listBoats") {
		t.Errorf("no boats in protobuf: %v", err)
	}
	text, tag = strings.ReplaceAll(text, "listBoats", "readBoats"), `"2"`
	if _, third := read(); third == etag {
		t.Error("another document has the same tag")
	}
	text, tag = "no document", `"3"`
	if doc, _ := read(); doc.Paths["/apis/sea.example.com/v1/boats"] != nil || doc.Paths["/api/v1/pods"] == nil {
		t.Error("of a document that cannot be read")
	}
	h.SetOthers(nil)
	if _, now := read(); now != alone {
		t.Errorf("alone again: %s, was %s", now, alone)
	}
}

// TestV2WithKindsOfOthers: another server has a definition as we have it, but says of which kinds it is, and we do not.
func TestV2WithKindsOfOthers(t *testing.T) {
	h := New(builtin.All(), "v1.37.0")
	read := func() (doc struct {
		Definitions map[string]map[string]any
	}) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/openapi/v2", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	const name, kinds = "io.k8s.apimachinery.pkg.apis.meta.v1.Time", "x-kubernetes-group-version-kind"
	same := read().Definitions[name]
	if same == nil || same[kinds] != nil {
		t.Fatalf("ours is %v", same)
	}
	same[kinds] = []any{map[string]any{"group": "sea.example.com", "version": "v1", "kind": "Tide"}}
	text, err := json.Marshal(map[string]any{"swagger": "2.0", "info": map[string]any{"title": "sea", "version": "1"}, "definitions": map[string]any{name: same},
		"paths": map[string]any{"/apis/sea.example.com/v1/tides": map[string]any{"get": map[string]any{"operationId": "listTides",
			"responses": map[string]any{"200": map[string]any{"description": "OK", "schema": map[string]any{"$ref": "#/definitions/" + name}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	h.SetOthers(map[string]Other{"apis/sea.example.com/v1": {V2: func(context.Context) ([]byte, string) { return text, "1" }}})
	if got, _ := json.Marshal(read().Definitions[name][kinds]); string(got) != `[{"group":"sea.example.com","kind":"Tide","version":"v1"}]` {
		t.Errorf("kinds %s", got)
	}
}
