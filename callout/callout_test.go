package callout

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// kubeconfig names a server and a bearer token.
func kubeconfig(t *testing.T, url string, ca []byte) string {
	t.Helper()
	data, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{map[string]any{"name": "s", "cluster": map[string]any{"server": url, "certificate-authority-data": ca}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": "mine"}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "s", "user": "u"}}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAsk(t *testing.T) {
	const five, one = tries, 1
	tests := map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, n int) // n counts from 1
		want   string                                              // the answer, or part of the error
		times  int                                                 // how often the server is asked
	}{
		"an answer": {func(w http.ResponseWriter, r *http.Request, _ int) {
			fmt.Fprintf(w, `{"a":%q}`, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		}, "POST /ask Bearer mine", one},
		"a server that is well at the third try": {func(w http.ResponseWriter, _ *http.Request, n int) {
			if n < 3 {
				http.Error(w, "not now", 503)
				return
			}
			fmt.Fprint(w, `{"a":"yes"}`)
		}, "yes", 3},
		"one that is never well":   {func(w http.ResponseWriter, _ *http.Request, _ int) { http.Error(w, "not now", 500) }, "HTTP 500: not now", five},
		"one that is busy":         {func(w http.ResponseWriter, _ *http.Request, _ int) { http.Error(w, "busy", 429) }, "HTTP 429", five},
		"one that knows us not":    {func(w http.ResponseWriter, _ *http.Request, _ int) { http.Error(w, "who?", 401) }, "HTTP 401", one},
		"a way to elsewhere":       {func(w http.ResponseWriter, r *http.Request, _ int) { http.Redirect(w, r, "/other", 307) }, "HTTP 307", one},
		"what is no JSON":          {func(w http.ResponseWriter, _ *http.Request, _ int) { fmt.Fprint(w, "<html>") }, "not an answer", one},
		"too much":                 {func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = w.Write(make([]byte, mostAnswer+2)) }, "longer than", one},
		"a connection that breaks": {func(http.ResponseWriter, *http.Request, int) { panic(http.ErrAbortHandler) }, "EOF", five},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := 0
			web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n++; tt.answer(w, r, n) }))
			defer web.Close()
			s, err := FromKubeconfig(kubeconfig(t, web.URL+"/ask", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.Pause = time.Microsecond
			var got struct{ A string }
			err = s.Ask(t.Context(), map[string]string{"q": "?"}, &got)
			if err == nil && got.A != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, %v, want %q", got.A, err, tt.want)
			}
			if n != tt.times {
				t.Errorf("asked %d times, want %d", n, tt.times)
			}
		})
	}
	t.Run("a slow server", func(t *testing.T) {
		hold := make(chan struct{})
		web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
		defer web.Close()
		defer close(hold)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := New(web.URL, web.Client()).Ask(ctx, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another's certificate", func(t *testing.T) {
		web := httptest.NewTLSServer(http.NotFoundHandler())
		defer web.Close()
		s, err := FromKubeconfig(kubeconfig(t, web.URL, nil))
		if err != nil {
			t.Fatal(err)
		}
		s.Pause = time.Microsecond
		if err := s.Ask(t.Context(), 1, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("got %v", err)
		}
	})
}

func TestKubeconfigs(t *testing.T) {
	if _, err := FromKubeconfig(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
	for _, url := range []string{"", "here", "ftp://a/b"} {
		if _, err := FromKubeconfig(kubeconfig(t, url, nil)); err == nil {
			t.Errorf("server %q", url)
		}
	}
}
