package api_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/yamljson"
)

// Whatever decodes comes back from being stored again.
func FuzzDecodeStored(f *testing.F) {
	stored, _ := api.EncodeStored(podInfo, pod())
	f.Add(stored)
	f.Add(stored[:len(stored)/2])
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}`))
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		obj, err := api.DecodeStored(podInfo, value)
		if err != nil {
			return
		}
		obj.SetResourceVersion("")
		again, err := api.EncodeStored(podInfo, obj)
		if err != nil {
			return // such as a time out of range
		}
		back, err := api.DecodeStored(podInfo, again)
		if err != nil {
			t.Fatalf("what was stored again cannot be read: %v", err)
		}
		third, err := api.EncodeStored(podInfo, back)
		if err != nil || !bytes.Equal(again, third) {
			t.Errorf("stored differently the second time: %v\n%q\n%q", err, again, third)
		}
	})
}

// Splicing a version in gives what decoding, setting and encoding gives.
func FuzzWithVersion(f *testing.F) {
	raw, _ := pod().Marshal()
	f.Add(raw, uint64(7))
	f.Add([]byte{}, uint64(1))
	f.Add([]byte("\n\x042\x0219\n\x012"), uint64(123456))
	f.Add([]byte("\n\x03\n\x01a\n\x042\x02xx"), uint64(0))
	f.Fuzz(func(t *testing.T, raw []byte, version uint64) {
		var want, got corev1.Pod
		if len(raw) > 0 && raw[0] == '{' {
			t.Skip("taken for JSON")
		}
		if want.Unmarshal(raw) != nil {
			_ = api.WithVersion(raw, version) // it must not crash
			return
		}
		want.ResourceVersion = strconv.FormatUint(version, 10)
		if err := got.Unmarshal(api.WithVersion(raw, version)); err != nil {
			t.Fatalf("after splicing: %v", err)
		}
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%q: got %+v, want %+v", raw, got.ObjectMeta, want.ObjectMeta)
		}
	})
}

func FuzzWithVersionOfJSON(f *testing.F) {
	f.Add(`{"metadata":{"name":"a","resourceVersion":"9"},"spec":{"a":[1,"}"]}}`, uint64(8))
	f.Add(`{"kind":"x"}`, uint64(8))
	for _, meta := range []string{`{}`, `{"name":"a"}`, `{"resourceVersion":"1"}`, `{"name":"a","resourceVersion":"1"}`, `{"resourceVersion":"1","uid":"u"}`, `{"a":{"resourceVersion":[1]},"uid":"\\\""}`,
		`{"name":"a","resourceVersion":{"a":[{}]},"uid":"u"}`, `{"name":"a", "uid":"u"}`, `{"uid":"a","name":"u"}`, `null`, `{"n":"\u2028"}`, `{"managedFields":[{"fieldsV1":{"f:a":{"k:{\"n\":1}":{}}}}],"name":"n"}`} {
		f.Add(`{"apiVersion":"v1","kind":"x","metadata":`+meta+`,"spec":{"metadata":{"resourceVersion":"2"}}}`, uint64(8))
	}
	f.Fuzz(func(t *testing.T, s string, version uint64) {
		var want map[string]any
		if s == "" || s[0] != '{' || json.Unmarshal([]byte(s), &want) != nil {
			return
		}
		meta, ok := want["metadata"].(map[string]any)
		if !ok {
			if want["metadata"] != nil {
				return // not an object of ours
			}
			meta = map[string]any{}
			want["metadata"] = meta
		}
		meta["resourceVersion"] = strconv.FormatUint(version, 10)
		var got map[string]any
		if err := json.Unmarshal(api.WithVersion([]byte(s), version), &got); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	raw, _ := pod().Marshal()
	f.Add(api.Wrap("v1", "Pod", raw))
	f.Add([]byte("k8s\x00\x12\x03abc"))
	f.Add([]byte("{\"spec\":{}}"))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Fuzz(func(_ *testing.T, body []byte) {
		_, _, _ = api.DecodeProtobuf(podInfo, body)
		_, _ = api.DecodeJSON(&corev1.Pod{}, body)
		_, _ = yamljson.Decode(&corev1.Pod{}, body)
	})
}

func BenchmarkEncodeStored(b *testing.B) {
	p := pod()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := api.EncodeStored(podInfo, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeStored(b *testing.B) {
	value, _ := api.EncodeStored(podInfo, pod())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := api.DecodeStored(podInfo, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRawStored(b *testing.B) {
	value, _ := api.EncodeStored(podInfo, pod())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := api.RawStored(value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWithVersion(b *testing.B) {
	value, _ := api.EncodeStored(podInfo, pod())
	raw, _, _, _ := api.RawStored(value)
	b.ReportAllocs()
	for b.Loop() {
		api.WithVersion(raw, 123456789)
	}
}

func BenchmarkWrap(b *testing.B) {
	raw, _ := pod().Marshal()
	b.ReportAllocs()
	for b.Loop() {
		api.Wrap("v1", "Pod", raw)
	}
}

func BenchmarkProtobufList(b *testing.B) {
	raw, _ := pod().Marshal()
	items := make([][]byte, 10000)
	for i := range items {
		items[i] = raw
	}
	var w discard
	b.ReportAllocs()
	for b.Loop() {
		if _, err := api.NewProtobufList("v1", "PodList", nil, slices.Values(items)).WriteTo(&w); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(items) * len(raw)))
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkDecodeProtobuf(b *testing.B) {
	raw, _ := pod().Marshal()
	body := api.Wrap("v1", "Pod", raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := api.DecodeProtobuf(podInfo, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeJSON(b *testing.B) {
	body, _ := api.EncodeJSON(podInfo, pod())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := api.DecodeJSON(podInfo.New(), body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeJSON(b *testing.B) {
	p := pod()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := api.EncodeJSON(podInfo, p); err != nil {
			b.Fatal(err)
		}
	}
}
