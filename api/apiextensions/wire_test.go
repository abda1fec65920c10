package apiextensions

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/randfill"
)

// TestMessage: definitions at random, every field of theirs set somewhere, are written as their generated methods write them.
func TestMessage(t *testing.T) {
	seed, fill := filled(t)
	for range 400 {
		d := &definition{}
		fill.Fill(d)
		want := d.DeepCopy()
		want.ResourceVersion = ""
		expected, err := want.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := encode(d)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, expected) {
			again := &definition{}
			t.Fatalf("LIGHTER_SEED=%d: %d bytes, want %d; reads as its own: %v", seed, len(got), len(expected), again.Unmarshal(got))
		}
	}
	for n := 10; n <= 4000; n *= 2 { // long enough for every length of a length
		d := &definition{}
		d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: wide(n)}}}
		want, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encode(d); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d properties: %d bytes, want %d, %v", n, len(got), len(want), err)
		}
	}
}

// filled fills definitions at random, from LIGHTER_SEED where that is set.
func filled(t *testing.T) (seed int64, fill *randfill.Filler) {
	seed = time.Now().UnixNano()
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseInt(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	return seed, randfill.NewWithSeed(seed).NilChance(.6).NumElements(0, 2).MaxDepth(11).Funcs(func(j *apiextensionsv1.JSON, c randfill.Continue) {
		if c.Intn(4) > 0 {
			j.Raw = make([]byte, c.Intn(3))
		}
	})
}

func wide(n int) *apiextensionsv1.JSONSchemaProps {
	s := &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
	for n := range n {
		s.Properties[fmt.Sprintf("f%05d", n)] = apiextensionsv1.JSONSchemaProps{Type: "string", Description: "what it is"}
	}
	return s
}

func BenchmarkMessage(b *testing.B) {
	d := &definition{}
	d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: wide(20000)}}}
	for name, by := range map[string]func() ([]byte, error){"ours": func() ([]byte, error) { return encode(d) }, "generated": d.Marshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := by(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
