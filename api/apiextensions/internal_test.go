package apiextensions

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"
)

type source struct{ r *rand.Rand }

func (s source) Int63() int64 { return s.r.Int64() }
func (s source) Seed(int64)   {}

// TestInternal: definitions filled at random become what the published conversion makes of them, several versions with one schema
// or nearly one among them.
func TestInternal(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	fill := randfill.New().RandSource(source{r}).NilChance(.6).NumElements(0, 2).MaxDepth(12).Funcs(
		func(x *apiextensionsv1.JSON, c randfill.Continue) {
			x.Raw = []byte([]string{"null", `{"a":1}`, `{ "a": 1 }`, "3", ""}[c.Intn(5)])
		},
		func(x *metav1.ObjectMeta, c randfill.Continue) { x.Name = "n" },
	)
	lifted, kept := 0, 0
	for range 1500 {
		d := &definition{}
		fill.Fill(d)
		for n := range d.Spec.Versions {
			if n > 0 && r.IntN(3) > 0 {
				d.Spec.Versions[n].Schema = d.Spec.Versions[0].Schema.DeepCopy()
				if s := schemaOf(d.Spec.Versions[n]); s != nil && s.Default != nil && r.IntN(2) == 0 {
					s.Default.Raw = append([]byte{' '}, s.Default.Raw...) // which means the same
				}
			}
		}
		want := &internal{}
		failed := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.DeepCopy(), want, nil)
		before := d.DeepCopy()
		got, err := toInternal(d)
		if (err != nil) != (failed != nil) {
			t.Fatalf("LIGHTER_SEED=%d: %v, want %v", seed, err, failed)
		}
		if !equality.Semantic.DeepEqual(before, d) {
			t.Fatalf("LIGHTER_SEED=%d: the definition was written to", seed)
		}
		if err != nil {
			continue
		}
		if !equality.Semantic.DeepEqual(got, want) {
			t.Fatalf("LIGHTER_SEED=%d: got\n%+v\nwant\n%+v\nof\n%+v", seed, got.Spec, want.Spec, d.Spec)
		}
		switch {
		case len(d.Spec.Versions) > 1 && want.Spec.Validation != nil:
			lifted++
		case len(d.Spec.Versions) > 1 && want.Spec.Versions[0].Schema != nil:
			kept++
		}
	}
	if lifted < 10 || kept < 10 {
		t.Errorf("%d had one schema in all versions and %d had not: too few of one kind", lifted, kept)
	}
}
