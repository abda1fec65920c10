package managed

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
)

// applied is the benchmarks' pod as somebody applies it, and as it is after that with the status of its kubelet.
func applied(tb testing.TB) (i *api.Info, old *corev1.Pod, config *unstructured.Unstructured) {
	i, p := info("pods"), pod()
	status := p.Status
	p.UID, p.ResourceVersion, p.ManagedFields, p.Status = "", "", nil, corev1.PodStatus{}
	data, err := json.Marshal(p)
	if err != nil {
		tb.Fatal(err)
	}
	config = &unstructured.Unstructured{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &config.Object); err != nil {
		tb.Fatal(err)
	}
	config.SetGroupVersionKind(i.GVK())
	got, err := Apply{Manager: "kubectl", Now: time.Unix(1e9, 0)}.Merge(i, nil, config)
	if err != nil {
		tb.Fatal(err)
	}
	old = got.(*corev1.Pod)
	old.UID, old.ResourceVersion = "u", "7"
	next := old.DeepCopy()
	next.Status = status
	Update(i, old, next, Write{Manager: "kubelet", Subresource: "status", Now: time.Unix(1e9, 0)})
	return i, next, config
}

func benchmark(b *testing.B, change func(config *unstructured.Unstructured)) {
	i, old, config := applied(b)
	change(config)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Apply{Manager: "kubectl", Now: time.Unix(2e9, 0)}).Merge(i, old, config); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyNothing(b *testing.B) { benchmark(b, func(*unstructured.Unstructured) {}) }

func BenchmarkApplyLabel(b *testing.B) {
	benchmark(b, func(config *unstructured.Unstructured) { config.SetLabels(map[string]string{"another": "label"}) })
}

func BenchmarkApplyImage(b *testing.B) {
	benchmark(b, func(config *unstructured.Unstructured) {
		containers, _, _ := unstructured.NestedSlice(config.Object, "spec", "containers")
		containers[0].(map[string]any)["image"] = "another"
		if err := unstructured.SetNestedSlice(config.Object, containers, "spec", "containers"); err != nil {
			b.Fatal(err)
		}
	})
}

// TestTypesAreSmall: what stays in memory once all kinds have been applied. The figure is printed; the bound is loose.
func TestTypesAreSmall(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	definitions.of, definitions.roots = nil, nil
	if _, err := Typed(info("nodes")); err != nil { // the table of markers is there anyway
		t.Fatal(err)
	}
	definitions.of, definitions.roots = nil, nil
	before := heap()
	for _, i := range builtin.All() {
		if i.Virtual {
			continue
		}
		d, err := Typed(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, def := range d.Schema.Types { // indexes are made at the first use
			d.Schema.FindNamedType(def.Name)
			if def.Map != nil {
				def.FindField("")
			}
		}
	}
	size := heap() - before
	t.Logf("types of all kinds: %d KiB", size>>10)
	if size > 4<<20 {
		t.Errorf("types of all kinds: %d bytes", size)
	}
	runtime.KeepAlive(definitions.roots)
}

// TestBounded: fields without a proportion to their bytes are refused before sets are made of them; what is owned as a whole is one field.
func TestBounded(t *testing.T) {
	data := func(n int) map[string]any {
		m := map[string]any{}
		for k := range n {
			m[fmt.Sprint("key-", k)] = "value"
		}
		return m
	}
	big := &corev1.ConfigMap{Data: map[string]string{}}
	for k, v := range data(byLibrary) {
		big.Data[k] = v.(string)
	}
	owned := big.DeepCopy()
	Update(info("configmaps"), nil, owned, Write{Manager: "somebody", Now: time.Unix(1e9, 0)})
	tolerations := make([]any, fewest)
	for n := range tolerations {
		tolerations[n] = map[string]any{"key": "a"}
	}
	tests := map[string]struct {
		of     string
		live   api.Object
		config map[string]any
		size   int
		want   string
	}{
		"many keys":                        {"configmaps", nil, map[string]any{"data": data(fewest)}, 0, "the allowed maximum of fields in an apply of 0 bytes is 14000"},
		"many keys of many bytes":          {"configmaps", nil, map[string]any{"data": data(fewest)}, 15000 * perField, ""},
		"not that many":                    {"configmaps", nil, map[string]any{"data": data(fewest / 20)}, 0, ""},
		"to an object with many":           {"configmaps", owned, map[string]any{"data": data(1)}, 0, ""},
		"to an object with many of nobody": {"configmaps", big, map[string]any{"data": data(1)}, 0, "the allowed maximum of fields in an object that is applied to is 10000"},
		"a long list that is a whole":      {"pods", nil, map[string]any{"spec": map[string]any{"tolerations": tolerations}}, 0, ""},
		"a long list of others":            {"pods", nil, map[string]any{"spec": map[string]any{"readinessGates": tolerations, "containers": tolerations}}, 0, "the allowed maximum of fields in an apply of 0 bytes is 14000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			i := info(tt.of)
			config := &unstructured.Unstructured{Object: tt.config}
			config.SetGroupVersionKind(i.GVK())
			_, err := Apply{Manager: "m", Size: tt.size, Now: time.Unix(1e9, 0)}.Merge(i, tt.live, config)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!apierrors.IsRequestEntityTooLargeError(err) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
