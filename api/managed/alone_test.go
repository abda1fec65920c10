package managed

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api"
)

// TestMetadataAlone: an apply that speaks of metadata alone gives what it gives where the whole object is merged, conflicts included, after
// whatever others and the applier said before.
func TestMetadataAlone(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	i := info("configmaps")
	whole := *i // not known as one whose rest stays as it is
	whole.Resource = "others"
	whole.Stored = &whole
	show := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	alone, conflicts := 0, 0
	for range 300 {
		var old api.Object
		for step := range 8 {
			manager := []string{"a", "b", "kubectl"}[r.IntN(3)]
			now := time.Unix(int64(1e9+step), 0)
			if old != nil && r.IntN(4) == 0 {
				next := old.DeepCopyObject().(*corev1.ConfigMap)
				next.Labels, next.Data = map[string]string{"l": fmt.Sprint(r.IntN(3))}, map[string]string{"k": fmt.Sprint(r.IntN(3))}
				if r.IntN(3) == 0 {
					next.Annotations = map[string]string{lastApplied: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"k":"1"}}`}
				}
				Update(i, old, next, Write{Manager: manager, Now: now})
				if r.IntN(8) == 0 {
					next.ManagedFields = nil // of before there were any
				}
				old = next
				continue
			}
			config := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c"}}}
			if r.IntN(2) == 0 {
				config.SetLabels(map[string]string{"l": fmt.Sprint(r.IntN(3))})
			}
			if r.IntN(3) == 0 {
				config.SetAnnotations(map[string]string{"x": fmt.Sprint(r.IntN(3))})
			}
			if r.IntN(3) == 0 {
				config.Object["data"] = map[string]any{"k": fmt.Sprint(r.IntN(3)), fmt.Sprint("k", r.IntN(3)): "v"}
			}
			a := Apply{Manager: manager, Force: r.IntN(3) == 0, Now: now}
			before := show(old)
			got, err := a.Merge(i, old, config)
			want, failed := a.Merge(&whole, old, config)
			if show(old) != before {
				t.Fatalf("LIGHTER_SEED=%d: what was given was written to", seed)
			}
			if show(got) != show(want) || fmt.Sprint(err) != fmt.Sprint(failed) {
				t.Fatalf("LIGHTER_SEED=%d: %s by %s onto\n%s\ngot  %s, %v\nwant %s, %v", seed, show(config), manager, before, show(got), err, show(want), failed)
			}
			if old != nil && a.alone(kinds{i, nil, map[*api.Info]typed.ParseableType{}}, old, config) {
				alone++
			}
			if err != nil {
				conflicts++
				continue
			}
			old = got
		}
	}
	if t.Logf("%d of metadata alone, %d conflicts", alone, conflicts); alone < 100 || conflicts < 20 {
		t.Error("too few of what is to be tried")
	}
}

// TestMetadataAloneCustom is TestMetadataAlone for objects without a Go type, of which some are not as their schema has them.
func TestMetadataAloneCustom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	make := func(single bool) *api.Info {
		i := &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "roots"}, Kind: "Root", StoreKey: "example.com/roots",
			New: func() api.Object { return &unstructured.Unstructured{Object: map[string]any{}} }, Typed: func() (typed.ParseableType, error) { return several, nil }}
		i.Stored, i.Custom = i, &api.Custom{Single: single, Versions: []*api.Info{i}}
		return i
	}
	i, whole := make(true), make(false)
	show := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	content := func(o map[string]any) {
		if r.IntN(2) == 0 {
			o["names"] = map[string]any{"a": fmt.Sprint(r.IntN(3)), fmt.Sprint("k", r.IntN(3)): "v"}
		}
		if r.IntN(2) == 0 {
			o["items"] = []any{map[string]any{"text": fmt.Sprint(r.IntN(2)), "number": int64(r.IntN(2)), "self": map[string]any{"flag": r.IntN(2) == 0}}, map[string]any{"text": fmt.Sprint(r.IntN(2))}}
		}
		if r.IntN(9) == 0 {
			o["text"] = []any{int64(7), "x"}[r.IntN(2)]
		}
	}
	alone, conflicts, settled := 0, 0, 0
	for range 300 {
		var old api.Object
		for step := range 8 {
			manager := []string{"a", "b", "kubectl"}[r.IntN(3)]
			now := time.Unix(int64(1e9+step), 0)
			if old != nil && r.IntN(4) == 0 {
				next := old.DeepCopyObject().(*unstructured.Unstructured)
				next.SetLabels(map[string]string{"l": fmt.Sprint(r.IntN(3))})
				content(next.Object)
				if r.IntN(3) == 0 {
					next.SetAnnotations(map[string]string{lastApplied: `{"apiVersion":"example.com/v1","kind":"Root","metadata":{"name":"c"},"text":"x"}`})
				}
				Update(i, old, next, Write{Manager: manager, Now: now})
				if r.IntN(8) == 0 {
					next.SetManagedFields(nil) // of before there were any
				}
				old = next
				continue
			}
			config := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Root", "metadata": map[string]any{"name": "c"}}}
			if r.IntN(2) == 0 {
				config.SetLabels(map[string]string{"l": fmt.Sprint(r.IntN(3))})
			}
			if r.IntN(3) == 0 {
				config.SetAnnotations(map[string]string{"x": fmt.Sprint(r.IntN(3))})
			}
			if r.IntN(3) == 0 {
				content(config.Object)
			}
			a := Apply{Manager: manager, Force: r.IntN(3) == 0, Now: now}
			before := show(old)
			got, err := a.Merge(i, old, config)
			want, failed := a.Merge(whole, old, config)
			if show(old) != before {
				t.Fatalf("LIGHTER_SEED=%d: what was given was written to", seed)
			}
			if show(got) != show(want) || fmt.Sprint(err) != fmt.Sprint(failed) {
				t.Fatalf("LIGHTER_SEED=%d: %s by %s onto\n%s\ngot  %s, %v\nwant %s, %v", seed, show(config), manager, before, show(got), err, show(want), failed)
			}
			if old != nil && a.alone(kinds{i, nil, map[*api.Info]typed.ParseableType{}}, old, config) {
				alone++
				if err == nil {
					settled++
				}
			}
			if err != nil {
				conflicts++
				continue
			}
			old = got
		}
	}
	if t.Logf("%d of metadata alone, of which %d applied, %d failed in all", alone, settled, conflicts); alone < 100 || settled < 50 || conflicts < 20 {
		t.Error("too few of what is to be tried")
	}
}
