package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Step is how far a Succession is.
type Step string

const (
	// StepTrust: the new authority is trusted beside the old one, which signs.
	StepTrust Step = "trust"
	// StepSign: the new one signs. With what it signs its own certificate is shown, signed by the old one: who knows the old one
	// alone, such as a kubeconfig of before, needs no more.
	StepSign Step = "sign"
	// StepDrop: the old one is trusted no more.
	StepDrop Step = "drop"
)

// Succession is how one authority follows another. While it is under way it lies as <name>.succession beside <name>.crt and
// <name>.key, and those two follow it: it is written first, so that a process which is killed goes on where it was.
type Succession struct {
	Step   Step      `json:"step"`
	Since  time.Time `json:"since"`            // of the step
	Old    []byte    `json:"old"`              // PEM
	New    []byte    `json:"new"`              // PEM
	Cross  []byte    `json:"cross"`            // PEM: the new one, signed by the old one
	Key    []byte    `json:"key,omitempty"`    // PEM: the new one's
	Sealed []byte    `json:"sealed,omitempty"` // the same for other servers: who has the old one's key opens it
}

// ErrMissed: an authority is neither the old nor the new one of a Succession.
var ErrMissed = errors.New("another authority than the one here has been followed")

// Begin makes the authority that is to follow this one. Nothing changes before it is adopted.
func (a *Authority) Begin() (*Succession, error) {
	by := a.signs.Load()
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	s := &Succession{Step: StepTrust, Since: time.Now(), Old: certificatePEM(by.cert.Raw)}
	if s.New, err = selfSign(key, by.cert.Subject.CommonName, a.ownLife()); err != nil {
		return nil, err
	}
	if s.Key, err = keyPEM(key); err != nil {
		return nil, err
	}
	c, err := ParseCertificate(s.New)
	if err != nil {
		return nil, err
	}
	// One name, two keys: a self-issued certificate, RFC 5280's way for such a change.
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{Subject: c.Subject, NotBefore: c.NotBefore, NotAfter: by.cert.NotAfter,
		KeyUsage: c.KeyUsage, BasicConstraintsValid: true, IsCA: true, SubjectKeyId: c.SubjectKeyId, AuthorityKeyId: by.cert.SubjectKeyId}, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %s: %w", c.Subject.CommonName, err)
	}
	s.Cross = certificatePEM(der)
	lock, err := sealer(by.key)
	if err != nil {
		return nil, err
	}
	s.Sealed = lock.Seal(nil, nil, s.Key, s.New)
	return s, nil
}

// At is the Succession at its next step, from now on.
func (s Succession) At(step Step, now time.Time) *Succession {
	s.Step, s.Since = step, now
	return &s
}

// Until is when the old authority is to be dropped, as of the step sign: when nothing that it signed is good any more, or a little before
// its own end. leaf is how long at most something is good.
func (s Succession) Until(leaf time.Duration) time.Time {
	at := s.Since.Add(leaf)
	if c, err := ParseCertificate(s.Old); err == nil {
		if end := c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 50); end.Before(at) {
			at = end
		}
	}
	return at
}

// Public is the Succession without the plain key.
func (s Succession) Public() *Succession {
	s.Key = nil
	return &s
}

// sealer locks what is for those alone who have an authority's key. Who knows that key could as well make himself the administrator and
// ask for the new one.
func sealer(key *ecdsa.PrivateKey) (cipher.AEAD, error) {
	secret, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	k, err := hkdf.Key(sha256.New, secret, nil, "lighter: the next authority's key", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Succession is the one that is under way; nil: none.
func (a *Authority) Succession() *Succession { return a.next.Load() }

// Adopt takes the authority to a Succession's step, if it is not there yet: in its files, if it has any, and in memory. One that has
// no plain key is opened with what is here. Errors: ErrMissed.
func (a *Authority) Adopt(s *Succession) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.signs.Load()
	signs := string(certificatePEM(at.cert.Raw))
	known := a.Succession()
	switch {
	case known != nil && known.Step == s.Step && string(known.New) == string(s.New):
		return nil // it is there
	case signs == string(s.New) && (known == nil || s.Step != StepDrop):
		return nil // it is as far, or further
	case signs == string(s.New):
	case signs != string(s.Old):
		return ErrMissed
	}
	full := *s
	if len(full.Key) == 0 {
		if err := full.unseal(known, at.key); err != nil {
			return err
		}
	}
	if full.Step == StepDrop && signs != string(s.New) { // each file is written by the step before
		if err := a.take(full.At(StepSign, full.Since)); err != nil {
			return err
		}
	}
	return a.take(&full)
}

func (s *Succession) unseal(known *Succession, key *ecdsa.PrivateKey) (err error) {
	if known != nil && string(known.New) == string(s.New) {
		s.Key = known.Key
		return nil
	}
	lock, err := sealer(key)
	if err != nil {
		return err
	}
	if s.Key, err = lock.Open(nil, nil, s.Sealed, s.New); err != nil {
		return fmt.Errorf("the next authority's key cannot be opened with that of the one here: %w", err)
	}
	return nil
}

// take goes to a step, a.mu is held.
func (a *Authority) take(s *Succession) error {
	if a.certPath != "" {
		if err := a.write(s); err != nil {
			return err
		}
	}
	return a.use(s)
}

// Repair writes what a process that was killed may have left undone. No other process uses the files.
func (a *Authority) Repair() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.Succession(); s != nil {
		return a.write(s)
	}
	return nil
}

func (a *Authority) successionPath() string {
	return strings.TrimSuffix(a.certPath, ".crt") + ".succession"
}

func readSuccession(path string) (*Succession, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &Succession{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.Step != StepTrust && s.Step != StepSign {
		return nil, fmt.Errorf("%s: unknown step %q", path, s.Step)
	}
	return s, nil
}

// write puts a step into the files: at each moment they say the step of before, or this one.
func (a *Authority) write(s *Succession) error {
	if s.Step == StepDrop {
		if err := writeIfOther(a.certPath, s.New, 0o644); err != nil {
			return err
		}
		return removeFile(a.successionPath())
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := writeIfOther(a.successionPath(), append(data, '\n'), 0o600); err != nil {
		return err
	}
	trusted := string(s.Old) + string(s.New)
	if s.Step == StepSign {
		if err := writeIfOther(a.keyPath, s.Key, 0o600); err != nil {
			return err
		}
		trusted = string(s.New) + string(s.Old)
	}
	return writeIfOther(a.certPath, []byte(trusted), 0o644)
}

// use puts a step into memory.
func (a *Authority) use(s *Succession) error {
	var certs [3]*x509.Certificate
	for i, data := range [][]byte{s.Old, s.New, s.Cross} {
		var err error
		if certs[i], err = ParseCertificate(data); err != nil {
			return fmt.Errorf("succession: %w", err)
		}
	}
	old, next, cross := certs[0], certs[1], certs[2]
	key, err := parseKey(s.Key)
	if err != nil {
		return fmt.Errorf("succession: %w", err)
	}
	if !next.IsCA || !key.PublicKey.Equal(next.PublicKey) {
		return errors.New("succession: the key is not the new authority's")
	}
	a.next.Store(s)
	switch s.Step {
	case StepTrust:
		a.Set(old, next)
	case StepSign:
		a.sign(next, key, cross)
		a.Set(next, old)
	default:
		a.next.Store(nil)
		a.sign(next, key)
		a.Set(next)
	}
	return nil
}
