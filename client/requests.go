package client

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Requests counts what parts ask the API server, under the names that dashboards have for it. Safe for concurrent use.
type Requests struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewRequests counts from nothing on.
func NewRequests() *Requests {
	return &Requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rest_client_requests_total",
			Help: "Requests to the API server, by HTTP code, method and host; in-process ones have the code and method that HTTP would have."}, []string{"code", "host", "method"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "rest_client_request_duration_seconds",
			Help: "How long they took until the answer began.", Buckets: []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}}, []string{"host", "verb"}),
	}
}

// Metrics are the collectors, to be registered.
func (r *Requests) Metrics() []prometheus.Collector {
	return []prometheus.Collector{r.total, r.seconds}
}

func (r *Requests) done(method, host string, began time.Time, code int) {
	text := "<error>" // Source: client-go, for what has no answer
	if code > 0 {
		text = strconv.Itoa(code)
	}
	r.total.WithLabelValues(text, host, method).Inc()
	r.seconds.WithLabelValues(host, method).Observe(time.Since(began).Seconds())
}

// Transport counts the requests of an HTTP client; nil is the default transport.
func (r *Requests) Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return transport{r, next}
}

type transport struct {
	requests *Requests
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(q *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.next.RoundTrip(q)
	code := 0
	if err == nil {
		code = resp.StatusCode
	}
	t.requests.done(q.Method, q.URL.Host, began, code)
	return resp, err
}

// CloseIdleConnections is http.Client's way to what is below.
func (t transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// InProcess is the host of requests that no HTTP carries.
const InProcess = "in-process"

// Counted counts the requests of a client in the server's own process. Views are no requests.
func (r *Requests) Counted(c Client) Client { return counted{c, r} }

type counted struct {
	Client
	requests *Requests
}

func (c counted) done(method string, began time.Time, ok int, err error) {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		ok = int(status.Status().Code)
	} else if err != nil {
		ok = 0
	}
	c.requests.done(method, InProcess, began, ok)
}

// Get implements Client.
func (c counted) Get(ctx context.Context, r Resource, namespace, name string) (Object, error) {
	began := time.Now()
	o, err := c.Client.Get(ctx, r, namespace, name)
	c.done(http.MethodGet, began, http.StatusOK, err)
	return o, err
}

// List implements Client.
func (c counted) List(ctx context.Context, r Resource, namespace string, s Selection) ([]Object, string, error) {
	began := time.Now()
	items, version, err := c.Client.List(ctx, r, namespace, s)
	c.done(http.MethodGet, began, http.StatusOK, err)
	return items, version, err
}

// Create implements Client.
func (c counted) Create(ctx context.Context, r Resource, namespace, name, subresource string, obj Object) (Object, error) {
	began := time.Now()
	o, err := c.Client.Create(ctx, r, namespace, name, subresource, obj)
	c.done(http.MethodPost, began, http.StatusCreated, err)
	return o, err
}

// Update implements Client.
func (c counted) Update(ctx context.Context, r Resource, subresource string, obj Object) (Object, error) {
	began := time.Now()
	o, err := c.Client.Update(ctx, r, subresource, obj)
	c.done(http.MethodPut, began, http.StatusOK, err)
	return o, err
}

// Patch implements Client.
func (c counted) Patch(ctx context.Context, r Resource, namespace, name, subresource string, t types.PatchType, patch []byte) (Object, error) {
	began := time.Now()
	o, err := c.Client.Patch(ctx, r, namespace, name, subresource, t, patch)
	c.done(http.MethodPatch, began, http.StatusOK, err)
	return o, err
}

// Delete implements Client.
func (c counted) Delete(ctx context.Context, r Resource, namespace, name string, o metav1.DeleteOptions) error {
	began := time.Now()
	err := c.Client.Delete(ctx, r, namespace, name, o)
	c.done(http.MethodDelete, began, http.StatusOK, err)
	return err
}
