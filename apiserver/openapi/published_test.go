package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/api/builtin"
)

// TestSchemasAsPublished compares every field of every served type with the published OpenAPI v2 document: that it is there,
// its type, format, items, and what is required. testdata/published.txt lists every difference; LIGHTER_OPENAPI=write
// writes it anew. The documents are 1.36's: what is "ours alone" came with 1.37, unless its line says otherwise.
// Not compared: descriptions (fields have been worded anew since). What a server of 1.37.2 says is held, with every word, by role's TestSameOpenAPI.
func TestSchemasAsPublished(t *testing.T) {
	dir := os.Getenv("LIGHTER_KUBERNETES_API")
	if dir == "" {
		t.Skip("LIGHTER_KUBERNETES_API names no directory with the published documents")
	}
	data, err := os.ReadFile(filepath.Join(dir, "openapi", "swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var published struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(data, &published); err != nil {
		t.Fatal(err)
	}
	m := newModels(false)
	for _, i := range builtin.All() {
		m.ref(typeOf(i.New()))
	}
	raw, err := json.Marshal(m.schemas)
	if err != nil {
		t.Fatal(err)
	}
	var ours map[string]map[string]any
	if err := json.Unmarshal(raw, &ours); err != nil {
		t.Fatal(err)
	}
	var lines []string
	compared := 0
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		theirs, ok := published.Definitions[name]
		if !ok {
			lines = append(lines, name+": ours alone")
			continue
		}
		a, _ := ours[name]["properties"].(map[string]any)
		b, _ := theirs["properties"].(map[string]any)
		for _, field := range slices.Sorted(maps.Keys(a)) {
			compared++
			if b[field] == nil {
				lines = append(lines, name+"."+field+": ours alone")
			} else if x, y := shape(a[field]), shape(b[field]); x != y {
				lines = append(lines, fmt.Sprintf("%s.%s: is %s, published %s", name, field, x, y))
			}
		}
		for _, field := range slices.Sorted(maps.Keys(b)) {
			if a[field] == nil {
				lines = append(lines, name+"."+field+": published alone")
			}
		}
		if x, y := words(ours[name]["required"]), words(theirs["required"]); x != y {
			lines = append(lines, fmt.Sprintf("%s: requires %s, published %s", name, x, y))
		}
	}
	if compared < 2000 {
		t.Errorf("only %d fields compared", compared)
	}
	holdPublished(t, "testdata/published.txt", lines)
}

// TestPathsAsPublished compares every operation of all versions with the published document: what it is called and about, its parameters, what it
// takes and gives. testdata/paths.txt lists every difference, as published.txt does. shardSelector is a parameter of 1.37.
func TestPathsAsPublished(t *testing.T) {
	dir := os.Getenv("LIGHTER_KUBERNETES_API")
	if dir == "" {
		t.Skip("LIGHTER_KUBERNETES_API names no directory with the published documents")
	}
	theirs, err := os.ReadFile(filepath.Join(dir, "openapi", "swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := builtin.Choose(map[string]string{"api/all": "true"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(all.Served, "v1.37.2").document("v2", false)
	if err != nil {
		t.Fatal(err)
	}
	a, b := operations(t, d.json), operations(t, theirs)
	var lines []string
	for _, at := range slices.Sorted(maps.Keys(a)) {
		if b[at] == "" {
			lines = append(lines, at+": ours alone")
		} else if a[at] != b[at] {
			lines = append(lines, fmt.Sprintf("%s: is %s, published %s", at, a[at], b[at]))
		}
	}
	for _, at := range slices.Sorted(maps.Keys(b)) {
		if a[at] == "" {
			lines = append(lines, at+": published alone")
		}
	}
	if len(a) < 800 {
		t.Errorf("only %d operations compared", len(a))
	}
	holdPublished(t, "testdata/paths.txt", lines)
}

// operations are a v2 document's, each in a line, by method and path.
func operations(t *testing.T, data []byte) map[string]string {
	t.Helper()
	type parameter struct {
		Ref    string `json:"$ref"`
		Name   string
		Schema map[string]any
	}
	var d struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for url, methods := range d.Paths {
		var shared []parameter
		if raw := methods["parameters"]; raw != nil {
			if err := json.Unmarshal(raw, &shared); err != nil {
				t.Fatal(err)
			}
		}
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			var o struct {
				OperationID        string
				Tags               []string
				Consumes, Produces []string
				Parameters         []parameter
				Responses          map[string]struct{ Schema map[string]any }
				Action             string         `json:"x-kubernetes-action"`
				Kind               map[string]any `json:"x-kubernetes-group-version-kind"`
			}
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
			var params, answers []string
			for _, p := range slices.Concat(shared, o.Parameters) {
				name := p.Name
				if ref, ok := strings.CutPrefix(p.Ref, "#/parameters/"); ok {
					name = ref[:max(0, len(ref)-9)] // without the hash
				}
				if name != "shardSelector" {
					params = append(params, strings.TrimSpace(name+" "+strings.ReplaceAll(shape(p.Schema), "<nil>", "")))
				}
			}
			for code, r := range o.Responses {
				answers = append(answers, code+" "+shape(r.Schema))
			}
			cbor := func(media string) bool { return strings.Contains(media, "cbor") } // for a time: a server of 1.37.2 says none
			o.Produces, o.Consumes = slices.DeleteFunc(o.Produces, cbor), slices.DeleteFunc(o.Consumes, cbor)
			slices.Sort(params)
			slices.Sort(answers)
			slices.Sort(o.Produces)
			slices.Sort(o.Consumes)
			out[method+" "+url] = fmt.Sprint(o.OperationID, o.Tags, o.Action, o.Kind, params, answers, o.Consumes, o.Produces)
		}
	}
	return out
}

// holdPublished compares differences with those that a file knows.
func holdPublished(t *testing.T, file string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	if os.Getenv("LIGHTER_OPENAPI") == "write" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Split(strings.TrimSpace(string(want)), "\n")
	for _, line := range lines {
		if !slices.Contains(known, line) {
			t.Error("differs from the published document: " + line)
		}
	}
	for _, line := range known {
		if !slices.Contains(lines, line) {
			t.Error("differs no more: " + line)
		}
	}
}

// shape is what a field is, in a word; a reference is the same whether it stands alone or among allOf.
func shape(v any) string {
	o, _ := v.(map[string]any)
	if all, ok := o["allOf"].([]any); ok && len(all) == 1 {
		return shape(all[0])
	}
	if ref, ok := o["$ref"].(string); ok {
		return ref[strings.LastIndexByte(ref, '/')+1:]
	}
	out := fmt.Sprint(o["type"])
	if f := o["format"]; f != nil {
		out += "/" + fmt.Sprint(f)
	}
	if items := o["items"]; items != nil {
		out += " of " + shape(items)
	}
	if more := o["additionalProperties"]; more != nil {
		out += " with " + shape(more)
	}
	return out
}

func words(v any) string {
	list, _ := v.([]any)
	var out []string
	for _, one := range list {
		out = append(out, fmt.Sprint(one))
	}
	slices.Sort(out)
	return "[" + strings.Join(out, " ") + "]"
}
