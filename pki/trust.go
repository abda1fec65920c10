package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Trust is a set of authorities that may change while it is in use. The zero value trusts nobody. Safe for concurrent use.
type Trust struct {
	current atomic.Pointer[trusted]
	mu      sync.Mutex // guards told
	told    []*func()
}

type trusted struct {
	certs []*x509.Certificate
	pem   []byte
	pool  *x509.CertPool
}

// NewTrust trusts the authorities of a PEM file; none is an error.
func NewTrust(data []byte) (*Trust, error) {
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, err
	}
	t := &Trust{}
	t.Set(certs...)
	return t, nil
}

// Set trusts these and no others, from now on, and tells whoever wants to know if that is a change.
func (t *Trust) Set(certs ...*x509.Certificate) {
	n := &trusted{certs: certs, pool: x509.NewCertPool()}
	for _, c := range certs {
		n.pool.AddCert(c)
		n.pem = append(n.pem, certificatePEM(c.Raw)...)
	}
	if old := t.current.Load(); old != nil && bytes.Equal(old.pem, n.pem) {
		return
	}
	t.current.Store(n)
	t.tell()
}

func (t *Trust) tell() {
	t.mu.Lock()
	told := slices.Clone(t.told)
	t.mu.Unlock()
	for _, f := range told {
		(*f)()
	}
}

// Tell has f called after each change, until ctx ends.
func (t *Trust) Tell(ctx context.Context, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told = append(t.told, &f)
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.told = slices.DeleteFunc(slices.Clone(t.told), func(o *func()) bool { return o == &f })
	})
}

func (t *Trust) now() *trusted {
	if n := t.current.Load(); n != nil {
		return n
	}
	return &trusted{pool: x509.NewCertPool()}
}

// Pool is the set as of now, another one after each change. Callers must not add to it.
func (t *Trust) Pool() *x509.CertPool { return t.now().pool }

// PEM is the set as of now as a PEM file; of an Authority, the one that signs comes first.
func (t *Trust) PEM() []byte { return t.now().pem }

// Trusted are the authorities as of now.
func (t *Trust) Trusted() []*x509.Certificate { return t.now().certs }

// Client is c for connections to servers that t vouches for by then: a tls.Config's own RootCAs would be those of today for as long
// as it is in use.
func (t *Trust) Client(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.InsecureSkipVerify = true // crypto/tls leaves it to:
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the server shows no certificate")
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: t.Pool(), DNSName: s.ServerName, Intermediates: others(s.PeerCertificates)})
		return err
	}
	return c
}

// others are the certificates behind the first one of a chain.
func others(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	return pool
}

// Vouched tells whether an authority vouches for the first certificate of a chain, by way of the others maybe.
func Vouched(authority *x509.Certificate, chain []*x509.Certificate) bool {
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others(chain), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// SameCluster tells whether two PEM files have an authority in common: each step of a succession leaves one.
func SameCluster(a, b []byte) bool {
	as, err := parseCertificates(a)
	bs, berr := parseCertificates(b)
	return err == nil && berr == nil && slices.ContainsFunc(as, func(c *x509.Certificate) bool { return slices.ContainsFunc(bs, c.Equal) })
}
