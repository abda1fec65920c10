package equal_test

import (
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/api/equal"
)

type source struct{ r *rand.Rand }

func (s source) Int63() int64 { return s.r.Int64() }
func (s source) Seed(int64)   {}

// Every built-in type, filled at random: an object, one that differs in one place, and a copy of it, are the same or
// not as apimachinery says.
func TestAsApimachinery(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	fill := randfill.New().RandSource(source{r}).NilChance(.3).NumElements(0, 2).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = []resource.Quantity{resource.MustParse("1"), resource.MustParse("1000m"), resource.MustParse("2Gi")}[c.Intn(3)]
		},
		func(x *metav1.Time, c randfill.Continue) { *x = metav1.Unix(c.Int63n(3), 0) },
		func(x *metav1.MicroTime, c randfill.Continue) { *x = metav1.NewMicroTime(time.Unix(c.Int63n(3), 0)) },
		func(x *runtime.RawExtension, c randfill.Continue) { x.Raw = []byte{byte(c.Intn(2))} },
		func(s *string, c randfill.Continue) { *s = []string{"", "a", "b"}[c.Intn(3)] },
		func(n *int64, c randfill.Continue) { *n = c.Int63n(2) },
		func(n *int32, c randfill.Continue) { *n = c.Int31n(2) },
	)
	same, different := 0, 0
	for _, i := range builtin.All() {
		for range 30 {
			a := i.New()
			fill.Fill(a)
			b := a.DeepCopyObject()
			if r.IntN(2) == 0 {
				change(r, fill, reflect.ValueOf(b).Elem())
			}
			want := equality.Semantic.DeepEqual(a, b)
			if got := equal.Semantic(a, b); got != want {
				t.Fatalf("LIGHTER_SEED=%d: %s: got %v, want %v:\n%+v\n%+v", seed, i.Kind, got, want, a, b)
			}
			if got := equal.Semantic(reflect.ValueOf(a).Elem().Interface(), reflect.ValueOf(b).Elem().Interface()); got != want {
				t.Fatalf("LIGHTER_SEED=%d: %s by value: got %v, want %v", seed, i.Kind, got, want)
			}
			if want {
				same++
			} else {
				different++
			}
		}
	}
	if same < 100 || different < 100 {
		t.Errorf("%d were the same and %d different: too few of one kind", same, different)
	}
	for _, pair := range [][2]any{{nil, nil}, {1, "1"}, {(*int)(nil), (*int)(nil)}, {[]string(nil), []string{}}, {map[string]string(nil), map[string]string{}}} {
		if got, want := equal.Semantic(pair[0], pair[1]), equality.Semantic.DeepEqual(pair[0], pair[1]); got != want {
			t.Errorf("%#v and %#v: got %v, want %v", pair[0], pair[1], got, want)
		}
	}
}

// change fills something within v anew.
func change(r *rand.Rand, fill *randfill.Filler, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		change(r, fill, v.Elem())
	case v.Kind() == reflect.Slice && v.Len() > 0 && r.IntN(3) > 0:
		change(r, fill, v.Index(r.IntN(v.Len())))
	case v.Kind() == reflect.Struct && v.NumField() > 0 && r.IntN(6) > 0:
		if f := v.Field(r.IntN(v.NumField())); f.CanSet() {
			change(r, fill, f)
		}
	case v.CanAddr() && v.CanSet() && v.Kind() != reflect.Interface:
		fill.Fill(v.Addr().Interface())
	}
}

func BenchmarkPodSpec(b *testing.B) {
	spec := &corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "b", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi")}}}}}
	other := spec.DeepCopy()
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			equal.Semantic(spec, other)
		}
	})
	b.Run("apimachinery", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			equality.Semantic.DeepEqual(spec, other)
		}
	})
}
