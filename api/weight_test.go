package api_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// body is a message in the envelope that clients send.
func body(t testing.TB, raw []byte) []byte {
	t.Helper()
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Pod"}, Raw: raw}
	data, err := u.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("k8s\x00"), data...)
}

// large is a pod of about 300 KB as somebody might have it.
func large(t testing.TB) []byte {
	t.Helper()
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"a": strings.Repeat("v", 100000)}}}
	for range 20 {
		c := corev1.Container{Name: "container", Image: "registry.example.com/image:v1"}
		for range 200 {
			c.Env = append(c.Env, corev1.EnvVar{Name: "SOME_VARIABLE", Value: "some value that is not long"})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	raw, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return body(t, raw)
}

// TestHeavy: empty messages in a list, a map or deep below are refused unmade; a large pod is not.
func TestHeavy(t *testing.T) {
	spec := func(inside string) []byte {
		return body(t, append(binary.AppendUvarint([]byte{0x12}, uint64(len(inside))), inside...))
	}
	for name, tt := range map[string]struct {
		data  []byte
		heavy bool
	}{
		"containers":      {spec(strings.Repeat("\x12\x00", 20000)), true},
		"few containers":  {spec(strings.Repeat("\x12\x00", 200)), false},
		"node selector":   {spec(strings.Repeat("\x3a\x00", 300000)), true},
		"unknown numbers": {spec(strings.Repeat("\xd2\x3e\x00", 30000)), false},
		"a large pod":     {large(t), false},
	} {
		obj, _, err := api.DecodeProtobuf(core.Pod, tt.data)
		if errors.Is(err, api.ErrHeavy) != tt.heavy || !tt.heavy && (err != nil || obj == nil) {
			t.Errorf("%s: %v, heavy is %v", name, err, tt.heavy)
		}
	}
}

// BenchmarkDecodeLarge is a large pod, weighed and read.
func BenchmarkDecodeLarge(b *testing.B) {
	data := large(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := api.DecodeProtobuf(core.Pod, data); err != nil {
			b.Fatal(err)
		}
	}
}
