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
// Not compared: descriptions (fields have been worded anew since) and defaults (the published ones are the types' zero values).
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
	const file = "testdata/published.txt"
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
