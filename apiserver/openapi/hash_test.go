package openapi

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
)

// boat is a custom resource; its schema is counted.
func boat(revision string, made *int) *api.Info {
	return &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "boats"}, Kind: "Boat", ListKind: "BoatList",
		Singular: "boat", Verbs: api.AllVerbs, Custom: &api.Custom{Definition: "boats.example.com", Revision: revision,
			Schema: func(bool) (any, error) { *made++; return doc{"type": "object", "description": revision}, nil }}}
}

func TestDocumentsHaveHashes(t *testing.T) {
	h, made := New(builtin.All(), "v1.37.0"), 0
	get := func(url string) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
		return w.Result()
	}
	index := func() map[string]string {
		var list struct {
			Paths map[string]struct{ ServerRelativeURL string }
		}
		if err := json.NewDecoder(get("/openapi/v3").Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for at, p := range list.Paths {
			out[at] = p.ServerRelativeURL
		}
		return out
	}
	h.SetCustom([]*api.Info{boat("a/1", &made)})
	first := index()
	if made != 0 {
		t.Errorf("the list made %d schemas", made)
	}
	for _, at := range []string{"apis/apps/v1", "apis/example.com/v1"} {
		r := get(first[at])
		if r.StatusCode != 200 || r.Header.Get("Cache-Control") != "public, immutable" || r.Header.Get("Expires") == "" {
			t.Errorf("%s: %d %v", first[at], r.StatusCode, r.Header)
		}
		if _, hash, _ := strings.Cut(first[at], "="); r.Header.Get("ETag") != fmt.Sprintf("%q", hash) {
			t.Errorf("%s has the tag %s", first[at], r.Header.Get("ETag"))
		}
		if r := get("/openapi/v3/" + at + "?hash=00"); r.StatusCode != 301 || r.Header.Get("Location") != first[at] || r.Header.Get("Cache-Control") == "public, immutable" {
			t.Errorf("a wrong hash: %d %v", r.StatusCode, r.Header)
		}
		if r := get("/openapi/v3/" + at); r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-cache, private" {
			t.Errorf("no hash: %d %v", r.StatusCode, r.Header)
		}
	}
	h.SetCustom([]*api.Info{boat("a/2", &made)})
	second := index()
	for at, url := range first {
		if (url != second[at]) != (at == "apis/example.com/v1") {
			t.Errorf("%s was %s and is %s", at, url, second[at])
		}
	}
	if r := get(first["apis/example.com/v1"]); r.StatusCode != 301 || r.Header.Get("Location") != second["apis/example.com/v1"] {
		t.Errorf("the hash of before: %d %v", r.StatusCode, r.Header)
	}
	h.SetCustom(nil)
	if r := get(second["apis/example.com/v1"]); r.StatusCode != 404 {
		t.Errorf("it is gone, and: %d", r.StatusCode)
	}
	// Another server of the same program says the same.
	other := New(builtin.All(), "v1.37.0")
	if d, err := other.document("v3/apis/apps/v1", false); err != nil || !strings.HasSuffix(first["apis/apps/v1"], strings.Trim(d.tag, `"`)) {
		t.Errorf("%s, elsewhere %s (%v)", first["apis/apps/v1"], d.tag, err)
	}
}

// TestBuiltIn: hashes of documents change when what is said of built-in resources does.
func TestBuiltIn(t *testing.T) {
	all := sha256.New()
	for _, infos := range [][]*api.Info{builtin.All(), slices.Concat(builtin.All(), builtin.Further()), nil} { // nil: definitions
		made := 0
		h := New(infos, "v1.37.0")
		if infos == nil {
			h.SetCustom([]*api.Info{boat("a/1", &made)})
		}
		index, err := h.document("v3", false)
		if err != nil {
			t.Fatal(err)
		}
		var list struct{ Paths map[string]any }
		if err := json.Unmarshal(index.json, &list); err != nil {
			t.Fatal(err)
		}
		for _, at := range slices.Sorted(maps.Keys(list.Paths)) {
			d, err := h.document("v3/"+at, false)
			if err != nil || d == nil {
				t.Fatal(at, err)
			}
			all.Write(d.json)
		}
	}
	if got := fmt.Sprintf("%x", all.Sum(nil)[:16]); got != builtIn {
		t.Errorf("the documents have changed: builtIn in hash.go is to be %q", got)
	}
}

// BenchmarkIndex is the list of documents of a server with 1000 definitions, after one of them changed, and its first time.
func BenchmarkIndex(b *testing.B) {
	var infos []*api.Info
	made := 0
	for n := range 1000 {
		i := boat(fmt.Sprint(n), &made)
		i.Group = fmt.Sprintf("g%d.example.com", n)
		infos = append(infos, i)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			h := New(builtin.All(), "v1.37.0")
			if _, err := h.document("v3", false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("changed", func(b *testing.B) {
		h := New(builtin.All(), "v1.37.0")
		for b.Loop() {
			h.SetCustom(infos)
			if _, err := h.document("v3", false); err != nil {
				b.Fatal(err)
			}
		}
	})
}
