package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Rotating is a certificate that is renewed at two thirds of its life, while it is in use:
//
//	&tls.Config{GetCertificate: r.GetCertificate}             // a server's
//	&tls.Config{GetClientCertificate: r.GetClientCertificate} // a client's
//
// Safe for concurrent use.
type Rotating struct {
	current atomic.Pointer[rotation]
	mu      sync.Mutex // held while renewing; guards issue
	issue   func(context.Context) (*Pair, error)
	changed chan struct{} // holds one after a renewal that Run did not make
	told    []func()      // called after each renewal
}

type rotation struct {
	pair *Pair
	tls  *tls.Certificate
}

// NewRotating calls issue for the first certificate, and again for each later one.
func NewRotating(ctx context.Context, issue func(context.Context) (*Pair, error)) (*Rotating, error) {
	r := &Rotating{issue: issue, changed: make(chan struct{}, 1)}
	return r, r.Renew(ctx)
}

// Rotating issues a certificate that renews itself, kept in memory only.
func (a *Authority) Rotating(s Spec) (*Rotating, error) {
	return NewRotating(context.Background(), func(context.Context) (*Pair, error) { return a.Issue(s) })
}

// Pair is the certificate as of now.
func (r *Rotating) Pair() *Pair { return r.current.Load().pair }

// GetCertificate is for a server's tls.Config.
func (r *Rotating) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.current.Load().tls, nil
}

// GetClientCertificate is for a client's tls.Config.
func (r *Rotating) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.current.Load().tls, nil
}

// Tell has f called after each renewal. f must not renew.
func (r *Rotating) Tell(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, f)
}

// Renew issues a new certificate at once. On an error the old one stays.
func (r *Rotating) Renew(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.renew(ctx)
}

// Replace changes how certificates are issued, and issues one: for instance because the names changed.
func (r *Rotating) Replace(ctx context.Context, issue func(context.Context) (*Pair, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.issue
	r.issue = issue
	if err := r.renew(ctx); err != nil {
		r.issue = old
		return err
	}
	return nil
}

func (r *Rotating) renew(ctx context.Context) error {
	pair, err := r.issue(ctx)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	r.current.Store(&rotation{pair, pair.TLS()})
	for _, f := range r.told {
		f()
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return nil
}

// look is how long Run sleeps at most: its timer stands still while the machine sleeps, the calendar does not.
const look = time.Hour

// Run renews the certificate when it is due, until ctx ends. A renewal that fails is tried again
// after a delay that grows from a second to ten minutes.
func (r *Rotating) Run(ctx context.Context, log *slog.Logger) error {
	delay := time.Second
	for {
		wait := time.Until(r.Pair().Due().Round(0))
		if wait <= 0 {
			err := r.Renew(ctx)
			if err == nil {
				delay = time.Second
				log.Info("certificate renewed", "user", r.Pair().Cert.Subject.CommonName, "until", r.Pair().Cert.NotAfter)
				if time.Now().Before(r.Pair().Due()) {
					continue
				}
			} else {
				log.Warn("certificate not renewed", "user", r.Pair().Cert.Subject.CommonName, "until", r.Pair().Cert.NotAfter, "err", err)
			}
			wait, delay = delay, min(2*delay, 10*time.Minute) // a new one that is due at once must not spin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed:
		case <-time.After(min(wait, look)):
		}
	}
}

// serves reports whether the pair is of the one that signs as of now, good for the Spec and not yet due.
func (a *Authority) serves(p *Pair, s Spec) bool {
	by := a.signs.Load()
	if p.Cert.CheckSignatureFrom(by.cert) != nil || !slices.EqualFunc(p.Behind, by.cross, (*x509.Certificate).Equal) || !time.Now().Before(p.Due()) || p.Cert.Subject.CommonName != s.CommonName ||
		!sameSet(p.Cert.Subject.Organization, s.Organizations) || !sameSet(p.Cert.DNSNames, s.DNSNames) {
		return false
	}
	text := func(ips []net.IP) (out []string) {
		for _, ip := range ips {
			out = append(out, ip.String())
		}
		return out
	}
	return sameSet(text(p.Cert.IPAddresses), text(s.IPs)) && slices.Equal(p.Cert.ExtKeyUsage, s.Usages)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
