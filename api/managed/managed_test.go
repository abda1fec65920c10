package managed

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
)

// same is a converter between versions of which there is one only.
type oneVersion struct{ gvk schema.GroupVersionKind }

func (c oneVersion) Convert(_, _, _ any) error { return fmt.Errorf("there is one version") }
func (c oneVersion) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	if u, ok := in.(*unstructured.Unstructured); ok {
		obj, err := c.New(c.gvk)
		if err != nil {
			return nil, err
		}
		in = obj
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, in); err != nil {
			return nil, err
		}
	}
	in.GetObjectKind().SetGroupVersionKind(c.gvk)
	return in, nil
}
func (c oneVersion) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}
func (c oneVersion) Default(runtime.Object) {}

func (c oneVersion) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	obj, err := scheme.Scheme.New(gvk)
	if err == nil {
		obj.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return obj, err
}

// reference is apimachinery's manager for a resource.
func reference(t testing.TB, i *api.Info, subresource string) *managedfields.FieldManager {
	c := oneVersion{i.GVK()}
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if i.HasStatus && subresource == "" {
		reset = map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(i.GroupVersion().String()): fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))}
	}
	m, err := managedfields.NewDefaultFieldManager(converter, c, c, c, i.GVK(), i.GroupVersion(), subresource, reset)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// applier is the same for applies, which say more than a subresource writes.
