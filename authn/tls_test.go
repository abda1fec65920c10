package authn_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"testing"

	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/pki"
)

// Over real connections: who the API server takes its callers for.
func TestOverTLS(t *testing.T) {
	p, err := pki.Open(t.TempDir(), pki.Lives{})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := pki.NewAuthority("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	serving, err := p.Serving()
	if err != nil {
		t.Fatal(err)
	}
	who := authn.Any(authn.AnonymousAllowed, authn.NewCertificates(p.CA.Pool), authn.Bearer{})
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, err := who.Authenticate(r)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, user.Username, " ", user.Groups)
	})}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: serving.GetCertificate, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	defer func() { server.Close(); <-done }()
	url := "https://" + listener.Addr().String()
	tests := map[string]struct {
		from *pki.Authority
		spec pki.Spec
		path string
		want string
	}{
		"administrator":           {p.CA, pki.Admin(), "/api", "200 kubernetes-admin [system:masters system:authenticated]"},
		"a node":                  {p.CA, pki.Kubelet("n1"), "/api", "200 system:node:n1 [system:nodes system:authenticated]"},
		"a server's certificate":  {p.CA, pki.APIServer(), "/api", "401 "},
		"an authority's namesake": {stranger, pki.Admin(), "/api", "401 "},
		"no certificate":          {nil, pki.Spec{}, "/api", "401 "},
		"no certificate, health":  {nil, pki.Spec{}, "/readyz", "200 system:anonymous [system:unauthenticated]"},
		"a bad one, health":       {stranger, pki.Admin(), "/readyz", "401 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{RootCAs: p.CA.Pool()}
			if tt.from != nil {
				r, err := tt.from.Rotating(tt.spec)
				if err != nil {
					t.Fatal(err)
				}
				config.GetClientCertificate = r.GetClientCertificate
			}
			transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			for range 2 {
				res, err := (&http.Client{Transport: transport}).Get(url + tt.path)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if got := fmt.Sprint(res.StatusCode, " ", string(body)); got != tt.want || res.ProtoMajor != 2 {
					t.Errorf("got %q over %s, want %q", got, res.Proto, tt.want)
				}
			}
		})
	}
}
