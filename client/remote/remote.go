// Package remote is the client for parts that reach the cluster over HTTP, through any
// Kubernetes API server. Views are lists and watches kept in memory; equal views of one Client are one.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/client"
)

const protobuf = "application/vnd.kubernetes.protobuf"

// Client speaks to one API server. Safe for concurrent use.
type Client struct {
	base     *url.URL
	http     *http.Client
	requests *client.Requests

	log *slog.Logger
	ctx context.Context // of New: views live as long

	mu    sync.Mutex
	views map[viewKey]*view
}

var _ client.Client = (*Client)(nil)

// New makes a client of what a kubeconfig file's current context names. Views end with ctx.
func New(ctx context.Context, kubeconfig string, log *slog.Logger) (*Client, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return ForConfig(ctx, cfg, log)
}

// ForConfig makes a client of a client-go configuration.
func ForConfig(ctx context.Context, cfg *rest.Config, log *slog.Logger) (*Client, error) {
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, err
	}
	return ForHTTP(ctx, base, h, log), nil
}

// ForHTTP makes a client of an HTTP client that knows how to prove who it is.
func ForHTTP(ctx context.Context, base *url.URL, h *http.Client, log *slog.Logger) *Client {
	r, way := client.NewRequests(), *h
	way.Transport = r.Transport(h.Transport)
	return &Client{base: base, http: &way, requests: r, log: log, ctx: ctx, views: map[viewKey]*view{}}
}

// Metrics are of the client's requests.
func (c *Client) Metrics() []prometheus.Collector { return c.requests.Metrics() }

// path is the URL of a resource, an object or a subresource.
func (c *Client) path(r client.Resource, namespace string, rest ...string) *url.URL {
	parts := []string{"api", r.Version}
	if r.Group != "" {
		parts = []string{"apis", r.Group, r.Version}
	}
	if r.Namespaced && namespace != "" {
		parts = append(parts, "namespaces", namespace)
	}
	parts = append(parts, r.GroupVersionResource.Resource)
	for _, p := range rest {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return c.base.JoinPath(parts...)
}

func (c *Client) do(ctx context.Context, method string, u *url.URL, media string, body []byte) ([]byte, error) {
	resp, err := c.send(ctx, method, u, media, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, u.Path, err)
	}
	return data, nil
}

// send does the request; a status of 300 or more is an error.
func (c *Client) send(ctx context.Context, method string, u *url.URL, media string, body []byte) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", protobuf+",application/json")
	req.Header.Set("User-Agent", "lighter")
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, u.Path, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what is there of an error's text
		return nil, statusError(resp, data)
	}
	return resp, nil
}

func statusError(resp *http.Response, data []byte) error {
	var status metav1.Status
	if err := decodeInto(data, &status); err == nil && status.Kind == "Status" || status.Status == metav1.StatusFailure {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, resp.Request.Method, schema.GroupResource{}, "", strings.TrimSpace(string(data)), 0, true)
}

// magic begins every protobuf body. Source: API concepts, Kubernetes Protobuf encoding.
var magic = []byte{'k', '8', 's', 0}

type message interface{ Unmarshal([]byte) error }

// decodeInto reads JSON, or protobuf in its envelope.
func decodeInto(data []byte, into any) error {
	if !bytes.HasPrefix(data, magic) {
		return json.Unmarshal(data, into)
	}
	var u runtime.Unknown
	if err := u.Unmarshal(data[len(magic):]); err != nil {
		return err
	}
	m, ok := into.(message)
	if !ok {
		return fmt.Errorf("%T has no protobuf form", into)
	}
	if err := m.Unmarshal(u.Raw); err != nil {
		return err
	}
	if o, ok := into.(runtime.Object); ok {
		o.GetObjectKind().SetGroupVersionKind(u.GroupVersionKind())
	}
	if s, ok := into.(*metav1.Status); ok {
		s.Kind = u.Kind
	}
	return nil
}

