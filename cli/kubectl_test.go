package cli

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/pki"
)

// kubectl is sent to a further server when the current one does not answer or is not ready, unless the user chose.
func TestOtherContext(t *testing.T) {
	server := func(status int) *httptest.Server {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(s.Close)
		return s
	}
	up, down, unready, ca := server(200), server(200), server(500), []byte(nil)
	down.Close()
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}) // all of httptest's have the same
	tests := map[string]struct {
		current, other *httptest.Server
		args           string
		want           string
	}{
		"the current one answers":           {up, up, "get pods", ""},
		"it does not answer":                {down, up, "get pods", "lighter-127.0.0.1"},
		"it is not ready":                   {unready, up, "get pods -n shop", "lighter-127.0.0.1"},
		"none answers":                      {down, unready, "get pods", ""},
		"the user chose a context":          {down, up, "get pods --context=mine", ""},
		"the user chose a server":           {down, up, "-s https://x get pods", ""},
		"it is about the kubeconfig itself": {down, up, "config view", ""},
		"what looks like a choice is run":   {down, up, "exec web -- sh --context x", "lighter-127.0.0.1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			k := pki.Kubeconfig{Name: "lighter", Server: tt.current.URL, CA: ca, Token: "t", Others: []string{tt.other.URL}}
			if err := k.Write(path); err != nil {
				t.Fatal(err)
			}
			if got := otherContext(path, strings.Fields(tt.args)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
