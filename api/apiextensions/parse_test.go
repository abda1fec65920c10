package apiextensions

import (
	"math/rand"
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestParse: definitions at random are read as their generated methods read them, from messages that are whole, cut off or changed somewhere.
func TestParse(t *testing.T) {
	seed, fill := filled(t)
	r := rand.New(rand.NewSource(seed))
	taken, refused := 0, 0
	try := func(raw []byte, whole bool) {
		want, got := &definition{}, &definition{}
		err := want.Unmarshal(raw)
		switch ok := parse(got, raw); {
		case !ok:
			refused++
			if whole {
				t.Fatalf("LIGHTER_SEED=%d: %d bytes were not read", seed, len(raw))
			}
		case err != nil:
			t.Fatalf("LIGHTER_SEED=%d: read what its own methods do not: %v", seed, err)
		case !reflect.DeepEqual(got, want):
			t.Fatalf("LIGHTER_SEED=%d: %d bytes were read as something else (whole: %v)", seed, len(raw), whole)
		default:
			taken++
		}
	}
	for range 300 {
		d := &definition{}
		fill.Fill(d)
		raw, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		try(raw, true)
		for range 10 {
			try(raw[:r.Intn(len(raw)+1)], false)
			other := append([]byte(nil), raw...)
			for range 1 + r.Intn(3) {
				other[r.Intn(len(other))] ^= 1 << r.Intn(8)
			}
			try(other, false)
			try(append(other, raw[:r.Intn(len(raw)+1)]...), false)
		}
	}
	t.Logf("%d messages read, %d left", taken, refused)
	if taken < 300 || refused < 300 {
		t.Error("too few of one kind")
	}
}

func BenchmarkParse(b *testing.B) {
	d := &definition{}
	d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: wide(20000)}}}
	raw, err := d.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	for name, by := range map[string]func(d *definition) bool{"ours": func(d *definition) bool { return parse(d, raw) }, "generated": func(d *definition) bool { return d.Unmarshal(raw) == nil }} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !by(&definition{}) {
					b.Fatal("not read")
				}
			}
		})
	}
}
