package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
)

// seen is a request in one version, in JSON.
type seen struct {
	matching.View
	object, old json.RawMessage // nil where there is none
}

func see(v matching.View) (s seen, err error) {
	s.View = v
	if v.Object != nil {
		if s.object, err = json.Marshal(v.Object); err != nil {
			return s, err
		}
	}
	if v.Old != nil {
		s.old, err = json.Marshal(v.Old)
	}
	return s, err
}

// question is the AdmissionReview that a webhook is sent. Source: type comments of admission/v1.
func question(version string, uid types.UID, a *admission.Attributes, s *seen) ([]byte, error) {
	kind := a.Shape().GVK()
	if a.Connection != nil {
		kind = s.Kind
	}
	asked, requested := expression.GVK(kind), expression.GVR(a.Info.GroupVersionResource)
	r := &admissionv1.AdmissionRequest{UID: uid, Kind: expression.GVK(s.Kind), Resource: expression.GVR(s.Info.GroupVersionResource), SubResource: a.Subresource,
		RequestKind: &asked, RequestResource: &requested, RequestSubResource: a.Subresource, Name: a.Named(), Namespace: expression.Namespace(a),
		Operation: admissionv1.Operation(a.Operation), UserInfo: a.User, DryRun: &a.DryRun,
		Object: runtime.RawExtension{Raw: s.object}, OldObject: runtime.RawExtension{Raw: s.old}}
	if o := a.Options(); o != nil {
		raw, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		r.Options.Raw = raw
	}
	return json.Marshal(&admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: admissionv1.GroupName + "/" + version}, Request: r})
}

// answer is what a webhook decided.
type answer struct {
	allowed     bool
	patch       []byte
	annotations map[string]string
	warnings    []string
	result      *metav1.Status
}

// read understands a webhook's answer. Errors say what is wrong with it.
func read(version string, uid types.UID, mutating bool, data []byte) (answer, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(data, &review); err != nil {
		return answer{}, fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
	}
	want := schema.GroupVersionKind{Group: admissionv1.GroupName, Version: version, Kind: "AdmissionReview"}
	got := review.GroupVersionKind()
	// The first version did not ask webhooks to say what they answer.
	if got != want && !(version == "v1beta1" && got.Empty()) {
		return answer{}, fmt.Errorf("expected webhook response of %v, got %v", want, got)
	}
	r := review.Response
	if r == nil {
		return answer{}, errors.New("webhook response was absent")
	}
	out := answer{allowed: r.Allowed, annotations: r.AuditAnnotations, warnings: r.Warnings, result: r.Result}
	if version == "v1" {
		switch {
		case r.UID != uid:
			return answer{}, fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
		case !mutating:
			return out, nil
		case len(r.Patch) > 0 && r.PatchType == nil:
			return answer{}, errors.New("webhook returned response.patch but not response.patchType")
		case len(r.Patch) == 0 && r.PatchType != nil:
			return answer{}, errors.New("webhook returned response.patchType but not response.patch")
		case r.PatchType != nil && *r.PatchType != admissionv1.PatchTypeJSONPatch:
			return answer{}, fmt.Errorf("webhook returned invalid response.patchType of %q", *r.PatchType)
		}
	}
	if mutating && !bytes.Equal(bytes.TrimSpace(r.Patch), []byte("[]")) {
		out.patch = r.Patch
	}
	return out, nil
}

// refused is the answer to a client whose request a webhook did not allow, with the code and reason that the webhook gives.
// Source: Kubernetes documentation, Dynamic Admission Control, Response.
func refused(name string, result *metav1.Status) error {
	var s metav1.Status
	if result != nil {
		s = *result.DeepCopy()
	}
	why := " without explanation"
	switch {
	case s.Message != "":
		why = ": " + s.Message
	case s.Reason != "":
		why = ": " + string(s.Reason)
	}
	s.Status, s.Message = metav1.StatusFailure, fmt.Sprintf("admission webhook %q denied the request%s", name, why)
	if s.Code < 400 || s.Code > 599 { // an answer that no refusal has would be taken for success, or not be sent at all
		s.Code = 400
	}
	return &apierrors.StatusError{ErrStatus: s}
}
