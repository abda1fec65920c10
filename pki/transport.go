package pki

import (
	"net/http"
	"sync"
)

// Transport sends requests over connections that show the newest certificate. A server judges each request by the certificate
// that its connection began with, so a renewal begins new connections; those of before close when nobody uses them any more.
// Safe for concurrent use.
type Transport struct {
	certificate *Rotating
	fresh       func() *http.Transport

	mu      sync.Mutex
	current *http.Transport
	shows   *rotation
}

// NewTransport makes a Transport; fresh makes those with the certificate's GetClientCertificate in their configuration.
func NewTransport(certificate *Rotating, fresh func() *http.Transport) *Transport {
	return &Transport{certificate: certificate, fresh: fresh}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.now().RoundTrip(r)
}

func (t *Transport) now() *http.Transport {
	newest := t.certificate.current.Load()
	t.mu.Lock()
	old := t.current
	if t.shows == newest {
		t.mu.Unlock()
		return old
	}
	t.current, t.shows = t.fresh(), newest
	now := t.current
	t.mu.Unlock()
	if old != nil {
		old.CloseIdleConnections() // and those that become idle: it gets no request any more
	}
	return now
}

// CloseIdleConnections closes what nobody uses.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	if current != nil {
		current.CloseIdleConnections()
	}
}
