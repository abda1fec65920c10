package registry

import (
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"sigs.k8s.io/randfill"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

func filler(t *testing.T) *randfill.Filler {
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("LIGHTER_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	return randfill.NewWithSeed(int64(seed)).NilChance(.2).NumElements(1, 3).MaxDepth(20).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1500m", "64Mi"}[c.Intn(3)])
		},
		func(m *metav1.Time, c randfill.Continue) { *m = metav1.Unix(c.Int63n(1e9), 0) },
		func(m *metav1.MicroTime, c randfill.Continue) { *m = metav1.NewMicroTime(time.Unix(c.Int63n(1e9), 0)) },
		func(f *metav1.FieldsV1, c randfill.Continue) { f.Raw = []byte(`{"f:a":{}}`) },
		func(s *apiextensionsv1.JSONSchemaProps, _ randfill.Continue) { // holds itself, and JSON
			s.Type, s.Default = "object", &apiextensionsv1.JSON{Raw: []byte(`{"a":"<x>"}`)}
		},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw, r.Object = []byte(`{"a":"b"}`), nil })
}

// TestCarry: an update shares the stored object's status, and writes to nothing of the stored object on its way.
func TestCarry(t *testing.T) {
	fill := filler(t)
	r := &Registry{}
	for _, i := range builtin.All() {
		if i.Virtual || i.CopyStatus == nil {
			continue
		}
		for range 20 {
			old, obj := i.New(), i.New()
			fill.Fill(old)
			fill.Fill(obj)
			before := old.DeepCopyObject()
			req := Request{Info: i}
			obj = r.carry(req, obj, old)
			i.Default(obj)
			i.Prepare(obj, old)
			if !reflect.DeepEqual(old, before) {
				t.Fatalf("%s: the stored object was written to", i.Resource)
			}
		}
	}
}

// TestSame compares a value with the object that is stored as its bytes with the version in them do.
func TestSame(t *testing.T) {
	i := builtin.All()[0]
	for _, other := range builtin.All() {
		if other.Resource == "pods" {
			i = other
		}
	}
	fill := filler(t)
	for n := range 50 {
		p := &corev1.Pod{}
		fill.Fill(p)
		p.Name, p.Namespace, p.ResourceVersion = "a", "n", ""
		value, err := api.EncodeStored(i, p)
		if err != nil {
			t.Fatal(err)
		}
		item, err := watch.NewItem(i, store.Entry{Key: watch.Key(i, "n", "a"), Value: value, Revision: store.Revision(1 + n*1000)})
		if err != nil {
			t.Fatal(err)
		}
		if !same(item, value) {
			t.Error("the same is another")
		}
		for what, change := range map[string]func(*corev1.Pod){
			"label":  func(p *corev1.Pod) { p.Labels = map[string]string{"another": "one"} },
			"status": func(p *corev1.Pod) { p.Status.Message += "x" },
			"spec":   func(p *corev1.Pod) { p.Spec.NodeName += "x" },
		} {
			c := p.DeepCopy()
			change(c)
			value, err := api.EncodeStored(i, c)
			if err != nil {
				t.Fatal(err)
			}
			if same(item, value) {
				t.Errorf("another %s is the same", what)
			}
		}
	}
}

// TestSameButTimes: who wrote what again, and nothing else, writes nothing and keeps the time at which it was written.
func TestSameButTimes(t *testing.T) {
	var i *api.Info
	for _, other := range builtin.All() {
		if other.Resource == "pods" {
			i = other
		}
	}
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		then := metav1.Unix(1e9, 0)
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n", Labels: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "m", Operation: "Apply", APIVersion: "v1", Time: &then, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}}}
		p.Spec.NodeName = "x"
		change(p)
		return p
	}
	later := func(p *corev1.Pod) { p.ManagedFields[0].Time = &metav1.Time{Time: time.Unix(2e9, 0)} }
	old := pod(func(*corev1.Pod) {})
	value, err := api.EncodeStored(i, old)
	if err != nil {
		t.Fatal(err)
	}
	item, err := watch.NewItem(i, store.Entry{Key: watch.Key(i, "n", "a"), Value: value, Revision: 7})
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"a time":              {later, true},
		"a time and a label":  {func(p *corev1.Pod) { later(p); p.Labels["a"] = "c" }, false},
		"a time and a field":  {func(p *corev1.Pod) { later(p); p.Spec.NodeName = "y" }, false},
		"a time and an owner": {func(p *corev1.Pod) { later(p); p.ManagedFields[0].Manager = "n" }, false},
		"a time and what it owns": {func(p *corev1.Pod) {
			later(p)
			p.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1(`{"f:spec":{},"f:status":{}}`)
		}, false},
	} {
		obj := pod(tt.change)
		value, err := api.EncodeStored(i, obj)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameButTimes(i, item, old, obj, value); got != tt.want {
			t.Errorf("%s: %v, want %v", what, got, tt.want)
		}
		if kept := obj.ManagedFields[0].Time.Unix() == 1e9; kept != tt.want {
			t.Errorf("%s: its time is the stored one: %v", what, kept)
		}
	}
}
