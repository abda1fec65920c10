package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
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

// ReadCertificates reads all certificates of a PEM file; none is an error.
func ReadCertificates(path string) (out []*x509.Certificate, data []byte, err error) {
	if data, err = os.ReadFile(path); err != nil {
		return nil, nil, fmt.Errorf("read certificates: %w", err)
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("certificates %s: %w", path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, nil, fmt.Errorf("certificates %s: there is none", path)
	}
	return out, data, nil
}

// ReadSigner reads a private key, ECDSA or RSA, in PEM of any of the usual forms.
func ReadSigner(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("key %s: there is none", path)
		}
		if key := privateKey(block); key != nil {
			return key, nil
		}
	}
}

// privateKey is nil for what is none.
func privateKey(b *pem.Block) crypto.Signer {
	if key, err := x509.ParseECPrivateKey(b.Bytes); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(b.Bytes); err == nil {
		return key
	}
	key, _ := x509.ParsePKCS8PrivateKey(b.Bytes)
	s, _ := key.(crypto.Signer)
	return s
}

// ReadPublicKeys reads what verifies tokens: public keys, those of private keys and of certificates.
func ReadPublicKeys(path string) (out []crypto.PublicKey, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c.PublicKey)
		} else if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			out = append(out, key)
		} else if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
			out = append(out, key)
		} else if key := privateKey(block); key != nil {
			out = append(out, key.Public())
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("keys %s: there is none", path)
	}
	return out, nil
}