// encode gives protobuf in its envelope, where the type has it.
func encode(r client.Resource, obj client.Object) (media string, data []byte, err error) {
	m, ok := obj.(interface{ Marshal() ([]byte, error) })
	if !ok {
		data, err = json.Marshal(obj)
		return "application/json", data, err
	}
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk.Empty() {
		gvk = r.GroupVersion().WithKind(r.Kind)
		if t := reflect.TypeOf(obj).Elem(); t.Name() != r.Kind { // what a subresource takes
			gvk = kindOf(t)
		}
	}
	raw, err := m.Marshal()
	if err != nil {
		return "", nil, err
	}
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind}, Raw: raw}
	if data, err = u.Marshal(); err != nil {
		return "", nil, err
	}
	return protobuf, append(bytes.Clone(magic), data...), nil
}

// kindOf reads a kind off a Go type of k8s.io/api: its package path ends in group and version.
func kindOf(t reflect.Type) schema.GroupVersionKind {
	parts := strings.Split(t.PkgPath(), "/")
	group, version := parts[len(parts)-2], parts[len(parts)-1]
	switch group {
	case "core":
		group = ""
	case "authentication", "authorization", "coordination", "certificates":
		group += ".k8s.io"
	}
	return schema.GroupVersionKind{Group: group, Version: version, Kind: t.Name()}
}

// object decodes one object of the resource; a Status gives nil.
func object(r client.Resource, data []byte, like client.Object) (client.Object, error) {
	into := r.New()
	if like != nil {
		into = reflect.New(reflect.TypeOf(like).Elem()).Interface().(client.Object)
	}
	var head metav1.TypeMeta
	if bytes.HasPrefix(data, magic) {
		var u runtime.Unknown
		if err := u.Unmarshal(data[len(magic):]); err != nil {
			return nil, err
		}
		head.Kind = u.Kind
	} else if err := json.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	if head.Kind == "Status" {
		return nil, nil
	}
	return into, decodeInto(data, into)
}

// Get reads the newest state.
func (c *Client) Get(ctx context.Context, r client.Resource, namespace, name string) (client.Object, error) {
	data, err := c.do(ctx, http.MethodGet, c.path(r, namespace, name), "", nil)
	if err != nil {
		return nil, err
	}
	return object(r, data, nil)
}

// List reads the newest state.
func (c *Client) List(ctx context.Context, r client.Resource, namespace string, s client.Selection) ([]client.Object, string, error) {
	s.Namespace = namespace
	return c.list(ctx, r, s, "")
}

func query(u *url.URL, s client.Selection, more ...string) {
	q := url.Values{}
	if s.Labels != "" {
		q.Set("labelSelector", s.Labels)
	}
	if s.Fields != "" {
		q.Set("fieldSelector", s.Fields)
	}
	for n := 0; n+1 < len(more); n += 2 {
		if more[n+1] != "" {
			q.Set(more[n], more[n+1])
		}
	}
	u.RawQuery = q.Encode()
}

// Create stores obj or asks a subresource.
func (c *Client) Create(ctx context.Context, r client.Resource, namespace, name, subresource string, obj client.Object) (client.Object, error) {
	media, body, err := encode(r, obj)
	if err != nil {
		return nil, err
	}
	u := c.path(r, namespace)
	if subresource != "" {
		u = c.path(r, namespace, name, subresource)
	}
	data, err := c.do(ctx, http.MethodPost, u, media, body)
	if err != nil {
		return nil, err
	}
	return object(r, data, obj)
}

// Update replaces an object or a part of it.
func (c *Client) Update(ctx context.Context, r client.Resource, subresource string, obj client.Object) (client.Object, error) {
	media, body, err := encode(r, obj)
	if err != nil {
		return nil, err
	}
	data, err := c.do(ctx, http.MethodPut, c.path(r, obj.GetNamespace(), obj.GetName(), subresource), media, body)
	if err != nil {
		return nil, err
	}
	return object(r, data, obj)
}

// Patch applies a patch.
func (c *Client) Patch(ctx context.Context, r client.Resource, namespace, name, subresource string, t types.PatchType, patch []byte) (client.Object, error) {
	data, err := c.do(ctx, http.MethodPatch, c.path(r, namespace, name, subresource), string(t), patch)
	if err != nil {
		return nil, err
	}
	return object(r, data, nil)
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, r client.Resource, namespace, name string, o metav1.DeleteOptions) error {
	o.Kind, o.APIVersion = "DeleteOptions", "v1"
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodDelete, c.path(r, namespace, name), "application/json", body)
	return err
}
