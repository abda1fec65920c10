package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/api/managed"
)

// TestMergingAsPublished: how fields merge, as the published document says it. $LIGHTER_KUBERNETES_API holds that.
func TestMergingAsPublished(t *testing.T) {
	dir := os.Getenv("LIGHTER_KUBERNETES_API")
	if dir == "" {
		t.Skip("LIGHTER_KUBERNETES_API names no directory with the published documents")
	}
	data, err := os.ReadFile(filepath.Join(dir, "openapi", "swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	type property = map[string]any
	var published struct {
		Definitions map[string]struct{ Properties map[string]property }
	}
	if err := json.Unmarshal(data, &published); err != nil {
		t.Fatal(err)
	}
	const changed = "io.k8s.api.core.v1.PodStatus.nodeAllocatableResourceClaimStatuses" // 1.37: a map; the documents are 1.36's
	m := newModels(false)
	for _, i := range builtin.All() {
		m.ref(typeOf(i.New()))
	}
	compared := 0
	for _, n := range slices.Sorted(maps.Keys(m.schemas)) {
		ours, _ := m.schemas[n].(doc)["properties"].(doc)
		theirs, ok := published.Definitions[n]
		if !ok {
			continue
		}
		for _, field := range slices.Sorted(maps.Keys(ours)) {
			want, ok := theirs.Properties[field]
			if !ok {
				continue
			}
			got := ours[field].(doc)
			for _, key := range []string{"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key"} {
				a, b := fmt.Sprint(got[key]), fmt.Sprint(want[key])
				compared++
				switch {
				case a == b, n+"."+field == changed:
				case key == "x-kubernetes-list-type" && a == "atomic" && b == "<nil>": // what is not said is atomic
				case got["format"] == "byte" && b == "atomic": // bytes are no list in a document
				case want["x-kubernetes-patch-merge-key"] != nil && b == "<nil>": // a list of a patch's is a map to both
				default:
					t.Errorf("%s.%s %s: got %s, published %s", n, field, key, a, b)
				}
			}
		}
	}
	if compared < 5000 {
		t.Errorf("only %d compared", compared)
	}
}

// TestApplied: clients that take the types of an apply from the document get those that the server merges by.
func TestApplied(t *testing.T) {
	h := New(builtin.All(), "v1.37.0")
	for _, name := range []string{"v3/api/v1", "v3/apis/apps/v1", "v3/apis/networking.k8s.io/v1"} {
		d, err := h.document(name, false)
		if err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Components struct{ Schemas map[string]*spec.Schema }
			Paths      map[string]struct {
				Patch *struct {
					Action      string `json:"x-kubernetes-action"`
					RequestBody struct{ Content map[string]any }
					Responses   map[string]any
				}
			}
		}
		if err := json.Unmarshal(d.json, &parsed); err != nil {
			t.Fatal(err)
		}
		c, err := managedfields.NewTypeConverter(parsed.Components.Schemas, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range builtin.All() {
			if i.Virtual || "v3/"+strings.TrimPrefix(root(i.Group, i.Version), "/") != name {
				continue
			}
			obj := i.New()
			obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind(i.GVK()))
			v, err := c.ObjectToTyped(obj)
			if err != nil {
				t.Errorf("%s: %v", i.Resource, err)
				continue
			}
			ours, err := managed.Typed(i)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := v.Schema().Resolve(v.TypeRef())
			b, _ := ours.Schema.Resolve(ours.TypeRef)
			var x, y []string
			for _, f := range a.Fields {
				x = append(x, f.Name)
			}
			for _, f := range b.Fields {
				y = append(y, f.Name)
			}
			slices.Sort(x)
			if !reflect.DeepEqual(x, y) {
				t.Errorf("%s: %v, and the server's %v", i.Resource, x, y)
			}
		}
		for url, p := range parsed.Paths {
			if p.Patch != nil && p.Patch.Action != "connect" && (p.Patch.RequestBody.Content["application/apply-patch+yaml"] == nil || p.Patch.Responses["201"] == nil) {
				t.Errorf("%s: no apply in %v", url, p.Patch)
			}
		}
	}
}
