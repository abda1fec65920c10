package managed

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
)

// same is a converter between versions of which there is one only.
type oneVersion struct{ gvk schema.GroupVersionKind }

func (c oneVersion) Convert(_, _, _ any) error { return fmt.Errorf("there is one version") }
func (c oneVersion) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	in.GetObjectKind().SetGroupVersionKind(c.gvk)
	return in, nil
}
func (c oneVersion) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}
func (c oneVersion) Default(runtime.Object) {}

// reference is apimachinery's manager for a resource.
func reference(t testing.TB, i *api.Info, subresource string) *managedfields.FieldManager {
	c := oneVersion{i.GVK()}
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if i.HasStatus && subresource == "" {
		reset = map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(i.GroupVersion().String()): fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))}
	}
	m, err := managedfields.NewDefaultFieldManager(converter, c, c, scheme.Scheme, i.GVK(), i.GroupVersion(), subresource, reset)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var converter = applyconfigurations.NewTypeConverter(scheme.Scheme)

// Every built-in type, filled at random and changed at random by several managers: after each write the fields of each
// manager are those that apimachinery's own implementation gives.
func TestAsApimachinery(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	rounds := 3
	if os.Getenv("PROVE") != "" {
		rounds = 100
	}
	for _, i := range builtin.All() {
		if i.Virtual || i.Group == "apiextensions.k8s.io" { // the JSON within it cannot be filled at random
			continue
		}
		t.Run(i.Resource+"."+i.Version+"."+i.Group, func(t *testing.T) {
			for n := range rounds {
				follow(t, i, seed+uint64(n))
			}
		})
	}
}

func follow(t *testing.T, i *api.Info, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	fill := filler(r)
	var old, oldRef api.Object
	for step := range 8 {
		next := i.New()
		if old != nil && r.IntN(4) > 0 {
			next = old.DeepCopyObject().(api.Object)
			change(r, fill, reflect.ValueOf(next).Elem(), 0)
			if r.IntN(3) == 0 {
				change(r, fill, reflect.ValueOf(next).Elem(), 0)
			}
		} else {
			fill.Fill(next)
		}
		// As it comes from a client: what is empty and left out is nil.
		data, err := json.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		next = i.New()
		if err := json.Unmarshal(data, next); err != nil {
			t.Fatal(err)
		}
		next.GetObjectKind().SetGroupVersionKind(i.GVK())
		next.SetUID("u")
		next.SetManagedFields(nil)
		sub := ""
		if i.HasStatus && r.IntN(3) == 0 {
			sub = "status"
		}
		manager := fmt.Sprint("manager-", r.IntN(14))
		ref := next.DeepCopyObject().(api.Object)
		live := oldRef
		if live == nil {
			live = i.New()
		}
		got := next
		Update(i, old, got, Write{Manager: manager, Subresource: sub, Now: time.Now()})
		out, err := reference(t, i, sub).Update(live.DeepCopyObject(), ref.DeepCopyObject(), manager)
		if err != nil {
			if strings.Contains(err.Error(), "omits all key fields") || strings.Contains(err.Error(), "explicit null") {
				return // no valid object
			}
			t.Fatalf("seed %d step %d: reference: %v", seed, step, err)
		}
		ref = out.(api.Object)
		if a, b := show(got), show(ref); a != b {
			at := 0
			for at < min(len(a), len(b)) && a[at] == b[at] {
				at++
			}
			near := func(s string) string { return s[max(0, at-200):min(len(s), at+100)] }
			if is, _ := json.Marshal(got); strings.Contains(string(is), "null") {
				return // the reference takes a null within what is owned as a whole for a change; no valid object has one
			}
			t.Fatalf("LIGHTER_SEED=%d step %d, %s through %q:\n got ...%s\nwant ...%s", seed, step, manager, sub, near(a), near(b))
		}
		// Both go on from the same, times included.
		got.SetManagedFields(ref.GetManagedFields())
		old, oldRef = got, ref
	}
}