func applier(t testing.TB, i *api.Info, subresource string) *managedfields.FieldManager {
	c := oneVersion{i.GVK()}
	m, err := managedfields.NewDefaultFieldManager(converter, c, c, c, i.GVK(), i.GroupVersion(), subresource, kinds{info: i}.written(subresource))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var converter = applyconfigurations.NewTypeConverter(scheme.Scheme)

// Every built-in type, filled at random and changed and applied at random by several managers: after each write the fields
// of each manager are those that apimachinery's own implementation gives, typed by the schema that client-go carries.
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
		if i.Virtual || i.Group == "apiextensions.k8s.io" || i.Group == "apiregistration.k8s.io" { // JSON that cannot be filled at random; not in client-go's schema
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
		if r.IntN(3) == 0 {
			var ok bool
			if old, oldRef, ok = followApply(t, i, r, seed, step, old, oldRef, part(r, data), sub); !ok {
				return
			}
			continue
		}
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

// TestCompareKeys: the order of path elements is the library's, also where it is found without reading them.
func TestCompareKeys(t *testing.T) {
	keys := []string{`k:{"name":"a"}`, `k:{"name":"ab"}`, `k:{"name":"b"}`, `k:{"name":"a b"}`, `k:{"name":"a!"}`, `k:{"name":"a\""}`, `k:{"name":"a\\"}`, `k:{"name":""}`,
		`k:{"containerPort":80,"protocol":"TCP"}`, `k:{"containerPort":80,"protocol":"UDP"}`, `k:{"containerPort":8080,"protocol":"TCP"}`,
		`k:{"containerPort":9,"protocol":"TCP"}`, `k:{"containerPort":0,"protocol":"TCP"}`, `k:{"containerPort":-9,"protocol":"TCP"}`, `k:{"containerPort":-80,"protocol":"TCP"}`,
		`k:{"port":80}`, `k:{"port":800}`, `k:{"port":80,"protocol":"TCP"}`, `k:{"port":"http"}`, `k:{"port":true}`, `k:{"port":false}`, `k:{"port":1.5}`, `k:{"port":15}`,
		`k:{"port":null}`, `k:{"ip":"1.2.3.4"}`, `k:{"ip":"1.2.3.40"}`, `k:{"name":"ü"}`, `k:{"name":"\u003c"}`, `k:{"a":"x","b":"y"}`, `k:{"a":"x","c":"y"}`, `k:{"a":"x"}`,
		`v:"a"`, `v:"ab"`, `v:"b"`, `v:1`, `v:10`, `v:2`, `v:-1`, `v:true`, `v:"1"`}
	quick := 0
	for _, a := range keys {
		for _, b := range keys {
			p, err := fieldpath.DeserializePathElement(a)
			if err != nil {
				t.Fatal(err)
			}
			q, err := fieldpath.DeserializePathElement(b)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := compareKeys(a, b), p.Compare(q); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("%s and %s: %d, want %d", a, b, got, want)
			}
			if _, ok := compareAlike(a, b); ok {
				quick++
			}
		}
	}
	if quick < len(keys)*len(keys)/3 {
		t.Errorf("%d of %d were compared without reading them", quick, len(keys)*len(keys))
	}
}

// followApply applies a configuration to both objects and compares what becomes of them; what is refused leaves them.
func followApply(t *testing.T, i *api.Info, r *rand.Rand, seed uint64, step int, old, oldRef api.Object, config map[string]any, sub string) (_, _ api.Object, ok bool) {
	t.Helper()
	config["apiVersion"], config["kind"] = i.GVK().ToAPIVersionAndKind()
	manager, force := fmt.Sprint("applier-", r.IntN(3)), r.IntN(2) == 0
	if old, oldRef, ok = applyBoth(t, i, seed, step, old, oldRef, config, sub, manager, force); !ok {
		return old, oldRef, false
	}
	for range r.IntN(3) { // the same again, after others wrote, or with another value
		if next := i.New(); old != nil && r.IntN(2) == 0 {
			next = old.DeepCopyObject().(api.Object)
			change(r, filler(r), reflect.ValueOf(next).Elem(), 0)
			data := whole(t, next)
			if next = i.New(); json.Unmarshal([]byte(data), next) == nil && !strings.Contains(data, "null") { // as it comes from a client
				next.GetObjectKind().SetGroupVersionKind(i.GVK())
				next.SetUID("u")
				next.SetManagedFields(old.GetManagedFields())
				old, oldRef = next, next.DeepCopyObject().(api.Object)
			}
		} else if meta, ok := config["metadata"].(map[string]any); ok && meta["generateName"] != nil {
			meta["generateName"] = fmt.Sprint("another-", r.IntN(3))
		}
		if old, oldRef, ok = applyBoth(t, i, seed, step, old, oldRef, config, sub, manager, force); !ok {
			return old, oldRef, false
		}
	}
	if old != nil && r.IntN(8) == 0 { // as it was before managers were kept
		old.SetManagedFields(nil)
		oldRef.SetManagedFields(nil)
	}
	return old, oldRef, true
}

func applyBoth(t *testing.T, i *api.Info, seed uint64, step int, old, oldRef api.Object, config map[string]any, sub, manager string, force bool) (_, _ api.Object, ok bool) {
	t.Helper()
	live := oldRef
	if live == nil {
		live = i.New()
	}
	live.GetObjectKind().SetGroupVersionKind(i.GVK())
	before := ""
	if old != nil {
		before = whole(t, old)
	}
	said := fmt.Sprint(config)
	got, err := Apply{Manager: manager, Subresource: sub, Force: force, Now: time.Now()}.Merge(i, old, &unstructured.Unstructured{Object: config})
	if fmt.Sprint(config) != said {
		t.Fatalf("LIGHTER_SEED=%d step %d: apply wrote to the configuration", seed, step)
	}
	out, refErr := applier(t, i, sub).Apply(live.DeepCopyObject(), (&unstructured.Unstructured{Object: config}).DeepCopy(), manager, force)
	if sorted(err) != sorted(refErr) {
		t.Fatalf("LIGHTER_SEED=%d step %d, apply by %s through %q:\n got %v\nwant %v", seed, step, manager, sub, err, refErr)
	}
	if old != nil && whole(t, old) != before {
		t.Fatalf("LIGHTER_SEED=%d step %d: apply wrote to the object that is there", seed, step)
	}
	if err != nil {
		return old, oldRef, apierrors.IsConflict(err) // else no valid object
	}
	ref := out.(api.Object)
	got.SetUID("u")
	ref.SetUID("u")
	if a, b := show(got), show(ref); a != b {
		t.Fatalf("LIGHTER_SEED=%d step %d, apply by %s through %q:\n got %s\nwant %s", seed, step, manager, sub, a, b)
	}
	if a, b := times(got), times(ref); a != b {
		t.Fatalf("LIGHTER_SEED=%d step %d, apply by %s through %q, times:\n got %s\nwant %s", seed, step, manager, sub, a, b)
	}
	for _, e := range ref.GetManagedFields() { // long ago, so that the next write shows
		if e.Time != nil {
			e.Time.Time = time.Unix(1e9, 0)
		}
	}
	got.SetManagedFields(ref.GetManagedFields())
	if a, b := whole(t, got), whole(t, ref); a != b {
		t.Fatalf("LIGHTER_SEED=%d step %d, apply by %s through %q:\n got %s\nwant %s", seed, step, manager, sub, a, b)
	}
	return stored(t, i, got), stored(t, i, ref), true
}

// stored is an object as it comes back from the store, where what is empty and left out is nothing.
func stored(t *testing.T, i *api.Info, o api.Object) api.Object {
	out := i.New()
	if err := json.Unmarshal([]byte(whole(t, o)), out); err != nil {
		t.Fatal(err)
	}
	out.SetManagedFields(o.GetManagedFields())
	return out
}

// sorted is an error with its lines in order: those of a schema come as a map's keys do.
func sorted(err error) string {
	lines := strings.Split(fmt.Sprint(err), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// times tells which entries have one, and which have that of this write.
func times(o api.Object) string {
	var lines []string
	for _, e := range o.GetManagedFields() {
		lines = append(lines, fmt.Sprint(e.Manager, e.Operation, e.Subresource, e.Time == nil, e.Time != nil && e.Time.Year() > 2020))
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

func whole(t *testing.T, o api.Object) string {
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// part is a random part of an object, as somebody would apply it.
func part(r *rand.Rand, data []byte) map[string]any {
	var all map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &all); err != nil {
		panic(err)
	}
	var thin func(m map[string]any, depth int)
	thin = func(m map[string]any, depth int) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			v := m[key]
			if v == nil || r.IntN(3+depth) == 0 {
				delete(m, key)
			} else if inner, ok := v.(map[string]any); ok {
				thin(inner, depth+1)
			}
		}
	}
	thin(all, 0)
	if meta, ok := all["metadata"].(map[string]any); ok {
		for _, key := range []string{"managedFields", "uid", "resourceVersion"} {
			delete(meta, key)
		}
	}
	return all
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
