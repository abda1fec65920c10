package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unsafe"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/apis/asn1"
)

// CredentialIDKey is the key in UserInfo.Extra that says which credential was shown: "X509SHA256=" and the
// certificate's hash, or "JTI=" and the token's id.
const CredentialIDKey = "authentication.kubernetes.io/credential-id"

// Certificates authenticates by the client certificate of the connection: the common name is the
// user, organizations are groups. The listener must ask for certificates and leave their
// verification to this (tls.RequestClientCert). Safe for concurrent use.
type Certificates struct {
	roots Roots
	known cache[*certificate]
}

// Roots are the authorities as of now: another pool after each change.
type Roots func() *x509.CertPool

// certificate is one that was verified. Its signatures stay good for those roots; time passes.
type certificate struct {
	roots       *x509.CertPool
	user        *authenticationv1.UserInfo
	from, until time.Time // the narrowest of its chain
}

// NewCertificates trusts the authorities in roots to name users and groups.
func NewCertificates(roots Roots) *Certificates {
	return &Certificates{roots: roots, known: cache[*certificate]{limit: 4096}}
}

// Authenticate implements Authenticator. A chain is verified once; later requests cost a quick hash and a look-up.
func (c *Certificates) Authenticate(r *http.Request) (*authenticationv1.UserInfo, []string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil, nil
	}
	raw := r.TLS.PeerCertificates[0].Raw
	shown := unsafe.String(unsafe.SliceData(raw), len(raw)) // nobody writes to a certificate
	hash := quickHash(shown)
	now, roots := time.Now(), c.roots()
	known, ok := c.known.find(hash, shown)
	if !ok || known.roots != roots || now.After(known.until) || now.Before(known.from) {
		var err error
		if known, err = verify(roots, r.TLS.PeerCertificates, now); err != nil {
			return nil, nil, err
		}
		c.known.keep(hash, shown, known)
	}
	return known.user, nil, nil
}

func verify(roots *x509.CertPool, peer []*x509.Certificate, now time.Time) (*certificate, error) {
	leaf := peer[0]
	o := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(peer) > 1 {
		o.Intermediates = x509.NewCertPool()
		for _, cert := range peer[1:] {
			o.Intermediates.AddCert(cert)
		}
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return nil, fmt.Errorf("client certificate of %q, serial %s: %w", leaf.Subject.CommonName, leaf.SerialNumber, err)
	}
	out := &certificate{roots: roots, from: leaf.NotBefore, until: leaf.NotAfter}
	for _, cert := range chains[0] {
		if cert.NotAfter.Before(out.until) {
			out.until = cert.NotAfter
		}
		if cert.NotBefore.After(out.from) {
			out.from = cert.NotBefore
		}
	}
	if leaf.Subject.CommonName == "" {
		return out, nil // names nobody; its user stays nil
	}
	uid, err := certificateUID(leaf)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(leaf.Raw)
	out.user = &authenticationv1.UserInfo{
		Username: leaf.Subject.CommonName, UID: uid, Groups: authenticated(leaf.Subject.CommonName, slices.Clone(leaf.Subject.Organization)),
		Extra: map[string]authenticationv1.ExtraValue{CredentialIDKey: {"X509SHA256=" + hex.EncodeToString(hash[:])}},
	}
	return out, nil
}

// certificateUID is the user's UID, which a certificate may have in its subject. Source: apimachinery/pkg/apis/asn1.
func certificateUID(cert *x509.Certificate) (uid string, err error) {
	for _, name := range cert.Subject.Names {
		if !name.Type.Equal(asn1.X509UID()) {
			continue
		}
		value, ok := name.Value.(string)
		switch {
		case !ok || value == "":
			return "", errors.New("client certificate: the user's UID is not a string")
		case uid != "":
			return "", errors.New("client certificate: more than one UID of the user")
		}
		uid = value
	}
	return uid, nil
}
