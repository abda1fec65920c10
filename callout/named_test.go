package callout

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

func TestNamed(t *testing.T) {
	var elsewhere int
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	t.Cleanup(other.Close)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/long":
			fmt.Fprint(w, strings.Repeat("x", 101))
		case "/no":
			http.Error(w, "no", http.StatusForbidden)
		default:
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.URL)
		}
	}))
	t.Cleanup(server.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	port := int32(8443)
	path := "hooks//a"
	service := &admissionv1.ServiceReference{Namespace: "ns", Name: "hook", Path: &path, Port: &port}
	var ways Named
	ways.Addresses = func(namespace, name string, port int32) ([]string, error) {
		if namespace != "ns" || name != "hook" || port != 8443 {
			return nil, errors.New("nobody is there")
		}
		return []string{"127.0.0.1:1", server.Listener.Addr().String()}, nil
	}
	at := func(path string) *string { u := server.URL + path; return &u }
	tests := map[string]struct {
		url     *string
		service *admissionv1.ServiceReference
		bundle  []byte
		want    string // the answer and its code, or part of the error
	}{
		"a URL":                       {url: at("//b?x=1"), bundle: bundle, want: "POST " + server.Listener.Addr().String() + " /b?timeout=1s&x=1 200"},
		"one who is not trusted":      {url: at("/"), want: "certificate signed by unknown authority"},
		"no bundle of certificates":   {url: at("/"), bundle: []byte("x"), want: "unable to parse bytes as PEM block"},
		"a redirect is an answer":     {url: at("/away"), bundle: bundle, want: " 307"},
		"so is a refusal":             {url: at("/no"), bundle: bundle, want: "no\n 403"},
		"an answer that is too long":  {url: at("/long"), bundle: bundle, want: "larger than 100 bytes"},
		"a service of another name":   {service: service, bundle: bundle, want: "not hook.ns.svc"},
		"a service that is not there": {service: &admissionv1.ServiceReference{Namespace: "ns", Name: "gone"}, bundle: bundle, want: `Post "https://gone.ns.svc:443?timeout=1s": nobody is there`},
		"nobody":                      {want: "must have either service or URL"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ask := func() (string, error) {
				n, err := NameOf(tt.url, tt.service, tt.bundle)
				if err != nil {
					return "", err
				}
				way, err := ways.To(n)
				if err != nil {
					return "", err
				}
				data, code, err := way.Post(t.Context(), []byte("{}"), url.Values{"timeout": {"1s"}}, "lighter", 100)
				return fmt.Sprintf("%s %d", data, code), err
			}
			for range 2 { // the second time on the way of the first
				got, err := ask()
				if err != nil {
					got = err.Error()
				}
				if err == nil && got != tt.want || err != nil && !strings.Contains(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
		})
	}
	if elsewhere > 0 {
		t.Error("the redirect was followed")
	}
	t.Run("not without bound", func(t *testing.T) {
		for n := range 3 * mostWays {
			if _, err := ways.To(Name{URL: fmt.Sprint("https://example.com/", n)}); err != nil {
				t.Fatal(err)
			}
		}
		if len(ways.of) > mostWays {
			t.Errorf("%d are kept", len(ways.of))
		}
	})
}
