package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile replaces a file atomically and durably: a reader, or the next start after a crash, finds the
// old content or the new.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	return writeFile(path, data, mode, func(*os.File) error { return nil })
}

// writeFile is WriteFile; prepare may change the new file before it takes its place.
func writeFile(path string, data []byte, mode os.FileMode, prepare func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), prepare(f), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes what was renamed or removed in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeIfOther writes unless the file has that content already.
func writeIfOther(path string, data []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return WriteFile(path, data, mode)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseCertificate reads the first certificate of a PEM file.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("no certificate in the PEM data")
}

// parseCertificates reads all certificates of a PEM file; none is an error.
func parseCertificates(data []byte) (out []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in the PEM data")
	}
	return out, nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM data")
	}
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if key, ok := key.(*ecdsa.PrivateKey); ok {
			return key, nil
		}
		return nil, fmt.Errorf("a key of type %T where an ECDSA key is needed", key)
	}
	return nil, fmt.Errorf("PEM data of type %q where a private key is needed", block.Type)
}

// LoadPair reads a certificate and its key from PEM files.
func LoadPair(certPath, keyPath string) (*Pair, error) {
	certData, err := os.ReadFile(certPath)
	if err != nil {
		return nil, err
	}
	keyData, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	return ParsePair(certData, keyData)
}

// ParsePair reads a certificate and its key from PEM data.
func ParsePair(certData, keyData []byte) (*Pair, error) {
	certs, err := parseCertificates(certData)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyData)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("the key is not the certificate's")
	}
	return &Pair{certs[0], key, certs[1:]}, nil
}

// Save writes the pair as two PEM files, the key first.
func (p *Pair) Save(certPath, keyPath string) error {
	key, err := p.KeyPEM()
	if err != nil {
		return err
	}
	if err := WriteFile(keyPath, key, 0o600); err != nil {
		return err
	}
	return WriteFile(certPath, p.CertPEM(), 0o644)
}

// removeFile removes a file durably.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}
