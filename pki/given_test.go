package pki

import (
	"crypto"
	"crypto/ecdsa"
	"os"
	"path/filepath"
	"testing"
)

// TestGiven: what others made is read in any of its forms, and what is none is refused with its path.
func TestGiven(t *testing.T) {
	dir := t.TempDir()
	a, err := NewAuthority("theirs")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Issue(APIServer())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, private, empty := write("a.crt", pair.CertPEM()), write("a.key", key), write("empty", nil)
	signer, err := ReadSigner(private)
	if err != nil || !pair.Key.Equal(signer) {
		t.Errorf("signer %v, %v", signer, err)
	}
	keys, err := ReadPublicKeys(cert)
	if err != nil || len(keys) != 1 || !keys[0].(*ecdsa.PublicKey).Equal(crypto.PublicKey(&pair.Key.PublicKey)) {
		t.Errorf("%v, %v", keys, err)
	}
	both := write("both.crt", append(pair.CertPEM(), a.PEM()...))
	if certs, data, err := ReadCertificates(both); err != nil || len(certs) != 2 || len(data) == 0 {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
	g, err := OpenGiven(cert, private)
	if err != nil {
		t.Fatal(err)
	}
	next, err := a.Issue(APIServer())
	if err != nil {
		t.Fatal(err)
	}
	if key, err = next.KeyPEM(); err != nil {
		t.Fatal(err)
	}
	write("a.crt", next.CertPEM())
	if _, err := g.read(); err == nil {
		t.Error("a certificate is taken with another's key")
	}
	write("a.key", key)
	if changed, err := g.read(); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if c, _ := g.GetCertificate(nil); string(c.Certificate[0]) != string(next.Cert.Raw) {
		t.Error("the old certificate is shown")
	}
	for _, path := range []string{empty, filepath.Join(dir, "none")} {
		_, err1 := ReadSigner(path)
		_, err2 := ReadPublicKeys(path)
		_, _, err3 := ReadCertificates(path)
		_, err4 := OpenGiven(path, path)
		for _, err := range []error{err1, err2, err3, err4} {
			if err == nil {
				t.Errorf("%s is taken", path)
			}
		}
	}
}