// show lists managedFields without their times.
func show(o api.Object) string {
	var lines []string
	for _, e := range o.GetManagedFields() {
		lines = append(lines, fmt.Sprintf("%s %s %s %q %s", e.Manager, e.Operation, e.APIVersion, e.Subresource, e.FieldsV1.GetRawBytes()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n     ")
}

func filler(r *rand.Rand) *randfill.Filler {
	return randfill.New().RandSource(source{r}).NilChance(.5).NumElements(0, 3).MaxDepth(12).Funcs(
		func(q *metav1.Time, c randfill.Continue) { *q = metav1.Unix(c.Int63n(1<<31), 0) },
		func(q *metav1.FieldsV1, c randfill.Continue) {},
		func(q *runtime.RawExtension, c randfill.Continue) {
			q.Raw = []byte(fmt.Sprintf(`{"a":{"b":%d},"c":[1]}`, c.Intn(3)))
		},
		func(s *string, c randfill.Continue) { *s = []string{"", "a", "b", `q"\`, "name", "ü<&>"}[c.Intn(6)] },
		func(s *metav1.ManagedFieldsEntry, c randfill.Continue) {},
	)
}

type source struct{ r *rand.Rand }

func (s source) Int63() int64 { return s.r.Int64() }
func (s source) Seed(int64)   {}

// change fills one field somewhere anew.
func change(r *rand.Rand, fill *randfill.Filler, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && r.IntN(4) > 0 {
			change(r, fill, v.Elem(), depth+1)
			return
		}
	case reflect.Slice:
		if v.Len() > 0 && r.IntN(3) > 0 {
			change(r, fill, v.Index(r.IntN(v.Len())), depth+1)
			return
		}
	case reflect.Struct:
		if _, ok := reflect.PointerTo(v.Type()).MethodByName("MarshalJSON"); !ok && v.NumField() > 0 && (depth < 2 || r.IntN(5) > 0) {
			f := v.Field(r.IntN(v.NumField()))
			if f.CanSet() {
				change(r, fill, f, depth+1)
			}
			return
		}
	}
	if v.CanAddr() && v.Type() != reflect.TypeFor[metav1.TypeMeta]() {
		fill.Fill(v.Addr().Interface())
	}
}

func pod() *corev1.Pod {
	data, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		panic(err)
	}
	var p corev1.Pod
	if err := json.Unmarshal(data, &p); err != nil {
		panic(err)
	}
	return &p
}

func info(resource string) *api.Info {
	for _, i := range builtin.All() {
		if i.Resource == resource && i.Stored == i {
			return i
		}
	}
	panic(resource)
}

func BenchmarkCreatePod(b *testing.B) {
	i, p := info("pods"), pod()
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = nil
		Update(i, nil, p, Write{Manager: "kubectl", Now: time.Unix(1e9, 0)})
	}
}

func BenchmarkCreatePodReference(b *testing.B) {
	i, p := info("pods"), pod()
	m := reference(b, i, "")
	live := i.New()
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = nil
		m.UpdateNoErrors(live, p, "kubectl")
	}
}

func BenchmarkUpdatePodStatus(b *testing.B) {
	i, old := info("pods"), pod()
	old.UID = "u"
	Update(i, nil, old, Write{Manager: "kubectl", Now: time.Unix(1e9, 0)})
	p := old.DeepCopy()
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.0.0.1"
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = old.ManagedFields
		Update(i, old, p, Write{Manager: "kubelet", Subresource: "status", Now: time.Unix(1e9, 0)})
	}
}

func BenchmarkUpdatePodStatusReference(b *testing.B) {
	i, old := info("pods"), pod()
	old.UID = "u"
	Update(i, nil, old, Write{Manager: "kubectl", Now: time.Unix(1e9, 0)})
	p := old.DeepCopy()
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.0.0.1"
	m := reference(b, i, "status")
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = old.ManagedFields
		m.UpdateNoErrors(old, p, "kubelet")
	}
}
