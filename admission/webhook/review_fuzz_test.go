package webhook

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// FuzzAnswer reads what a webhook may answer: nothing of it panics, what is accepted is of this review, and a refusal is one.
func FuzzAnswer(f *testing.F) {
	const head = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u",`
	for _, seed := range []string{head + `"allowed":true}}`, head + `"allowed":false,"status":{"code":-1,"message":"m","details":{"causes":[{}]}}}}`,
		head + `"allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2EvLSIsInZhbHVlIjoxfV0="}}`,
		head + `"allowed":true,"warnings":["a\u0000b"],"auditAnnotations":{"":""}}}`, `[]`, `{`, "", `{"response":null}`, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","response":{}}`} {
		f.Add([]byte(seed), true, []byte(`{"a":[],"metadata":{"name":"x"}}`))
	}
	f.Fuzz(func(t *testing.T, data []byte, mutating bool, object []byte) {
		for _, version := range []string{"v1", "v1beta1"} {
			got, err := read(version, "u", mutating, data)
			if err != nil {
				continue
			}
			if !mutating && got.patch != nil {
				t.Error("a webhook that validates changes the object")
			}
			if len(got.patch) > 0 && len(got.patch) < 1<<12 && len(object) < 1<<12 {
				_, _ = apply(object, got.patch) // whether it fits is not the question
			}
			if !got.allowed {
				s := refused("x", got.result).(apierrors.APIStatus).Status()
				if s.Code < 400 || s.Code > 599 || s.Status != "Failure" {
					t.Errorf("refused with %+v", s)
				}
			}
		}
	})
}
