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
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How long certificates live, unless a Spec says otherwise.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 365 * 24 * time.Hour
)

// backdate is how long before now a new certificate begins, for machines whose clock is a little behind: a tenth of a short life.
func backdate(life time.Duration) time.Duration { return min(5*time.Minute, life/10) }

// Authority signs certificates. What its Trust says is what peers are to trust: the one that signs and, while one follows another, that
// other; see Succession. Safe for concurrent use.
type Authority struct {
	Trust
	Lives Lives // set before first use

	certPath, keyPath string // "": in memory only
	signs             atomic.Pointer[signing]
	mu                sync.Mutex // held while a step is taken
	next              atomic.Pointer[Succession]
}

// Lives is how long certificates are good, unless a Spec says otherwise; 0: AuthorityLife, LeafLife.
type Lives struct{ Authority, Leaf time.Duration }

// signing is who signs at a moment.
type signing struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	cross []*x509.Certificate // shown with what is signed; see Succession
}

// Cert is the certificate of the one that signs as of now.
func (a *Authority) Cert() *x509.Certificate { return a.signs.Load().cert }

// Spec says what certificate to issue.
type Spec struct {
	CommonName    string   // for clients: the user name
	Organizations []string // for clients: the groups
	DNSNames      []string
	IPs           []net.IP
	Usages        []x509.ExtKeyUsage
	Life          time.Duration // 0: the authority's Life; never beyond the authority's own end
}

// OpenAuthority reads an authority from its two files, or makes one with that common name when neither is there. Of several
// certificates the one that the key is for signs, all are trusted. A key alone gets a certificate (the process ended between the two
// writes); a certificate alone is an error.
func OpenAuthority(certPath, keyPath, commonName string, l Lives) (*Authority, error) {
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
	a := &Authority{Lives: l, certPath: certPath, keyPath: keyPath}
	if certData == nil {
		if certData, err = selfSign(key, commonName, a.ownLife()); err != nil {
			return nil, err
		}
		if err := WriteFile(certPath, certData, 0o644); err != nil {
			return nil, err
		}
	}
	if err := a.set(certData, key); err != nil {
		return nil, fmt.Errorf("authority %s: %w", certPath, err)
	}
	s, err := readSuccession(a.successionPath())
	if err != nil || s == nil {
		return a, err
	}
	if err := a.use(s); err != nil {
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
	data, err := selfSign(key, commonName, AuthorityLife)
	if err != nil {
		return nil, err
	}
	a := &Authority{}
	return a, a.set(data, key)
}

func (a *Authority) set(certPEM []byte, key *ecdsa.PrivateKey) error {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return key.PublicKey.Equal(c.PublicKey) })
	switch {
	case n < 0:
		return errors.New("the key is not the certificate's")
	case !certs[n].IsCA:
		return errors.New("the certificate is not an authority's")
	}
	certs[0], certs[n] = certs[n], certs[0]
	a.sign(certs[0], key)
	a.Set(certs...)
	return nil
}

func (a *Authority) sign(cert *x509.Certificate, key *ecdsa.PrivateKey, cross ...*x509.Certificate) {
	a.signs.Store(&signing{cert, key, cross})
}

func (a *Authority) ownLife() time.Duration {
	if a.Lives.Authority > 0 {
		return a.Lives.Authority
	}
	return AuthorityLife
}

func selfSign(key *ecdsa.PrivateKey, commonName string, life time.Duration) ([]byte, error) {
	now := time.Now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-backdate(life)), NotAfter: now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true, DNSNames: []string{commonName},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %s: %w", commonName, err)
	}
	return certificatePEM(der), nil
}

// Fingerprint is "sha256:" and the hash of the authority's public key in hex, by which a
// node that joins recognizes it (kubeadm's --discovery-token-ca-cert-hash).
func (a *Authority) Fingerprint() string { return Fingerprint(a.Cert()) }

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
	by := a.signs.Load()
	der, err := a.signBy(by, &x509.Certificate{
		Subject:  pkix.Name{CommonName: s.CommonName, Organization: s.Organizations},
		DNSNames: s.DNSNames, IPAddresses: s.IPs,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: s.Usages,
	}, &key.PublicKey, s.Life)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", s.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Pair{cert, key, by.cross}, nil
}

// LeafLife is how long what it signs lives, unless a Spec says otherwise.
func (a *Authority) LeafLife() time.Duration {
	if a.Lives.Leaf > 0 {
		return a.Lives.Leaf
	}
	return LeafLife
}

// signBy fills in serial number and validity and signs.
func (a *Authority) signBy(by *signing, t *x509.Certificate, public crypto.PublicKey, life time.Duration) ([]byte, error) {
	if life <= 0 {
		life = a.LeafLife()
	}
	now := time.Now()
	t.NotBefore, t.NotAfter = now.Add(-backdate(life)), now.Add(life)
	if t.NotBefore.Before(by.cert.NotBefore) {
		t.NotBefore = by.cert.NotBefore
	}
	if t.NotAfter.After(by.cert.NotAfter) {
		t.NotAfter = by.cert.NotAfter
	}
	if !t.NotAfter.After(now) {
		return nil, fmt.Errorf("the authority %s has expired at %s", by.cert.Subject.CommonName, by.cert.NotAfter.Format(time.RFC3339))
	}
	t.BasicConstraintsValid = true
	return x509.CreateCertificate(rand.Reader, t, by.cert, public, by.key) // a nil serial number becomes a random one
}

// Pair is a certificate and its key, and what is shown with it.
type Pair struct {
	Cert   *x509.Certificate
	Key    *ecdsa.PrivateKey
	Behind []*x509.Certificate // between it and its authority
}

// TLS is the pair as crypto/tls takes it.
func (p *Pair) TLS() *tls.Certificate {
	t := &tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
	for _, c := range p.Behind {
		t.Certificate = append(t.Certificate, c.Raw)
	}
	return t
}

// CertPEM is the certificate, and those behind it, as a PEM file.
func (p *Pair) CertPEM() []byte {
	data := certificatePEM(p.Cert.Raw)
	for _, c := range p.Behind {
		data = append(data, certificatePEM(c.Raw)...)
	}
	return data
}

// KeyPEM is the key as a PEM file (PKCS #8).
func (p *Pair) KeyPEM() ([]byte, error) { return keyPEM(p.Key) }

// Due is when the pair is to be renewed: at two thirds of its life.
func (p *Pair) Due() time.Time { return Due(p.Cert) }

// Due is when a certificate is to be renewed, or an authority to be followed: at two thirds of its life.
func Due(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}
