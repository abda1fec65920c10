package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// The operations on a custom resource with status and scale are those that kube-apiserver 1.37.2 describes (testdata/custom.txt).
func TestCustomOperations(t *testing.T) {
	want, err := os.ReadFile("testdata/custom.txt")
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	i := boat("a/1", &made)
	i.GroupVersionResource = schema.GroupVersionResource{Group: "sea-side.example.com", Version: "v1", Resource: "boats"}
	i.Namespaced, i.HasStatus, i.HasScale = true, true, true
	h := New(nil, "v1.37.0")
	h.SetCustom([]*api.Info{i})
	d, err := h.document("v3/apis/sea-side.example.com/v1", false)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Info  struct{ Title string }
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(d.json, &got); err != nil {
		t.Fatal(err)
	}
	if got.Info.Title != "Kubernetes CRD Swagger" {
		t.Errorf("title %q", got.Info.Title)
	}
	var lines []string
	for _, url := range slices.Sorted(maps.Keys(got.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(got.Paths[url])) {
			if method == "parameters" {
				continue
			}
			var o struct {
				OperationID, Description string
				Tags                     []string
				Responses                map[string]any
				Parameters               []struct{ Name string }
				RequestBody              struct{ Content map[string]any }
				Of                       struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
			}
			if err := json.Unmarshal(got.Paths[url][method], &o); err != nil {
				t.Fatal(err)
			}
			var query []string
			for _, p := range o.Parameters {
				query = append(query, p.Name)
			}
			keys := func(m map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(m)), ",") }
			lines = append(lines, fmt.Sprintf("%s %s %s %s %s ?%s <%s %s/%s.%s %s", method, url, o.OperationID, strings.Join(o.Tags, ","), keys(o.Responses), strings.Join(query, ","),
				keys(o.RequestBody.Content), o.Of.Group, o.Of.Version, o.Of.Kind, o.Description))
		}
	}
	for n, line := range strings.Split(strings.TrimSpace(string(want)), "\n") {
		if n >= len(lines) || lines[n] != line {
			t.Fatalf("line %d:\n got %s\nwant %s", n+1, append(lines, "nothing")[min(n, len(lines))], line)
		}
	}
	if n := strings.Count(string(want), "\n"); len(lines) != n {
		t.Errorf("%d operations, want %d", len(lines), n)
	}
}
