package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/randfill"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/api/core"
)

func seed(t testing.TB) uint64 {
	s := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("LIGHTER_SEED"), 10, 64); err == nil {
		s = v
	}
	t.Logf("LIGHTER_SEED=%d", s)
	return s
}

// filler fills objects with whatever an API server may have stored.
func filler(seed int64) *randfill.Filler {
	texts := []string{"", "a", "<&>\"\\\n\t\x01\u2028é\U0001f600", "100m", "x\xff"}
	return randfill.NewWithSeed(seed).NilChance(.4).NumElements(0, 3).MaxDepth(20).Funcs(
		func(s *string, c randfill.Continue) { *s = texts[c.Intn(len(texts))] },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "100m", "64Mi", "1500m", "1e3", "0.5", "3Ti"}[c.Intn(8)])
		},
		func(p *corev1.ContainerRestartPolicy, c randfill.Continue) {
			*p = []corev1.ContainerRestartPolicy{"", corev1.ContainerRestartPolicyAlways}[c.Intn(2)]
		},
		func(p *corev1.PodConditionType, c randfill.Continue) {
			*p = []corev1.PodConditionType{"a", corev1.PodReady, corev1.PodInitialized, corev1.PodScheduled}[c.Intn(4)]
		},
		func(p *corev1.ConditionStatus, c randfill.Continue) {
			*p = []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, ""}[c.Intn(3)]
		},
		func(m *metav1.Time, c randfill.Continue) {
			if *m = (metav1.Time{}); c.Bool() {
				m.Time = time.Unix(c.Int63n(4e9), 0)
			}
		},
		func(m *metav1.MicroTime, c randfill.Continue) {
			if *m = (metav1.MicroTime{}); c.Bool() {
				m.Time = time.Unix(c.Int63n(4e9), c.Int63n(1e6)*1000)
			}
		},
		func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) { // holds itself, and JSON
			s.Type, s.Default, s.Title = "object", &apiextensionsv1.JSON{Raw: []byte(`{"a":"<x>"}`)}, c.String(0)
			if c.Intn(4) == 0 {
				s.Properties = map[string]apiextensionsv1.JSONSchemaProps{"a": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}}}}
			}
			if c.Intn(8) == 0 {
				n := 1.5
				s.Minimum = &n
			}
		},
		func(f *metav1.FieldsV1, c randfill.Continue) {
			f.Raw = []byte([]string{`{"f:metadata":{"f:labels":{".":{},"f:a<b":{}}}}`, `{ "f:spec" : {} }`, `{}`}[c.Intn(3)])
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			r.Raw, r.Object = []byte([]string{`{"a": "<x>"}`, `null`, `{}`}[c.Intn(3)]), nil
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			if *v = intstr.FromInt32(int32(c.Intn(70000))); c.Bool() {
				*v = intstr.FromString(texts[c.Intn(len(texts))])
			}
		},
	)
}

// TestAppendJSON compares with what decoding and encoding give, on random objects of every resource.
func TestAppendJSON(t *testing.T) {
	s := seed(t)
	for _, i := range builtin.All() {
		if i.Virtual || i.Stored != i {
			continue
		}
		if !api.HasPlan(i) {
			t.Errorf("%s has no plan", i.Resource)
			continue
		}
		fill := filler(int64(s))
		for range 40 {
			obj := i.New()
			fill.Fill(obj)
			raw, err := obj.(interface{ Marshal() ([]byte, error) }).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			typed, err := api.DecodeRaw(i, raw)
			if err != nil {
				t.Fatalf("%s: %v", i.Resource, err)
			}
			want, err := api.EncodeJSON(i, typed)
			if err != nil {
				t.Fatalf("%s: %v", i.Resource, err)
			}
			got, err := api.AppendJSON(nil, i, raw)
			if err != nil || !bytes.Equal(got, want) {
				at := 0
				for at < min(len(got), len(want)) && got[at] == want[at] {
					at++
				}
				t.Fatalf("%s: %v: differ at %d:\n got %.300s\nwant %.300s", i.Resource, err, at, got[max(0, at-100):], want[max(0, at-100):])
			}
			m := api.MetaOf(typed)
			if want, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
			if got, err = api.AppendMetaJSON(nil, i, raw); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("metadata of %s: %v:\n got %s\nwant %s", i.Resource, err, got, want)
			}
			labels, owner, err := api.Index(raw, nil)
			if err != nil || len(labels) != len(m.Labels) {
				t.Fatalf("labels of %s: %v, %v, want %v", i.Resource, labels, err, m.Labels)
			}
			for _, l := range labels {
				if v, ok := m.Labels[l.Key]; !ok || v != l.Value {
					t.Errorf("label %q is %q, want %q", l.Key, l.Value, v)
				}
			}
			uid := ""
			for _, o := range m.OwnerReferences {
				if o.Controller != nil && *o.Controller {
					uid = string(o.UID)
				}
			}
			if owner != uid {
				t.Errorf("owner %q, want %q", owner, uid)
			}
		}
	}
}

