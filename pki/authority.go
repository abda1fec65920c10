package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// How long certificates live, unless a Spec says otherwise.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 365 * 24 * time.Hour
)

// backdate is how long before now a new certificate begins, for machines whose clock is a little behind: a tenth of a short life.
func backdate(life time.Duration) time.Duration { return min(5*time.Minute, life/10) }

// Authority signs certificates. Safe for concurrent use.
type Authority struct {
	Cert *x509.Certificate
	PEM  []byte        // of Cert: what clients trust
	Life time.Duration // of what it signs, unless a Spec says otherwise; 0: LeafLife. Set before first use.
	key  crypto.Signer
	pool *x509.CertPool
}

// Spec says what certificate to issue.
type Spec struct {
	CommonName    string   // for clients: the user name
	Organizations []string // for clients: the groups
	DNSNames      []string
	IPs           []net.IP
	Usages        []x509.ExtKeyUsage
	Life          time.Duration // 0: the authority's Life; never beyond the authority's own end
}

// OpenAuthority reads an authority from its two files, or makes one with that common name when neither is
// there. A key alone gets a certificate (the process ended between the two writes); a certificate alone is an error.
func OpenAuthority(certPath, keyPath, commonName string) (*Authority, error) {
	certData, err := os.ReadFile(certPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	if err == nil {
		if _, err := os.Stat(keyPath); err != nil {
			return nil, fmt.Errorf("authority %s has no key: %w", certPath, err)
		}
	}
	key, err := openKey(keyPath)
	if err != nil {
		return nil, err
	}
	if certData == nil {
		if certData, err = selfSign(key, commonName); err != nil {
			return nil, err
		}
		if err := WriteFile(certPath, certData, 0o644); err != nil {
			return nil, err
		}
	}
	a, err := newAuthority(certData, key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", certPath, err)
	}
	return a, nil
}

// NewAuthority makes an authority that lives in memory only.
func NewAuthority(commonName string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	data, err := selfSign(key, commonName)
	if err != nil {
		return nil, err
	}
	return newAuthority(data, key)
}

func newAuthority(certPEM []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, errors.New("the certificate is not an authority's")
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the key is not the certificate's")
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &Authority{Cert: cert, PEM: certPEM, key: key, pool: pool}, nil
}

func selfSign(key *ecdsa.PrivateKey, commonName string) ([]byte, error) {
	now := time.Now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-backdate(AuthorityLife)), NotAfter: now.Add(AuthorityLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true, DNSNames: []string{commonName},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %s: %w", commonName, err)
	}
	return certificatePEM(der), nil
}

// Pool is the set of authorities that a peer of this one trusts: it alone. Callers must not add to it.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// Fingerprint is "sha256:" and the hash of the authority's public key in hex, by which a
// node that joins recognizes it (kubeadm's --discovery-token-ca-cert-hash).
func (a *Authority) Fingerprint() string { return Fingerprint(a.Cert) }

// Fingerprint is the hash of a certificate's public key; see Authority.Fingerprint.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Issue makes a new key and signs a certificate for it.
func (a *Authority) Issue(s Spec) (*Pair, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return a.issueFor(s, key)
}

func (a *Authority) issueFor(s Spec, key *ecdsa.PrivateKey) (*Pair, error) {
	der, err := a.sign(&x509.Certificate{
		Subject:  pkix.Name{CommonName: s.CommonName, Organization: s.Organizations},
		DNSNames: s.DNSNames, IPAddresses: s.IPs,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: s.Usages,
	}, &key.PublicKey, s.Life)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", s.CommonName, err)
	}
	return newPair(der, key)
}

// LeafLife is how long what it signs lives, unless a Spec says otherwise.
func (a *Authority) LeafLife() time.Duration {
	if a.Life > 0 {
		return a.Life
	}
	return LeafLife
}

// sign fills in serial number and validity and signs.
func (a *Authority) sign(t *x509.Certificate, public crypto.PublicKey, life time.Duration) ([]byte, error) {
	if life <= 0 {
		life = a.LeafLife()
	}
	now := time.Now()
	t.NotBefore, t.NotAfter = now.Add(-backdate(life)), now.Add(life)
	if t.NotBefore.Before(a.Cert.NotBefore) {
		t.NotBefore = a.Cert.NotBefore
	}
	if t.NotAfter.After(a.Cert.NotAfter) {
		t.NotAfter = a.Cert.NotAfter
	}
	if !t.NotAfter.After(now) {
		return nil, fmt.Errorf("the authority %s has expired at %s", a.Cert.Subject.CommonName, a.Cert.NotAfter.Format(time.RFC3339))
	}
	t.BasicConstraintsValid = true
	return x509.CreateCertificate(rand.Reader, t, a.Cert, public, a.key) // a nil serial number becomes a random one
}

// Pair is a certificate and its key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

func newPair(der []byte, key *ecdsa.PrivateKey) (*Pair, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Pair{cert, key}, nil
}

// TLS is the pair as crypto/tls takes it.
func (p *Pair) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

// CertPEM is the certificate as a PEM file.
func (p *Pair) CertPEM() []byte { return certificatePEM(p.Cert.Raw) }

// KeyPEM is the key as a PEM file (PKCS #8).
func (p *Pair) KeyPEM() ([]byte, error) { return keyPEM(p.Key) }

// Due is when the pair is to be renewed: at two thirds of its life.
func (p *Pair) Due() time.Time { return due(p.Cert) }

func due(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}
