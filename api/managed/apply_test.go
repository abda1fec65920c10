package managed

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