// FuzzAppendJSON: strange messages give what the decoders make of them, and crash nobody.
// TestManyFields: managed fields that are many are written as encoding/json writes them, whatever is in them.
func TestManyFields(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	i := core.ConfigMap
	parts := []string{`"f:k":{}`, `"f:k":{}`, `"f:<&>":{}`, ` "f:k" : { } `, "\"f:\u2028\u2029é\":{}", `"f:a b":{}`, `"k:{\"a\":1}":{".":{}}`, `"f:k":`, `"v:\u003c":null`, "\n\"f:k\":[]"}
	for range 200 {
		kinds := parts[:1+r.IntN(len(parts))]
		var b strings.Builder
		for plain := r.IntN(3) > 0; b.Len() < 60<<10+r.IntN(20<<10); {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			if at := r.IntN(len(kinds)); plain {
				b.WriteString(`"f:` + strconv.Itoa(b.Len()) + `":{}`)
				plain = r.IntN(2000) > 0
			} else {
				b.WriteString(kinds[at])
			}
		}
		text := "{" + b.String() + "}"
		if r.IntN(8) == 0 {
			text = text[:len(text)-1]
		}
		obj := &corev1.ConfigMap{}
		obj.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(text)}, {FieldsV1: &metav1.FieldsV1{}}}
		raw, err := obj.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		typed, err := api.DecodeRaw(i, raw)
		if err != nil {
			t.Fatal(err)
		}
		want, wrong := api.EncodeJSON(i, typed)
		got, err := api.AppendJSON(nil, i, raw)
		if (err != nil) != (wrong != nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; want %d, %v", len(got), err, len(want), wrong)
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	raw, _ := pod().Marshal()
	f.Add(raw)
	f.Add(append(raw, raw...))
	f.Add([]byte("\n\x042\x0219\n\x012"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 0 && raw[0] == '{' {
			t.Skip("taken for JSON")
		}
		_, _, _ = api.Index(raw, nil)
		_ = api.Text(raw, 2, 10)
		var p corev1.Pod
		if p.Unmarshal(raw) != nil {
			_, _ = api.AppendJSON(nil, podInfo, raw) // it must not crash
			_, _ = api.AppendMetaJSON(nil, podInfo, raw)
			return
		}
		want, err := api.EncodeJSON(podInfo, &p)
		if err != nil {
			_, _ = api.AppendJSON(nil, podInfo, raw)
			return
		}
		if got, err := api.AppendJSON(nil, podInfo, raw); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v:\n got %s\nwant %s", err, got, want)
		}
	})
}

// TestAmounts: what is shown as it is, the library shows so.
func TestAmounts(t *testing.T) {
	as := 0
	for _, unit := range []string{"", "n", "u", "m", "k", "K", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E3", "i", ".", ".5", " "} {
		for n := range 1 << 21 {
			if n > 3000 && n%999 != 0 && n%1000 != 0 && n%1024 != 0 && n%10007 != 0 {
				continue
			}
			for _, text := range []string{fmt.Sprint(n, unit), fmt.Sprint("0", n, unit), fmt.Sprint("-", n, unit)} {
				if !api.IsCanonical([]byte(text)) {
					continue
				}
				as++
				q, err := resource.ParseQuantity(text)
				if err != nil {
					t.Fatal(text, err)
				}
				if got, err := json.Marshal(q); err != nil || string(got) != strconv.Quote(text) {
					t.Fatalf("%s is shown as %s: %v", text, got, err)
				}
			}
		}
	}
	if as < 1000 {
		t.Errorf("%d were shown as they are", as)
	}
}

// TestAppendString compares with encoding/json, each byte at each place of strings around eight bytes.
func TestAppendString(t *testing.T) {
	for length := range 20 {
		for at := range max(length, 1) {
			for c := range 256 {
				text := []byte(strings.Repeat("a", length))
				if length > 0 {
					text[at] = byte(c)
				}
				want, err := json.Marshal(string(text))
				if err != nil {
					t.Fatal(err)
				}
				if got := api.AppendString(nil, string(text)); !bytes.Equal(got, want) {
					t.Fatalf("%q gives %s, want %s", text, got, want)
				}
			}
		}
	}
}

func BenchmarkJSON(b *testing.B) {
	p := pod()
	random := rand.New(rand.NewPCG(1, 1))
	p.Annotations = map[string]string{}
	for range 20 {
		p.Annotations[strconv.Itoa(random.Int())] = "a value of some thirty characters"
	}
	raw, _ := p.Marshal()
	b.Run("typed", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			o, _ := api.DecodeRaw(podInfo, raw)
			_, _ = api.EncodeJSON(podInfo, o)
		}
	})
	b.Run("append", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		var buf []byte
		for b.Loop() {
			buf, _ = api.AppendJSON(buf[:0], podInfo, raw)
		}
	})
}

// TestDecodeLean: the columns show the same of an object without the parts that they do not look at.
func TestDecodeLean(t *testing.T) {
	s := seed(t)
	for _, i := range builtin.All() {
		if i.Virtual || i.Stored != i {
			continue
		}
		fill := filler(int64(s))
		for range 40 {
			obj := i.New()
			fill.Fill(obj)
			raw, err := obj.(interface{ Marshal() ([]byte, error) }).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			whole, err := api.DecodeRaw(i, raw)
			if err != nil {
				t.Fatal(err)
			}
			lean, err := api.DecodeLean(i, raw)
			if err != nil {
				t.Fatalf("%s: %v", i.Resource, err)
			}
			if len(lean.GetManagedFields()) > 0 {
				t.Fatalf("%s: managed fields are there", i.Resource)
			}
			for _, c := range i.Table() {
				if got, want := c.Show(lean), c.Show(whole); got != want {
					t.Errorf("%s: column %s shows %v, want %v", i.Resource, c.Name, got, want)
				}
			}
		}
	}
}
