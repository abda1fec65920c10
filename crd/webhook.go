package crd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Webhooks asks conversion webhooks. The zero value reaches those with a URL.
type Webhooks struct {
	// Service gives the address of a Service's port, "10.0.0.7:8443"; nil: services are not reached.
	Service func(ctx context.Context, namespace, name string, port int32) (string, error)

	clients *clients
}

// NewWebhooks makes one that keeps its connections.
func NewWebhooks(service func(ctx context.Context, namespace, name string, port int32) (string, error)) Webhooks {
	return Webhooks{Service: service, clients: &clients{of: map[string]*http.Client{}}}
}

// clients are kept by whom they call and trust.
type clients struct {
	mu sync.Mutex
	of map[string]*http.Client
}

// mostClients bounds how many are kept.
const mostClients = 100

// mostAnswer bounds what a webhook may answer.
const mostAnswer = 64 << 20

// convert asks a definition's webhook for objects in another version. The answers' metadata counts for labels and annotations alone.
// Source: apiextensions/v1, ConversionReview.
func (w Webhooks) convert(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, want schema.GroupVersionKind, us []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
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
	if err := w.post(ctx, hook.ClientConfig, ask, &answer); err != nil {
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
func (w Webhooks) post(ctx context.Context, c *apiextensionsv1.WebhookClientConfig, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	url, client, err := w.client(ctx, c)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.URL.Path = path.Join("/", req.URL.Path) // as kube-apiserver's client has it: test environments give "https://host//path"
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer+1))
	switch {
	case err != nil:
		return err
	case len(data) > mostAnswer:
		return errors.New("the answer is too large")
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("the server answered %s", res.Status)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// client finds whom to call, with a client that trusts what the definition says alone, follows no redirects and has no credentials.
func (w Webhooks) client(ctx context.Context, c *apiextensionsv1.WebhookClientConfig) (url string, _ *http.Client, err error) {
	var address, name string // dialed instead of the URL's host, whose certificate is still asked for
	switch {
	case c.URL != nil:
		url = *c.URL
	case c.Service != nil && w.Service != nil:
		port := int32(443)
		if c.Service.Port != nil {
			port = *c.Service.Port
		}
		if address, err = w.Service(ctx, c.Service.Namespace, c.Service.Name, port); err != nil {
			return "", nil, err
		}
		name = c.Service.Name + "." + c.Service.Namespace + ".svc"
		url = "https://" + net.JoinHostPort(name, strconv.Itoa(int(port)))
		if c.Service.Path != nil {
			url += *c.Service.Path
		}
	default:
		return "", nil, errors.New("the webhook has neither a URL nor a service that can be reached")
	}
	key := fmt.Sprintf("%s %s %x", url, address, sha256.Sum256(c.CABundle))
	if w.clients != nil {
		w.clients.mu.Lock()
		defer w.clients.mu.Unlock()
		if kept := w.clients.of[key]; kept != nil {
			return url, kept, nil
		}
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if len(c.CABundle) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(c.CABundle) {
			return "", nil, errors.New("the caBundle holds no certificate")
		}
	}
	dial := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{TLSClientConfig: t, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if address != "" {
				to = address
			}
			return dial.DialContext(ctx, network, to)
		}}
	out := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("redirects are not followed")
	}}
	if w.clients != nil {
		if len(w.clients.of) >= mostClients {
			for _, old := range w.clients.of {
				old.CloseIdleConnections()
			}
			clear(w.clients.of)
		}
		w.clients.of[key] = out
	}
	return url, out, nil
}
