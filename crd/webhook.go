package crd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/callout"
)

// mostAnswer bounds what a webhook may answer.
const mostAnswer = 64 << 20

// convert asks a definition's webhook for objects in another version. The answers' metadata counts for labels and annotations alone.
// Source: apiextensions/v1, ConversionReview.
func convert(ctx context.Context, webhooks *callout.Named, crd *apiextensionsv1.CustomResourceDefinition, want schema.GroupVersionKind, us []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	hook := crd.Spec.Conversion.Webhook
	if hook == nil || hook.ClientConfig == nil {
		return nil, errors.New("the definition names no webhook")
	}
	if !slices.Contains(hook.ConversionReviewVersions, "v1") {
		return nil, fmt.Errorf("no version of ConversionReview is known that the webhook takes: %q", hook.ConversionReviewVersions)
	}
	ask := apiextensionsv1.ConversionReview{TypeMeta: metav1.TypeMeta{Kind: "ConversionReview", APIVersion: apiextensionsv1.SchemeGroupVersion.String()},
		Request: &apiextensionsv1.ConversionRequest{UID: types.UID(uuid.NewString()), DesiredAPIVersion: want.GroupVersion().String()}}
	for _, u := range us {
		raw, err := u.MarshalJSON()
		if err != nil {
			return nil, err
		}
		ask.Request.Objects = append(ask.Request.Objects, runtime.RawExtension{Raw: bytes.TrimSpace(raw)})
	}
	var answer apiextensionsv1.ConversionReview
	if err := post(ctx, webhooks, hook.ClientConfig, ask, &answer); err != nil {
		return nil, err
	}
	return converted(&answer, ask.Request.UID, want, us)
}

// converted takes the objects out of a webhook's answer.
func converted(answer *apiextensionsv1.ConversionReview, uid types.UID, want schema.GroupVersionKind, us []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	r := answer.Response
	switch {
	case answer.Kind != "ConversionReview" || answer.APIVersion != apiextensionsv1.SchemeGroupVersion.String():
		return nil, fmt.Errorf("expected webhook response of %s, got %s, Kind=%s", apiextensionsv1.SchemeGroupVersion.WithKind("ConversionReview"), answer.APIVersion, answer.Kind)
	case r == nil:
		return nil, errors.New("no response provided")
	case r.UID != uid:
		return nil, fmt.Errorf("expected response.uid %q, got %q", uid, r.UID)
	case r.Result.Status != metav1.StatusSuccess && r.Result.Message == "":
		return nil, fmt.Errorf("response.result.status was %q, not %q, with no message", r.Result.Status, metav1.StatusSuccess)
	case r.Result.Status != metav1.StatusSuccess:
		return nil, errors.New(r.Result.Message)
	case len(r.ConvertedObjects) != len(us):
		return nil, fmt.Errorf("webhook returned %d objects, expected %d", len(r.ConvertedObjects), len(us))
	}
	out := make([]*unstructured.Unstructured, len(us))
	for n, u := range us {
		got := &unstructured.Unstructured{}
		if err := got.UnmarshalJSON(r.ConvertedObjects[n].Raw); err != nil {
			return nil, fmt.Errorf("converted object: %w", err)
		}
		switch {
		case got.GroupVersionKind() != want:
			return nil, fmt.Errorf("webhook returned %s, expected %s", got.GroupVersionKind(), want)
		case got.GetName() != u.GetName() || got.GetNamespace() != u.GetNamespace() || got.GetUID() != u.GetUID():
			return nil, fmt.Errorf("webhook changed name, namespace or uid of %s", u.GetName())
		}
		labels, annotations := got.GetLabels(), got.GetAnnotations()
		got.Object["metadata"] = runtime.DeepCopyJSONValue(u.Object["metadata"])
		got.SetLabels(labels)
		got.SetAnnotations(annotations)
		out[n] = got
	}
	return out, nil
}

// post sends a review.
func post(ctx context.Context, webhooks *callout.Named, c *apiextensionsv1.WebhookClientConfig, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	name, err := callout.NameOf(c.URL, (*admissionv1.ServiceReference)(c.Service), c.CABundle)
	if err != nil {
		return err
	}
	way, err := webhooks.To(name)
	if err != nil {
		return err
	}
	data, code, err := way.Post(ctx, body, nil, "lighter", mostAnswer)
	switch {
	case err != nil:
		return err
	case code != http.StatusOK:
		return fmt.Errorf("the server answered %d %s", code, http.StatusText(code))
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}
