package apiserver

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
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
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

func item(tb testing.TB, i *api.Info, obj api.Object) *watch.Item {
	obj.SetName("a")
	obj.SetResourceVersion("")
	obj.GetObjectKind().SetGroupVersionKind(i.GVK())
	value, err := api.EncodeStored(i, obj)
	if err != nil {
		tb.Fatal(err)
	}
	stored, err := watch.NewItem(i, store.Entry{Key: watch.Key(i, "n", "a"), Value: value, Revision: 7})
	if err != nil {
		tb.Fatal(err)
	}
	return stored
}

// TestRows: a row made of an object's bytes is that of the typed object, for random objects of every resource.
func TestRows(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("LIGHTER_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	words := []string{"", "a", "<&>\"\n\u2028", "Running", "Completed", "100m", "True"}
	fill := randfill.NewWithSeed(int64(seed)).NilChance(.4).NumElements(0, 3).MaxDepth(20).Funcs(
		func(s *string, c randfill.Continue) { *s = words[c.Intn(len(words))] },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1500m", "64Mi"}[c.Intn(3)])
		},
		func(m *metav1.Time, c randfill.Continue) { *m = metav1.Unix(c.Int63n(1e9), 0) },
		func(m *metav1.MicroTime, c randfill.Continue) { *m = metav1.NewMicroTime(time.Unix(c.Int63n(1e9), 0)) },
		func(f *metav1.FieldsV1, c randfill.Continue) { f.Raw = []byte(`{"f:a":{}}`) },
		func(s *apiextensionsv1.JSONSchemaProps, _ randfill.Continue) { // holds itself, and JSON
			s.Type, s.Default = "object", &apiextensionsv1.JSON{Raw: []byte(`{"a":"<x>"}`)}
		},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw, r.Object = []byte(`{"a":"<x>"}`), nil },
		func(p *corev1.ContainerRestartPolicy, c randfill.Continue) {
			*p = []corev1.ContainerRestartPolicy{"", corev1.ContainerRestartPolicyAlways}[c.Intn(2)]
		},
		func(p *corev1.PodConditionType, c randfill.Continue) {
			*p = []corev1.PodConditionType{"a", corev1.PodReady, corev1.PodInitialized, corev1.PodScheduled}[c.Intn(4)]
		})
	for _, i := range builtin.All() {
		if i.Virtual || i.Stored != i {
			continue
		}
		for range 20 {
			obj := i.New()
			fill.Fill(obj)
			stored := item(t, i, obj)
			whole, err := api.DecodeRaw(i, stored.Raw())
			if err != nil {
				t.Fatal(err)
			}
			for _, include := range []string{"", "None", "Metadata", "Object"} {
				r := rows{form{include: include}, i, i.Table()}
				want, err := r.object(nil, whole)
				if err != nil {
					t.Fatal(err)
				}
				got, err := r.item(nil, stored)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, %q: %v:\n got %.900s\nwant %.900s", i.Resource, include, err, got, want)
				}
			}
		}
	}
}

// BenchmarkRow is a pod of some 7 KB in a table with its metadata.
func BenchmarkRow(b *testing.B) {
	p := &corev1.Pod{}
	p.Namespace, p.CreationTimestamp = "n", metav1.Unix(1.7e9, 0)
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "a", Operation: "Update", APIVersion: "v1", Time: &metav1.Time{Time: time.Unix(1.7e9, 0)},
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{` + string(bytes.Repeat([]byte(`"f:a":{},`), 250)) + `"f:b":{}}}`)}}}
	random := rand.New(rand.NewPCG(1, 1))
	for c := range 3 {
		in := corev1.Container{Name: fmt.Sprint("c", c), Image: "example.com/shop/app:v1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")}}}
		for range 20 {
			in.Env = append(in.Env, corev1.EnvVar{Name: fmt.Sprint("SETTING_", random.Int()), Value: "a value of some thirty bytes"})
		}
		p.Spec.Containers = append(p.Spec.Containers, in)
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: in.Name, Ready: true, Image: in.Image,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	stored := item(b, core.Pod, p)
	b.SetBytes(int64(len(stored.Raw())))
	r := rows{form{}, core.Pod, core.Pod.Table()}
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = r.item(buf[:0], stored); err != nil {
			b.Fatal(err)
		}
	}
}
