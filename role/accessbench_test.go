package role_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lighter-k8s/lighter/authz"
)

// BenchmarkRepeatedCaller is who asks, and may they, of one who has asked before: by certificate, by a service account's token and by one of an
// issuer, in a cluster of default roles and in one where a webhook judges first. The budget is 2 us.
func BenchmarkRepeatedCaller(b *testing.B) {
	j := newJudges(b)
	for name, p := range map[string]*plane{"roles": api(b), "webhook and roles": j.configured(b)} {
		block, _ := pem.Decode(p.admin.CertData)
		admin, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			b.Fatal(err)
		}
		_, ns := p.direct(b)
		account := p.token(b, ns)
		callers := map[string]func(*http.Request){
			"x509":            func(r *http.Request) { r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{admin}} },
			"service account": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+account) },
		}
		if name != "roles" {
			token := j.token(b, "ann", "readers")
			callers["issuer"] = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
		}
		for who, show := range callers {
			b.Run(name+"/"+who, func(b *testing.B) {
				r := httptest.NewRequestWithContext(b.Context(), "GET", "/api/v1/namespaces/"+ns+"/pods", nil)
				show(r)
				ask := func() {
					user, _, err := p.API.Authn.Authenticate(r)
					if err != nil {
						b.Fatal(err)
					}
					if d, reason, err := p.API.Authz.Authorize(r.Context(), authz.Attributes{User: *user, Verb: "list", ResourceRequest: true, Namespace: ns, Version: "v1", Resource: "pods", Path: r.URL.Path}); d != authz.Allow {
						b.Fatal(d, reason, err)
					}
				}
				ask()
				b.ReportAllocs()
				for b.Loop() {
					ask()
				}
			})
		}
	}
}
