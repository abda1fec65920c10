package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
)

// answering is a client of which Get works, Create conflicts and Delete reaches nobody.
type answering struct{ client.Client }

func (answering) Get(context.Context, client.Resource, string, string) (client.Object, error) {
	return &corev1.Pod{}, nil
}

func (answering) Create(_ context.Context, r client.Resource, _, name, _ string, _ client.Object) (client.Object, error) {
	return nil, fmt.Errorf("create: %w", apierrors.NewAlreadyExists(r.GroupResource(), name))
}

func (answering) Delete(context.Context, client.Resource, string, string, metav1.DeleteOptions) error {
	return errors.New("closed")
}

// TestRequests: requests are counted by how they ended, with HTTP and without.
func TestRequests(t *testing.T) {
	r := client.NewRequests()
	c := r.Counted(answering{})
	for range 2 {
		if _, err := c.Get(t.Context(), client.Pods.Resource, "a", "b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Create(t.Context(), client.Pods.Resource, "a", "b", "", &corev1.Pod{}); !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), client.Pods.Resource, "a", "b", metav1.DeleteOptions{}); err == nil {
		t.Fatal("deleted")
	}
	s := httptest.NewServer(http.NotFoundHandler())
	h := http.Client{Transport: r.Transport(nil)}
	resp, err := h.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	s.Close()
	if _, err := h.Get(s.URL); err == nil {
		t.Fatal("a closed server answers")
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			line := f.GetName()
			for _, l := range m.Label {
				line += " " + strings.Replace(l.GetValue(), host, "host", 1)
			}
			got = append(got, fmt.Sprint(line, " ", m.GetCounter().GetValue()+float64(m.GetHistogram().GetSampleCount())))
		}
	}
	slices.Sort(got)
	want := []string{
		"rest_client_request_duration_seconds host GET 2",
		"rest_client_request_duration_seconds in-process DELETE 1",
		"rest_client_request_duration_seconds in-process GET 2",
		"rest_client_request_duration_seconds in-process POST 1",
		"rest_client_requests_total 200 in-process GET 2",
		"rest_client_requests_total 404 host GET 1",
		"rest_client_requests_total 409 in-process POST 1",
		"rest_client_requests_total <error> host GET 1",
		"rest_client_requests_total <error> in-process DELETE 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
