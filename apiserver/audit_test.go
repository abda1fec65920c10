package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
)

func TestAttempted(t *testing.T) {
	certificate := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	tests := map[string]struct {
		header string
		tls    *tls.ConnectionState
		want   string
	}{
		"nothing":                 {"", &tls.ConnectionState{}, "Authentication failed, no credentials provided"},
		"a token":                 {"Bearer secret", nil, "Authentication failed, attempted: bearer"},
		"a token and certificate": {"bearer secret", certificate, "Authentication failed, attempted: bearer, x509"},
		"a certificate":           {"", certificate, "Authentication failed, attempted: x509"},
		"a password":              {"Basic secret", nil, "Authentication failed, attempted: basic"},
		"a secret alone":          {"secret", nil, "Authentication failed, attempted: unknown"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Authorization": {tt.header}}, TLS: tt.tls}
			if got := attempted(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
