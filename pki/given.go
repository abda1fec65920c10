package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Given is a server's certificate that somebody else looks after, in two PEM files. Safe for concurrent use.
type Given struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
}

// OpenGiven reads the files.
func OpenGiven(cert, key string) (*Given, error) {
	g := &Given{cert: cert, key: key}
	_, err := g.read()
	return g, err
}

// GetCertificate is for a server's tls.Config.
func (g *Given) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return g.current.Load(), nil
}

func (g *Given) read() (changed bool, err error) {
	c, err := tls.LoadX509KeyPair(g.cert, g.key)
	if err != nil {
		return false, fmt.Errorf("certificate %s with key %s: %w", g.cert, g.key, err)
	}
	if old := g.current.Load(); old != nil && bytes.Equal(old.Certificate[0], c.Certificate[0]) {
		return false, nil
	}
	g.current.Store(&c)
	return true, nil
}

// lookAtGiven is how often the files are read again.
const lookAtGiven = time.Minute

// Run takes over what comes to be in the files, until ctx ends. While they cannot be read, the old certificate stays.
func (g *Given) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(lookAtGiven)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		switch changed, err := g.read(); {
		case err != nil:
			log.Warn("certificate not taken over", "err", err)
		case changed:
			log.Info("certificate taken over", "object", g.cert, "until", g.current.Load().Leaf.NotAfter)
		}
	}
}

// ReadCertificates reads all certificates of a PEM file, and gives its bytes too; none is an error.
func ReadCertificates(path string) ([]*x509.Certificate, []byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read certificates: %w", err)
	}
	certs, err := cert.ParseCertsPEM(data)
	if err != nil {
		return nil, nil, fmt.Errorf("certificates %s: %w", path, err)
	}
	return certs, data, nil
}

// ReadSigner reads a private key, ECDSA or RSA, in PEM of any of the usual forms.
func ReadSigner(path string) (crypto.Signer, error) {
	key, err := keyutil.PrivateKeyFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key %s: a %T signs nothing", path, key)
	}
	return s, nil
}

// ReadPublicKeys reads what verifies tokens, in the forms that upstream takes: public keys, those of certificates and of some private
// keys; none is an error.
func ReadPublicKeys(path string) (out []crypto.PublicKey, err error) {
	keys, err := keyutil.PublicKeysFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("keys %s: %w", path, err)
	}
	for _, k := range keys {
		out = append(out, k)
	}
	return out, nil
}
