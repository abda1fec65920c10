package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// TokensName is the name of the key that signs service account tokens, among certificates.
const TokensName = "service-account"

// TokenKey verifies service account tokens.
type TokenKey struct {
	Public  *ecdsa.PublicKey
	Since   time.Time // it was made
	Retired time.Time // it signs no more; zero: it does
}

// TokenKeyDue is when a key is to be replaced that was made then, where certificates have this life: at two thirds of it too, and
// at most every twenty days, since the keys of before stay for as long as tokens of theirs may live.
func TokenKeyDue(since time.Time, life time.Duration) time.Time {
	return since.Add(max(life, 30*24*time.Hour) * 2 / 3)
}

// Headers of a key's block in sa.pub.
const (
	sinceHeader   = "Since"
	retiredHeader = "Retired"
)

// readTokenKeys reads sa.pub, the one that signs first; nil: there is none yet.
func readTokenKeys(dir string) (out []TokenKey, err error) {
	path := filepath.Join(dir, "sa.pub")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var made time.Time
	if info, err := os.Stat(path); err == nil {
		made = info.ModTime()
	}
	if out, err = ParseTokenKeys(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range out {
		if out[i].Since.IsZero() { // written before keys had dates
			out[i].Since = made
		}
	}
	return out, nil
}

func tokenKey(block *pem.Block) (k TokenKey, err error) {
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return k, err
	}
	var ok bool
	if k.Public, ok = public.(*ecdsa.PublicKey); !ok {
		return k, fmt.Errorf("a key of type %T where an ECDSA key is needed", public)
	}
	for header, at := range map[string]*time.Time{sinceHeader: &k.Since, retiredHeader: &k.Retired} {
		if s := block.Headers[header]; s != "" {
			if *at, err = time.Parse(time.RFC3339, s); err != nil {
				return k, err
			}
		}
	}
	return k, nil
}

// PEM is the key as it stands in sa.pub.
func (k TokenKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	for header, at := range map[string]time.Time{sinceHeader: k.Since, retiredHeader: k.Retired} {
		if !at.IsZero() {
			headers[header] = at.UTC().Format(time.RFC3339)
		}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: headers, Bytes: der}), nil
}

// ParseTokenKeys reads what PEM wrote, one after the other.
func ParseTokenKeys(data []byte) (out []TokenKey, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		k, err := tokenKey(block)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// openTokens reads the key that signs tokens and those that verify them, and writes down what is missing.
func (p *PKI) openTokens() (err error) {
	if p.Tokens, err = openKey(filepath.Join(p.Dir, "sa.key")); err != nil {
		return err
	}
	if p.keys, err = readTokenKeys(p.Dir); err != nil {
		return err
	}
	for i, k := range p.keys {
		if k.Public.Equal(&p.Tokens.PublicKey) {
			p.keys[0], p.keys[i] = p.keys[i], p.keys[0] // a rotation may have ended between the two files
			return nil
		}
	}
	return p.saveTokenKeys([]TokenKey{{Public: &p.Tokens.PublicKey, Since: time.Now()}}) // of the first start, or somebody gave us another key
}

func (p *PKI) saveTokenKeys(keys []TokenKey) error {
	var file bytes.Buffer
	for _, k := range keys {
		data, err := k.PEM()
		if err != nil {
			return err
		}
		file.Write(data)
	}
	if err := writeIfOther(filepath.Join(p.Dir, "sa.pub"), file.Bytes(), 0o644); err != nil {
		return err
	}
	p.keys = keys
	return nil
}

// TokenKeys are those that verify tokens, the one that signs first.
func (p *PKI) TokenKeys() []TokenKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]TokenKey(nil), p.keys...)
}

// TokenSigner is the key that signs tokens.
func (p *PKI) TokenSigner() *ecdsa.PrivateKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Tokens
}

// NewTokens makes a key that is to sign tokens; see UseTokens.
func (p *PKI) NewTokens() (*ecdsa.PrivateKey, TokenKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, TokenKey{}, err
	}
	return key, TokenKey{Public: &key.PublicKey, Since: time.Now()}, nil
}

// UseTokens makes key the one that signs tokens. Those of before verify them still, if keep says so.
func (p *PKI) UseTokens(key *ecdsa.PrivateKey, keep func(TokenKey) bool) error {
	data, err := keyPEM(key)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := []TokenKey{{Public: &key.PublicKey, Since: time.Now()}}
	for _, k := range p.keys {
		switch {
		case k.Public.Equal(&key.PublicKey):
			continue
		case k.Public.Equal(&p.Tokens.PublicKey):
			k.Retired = time.Now()
		case !keep(k):
			continue
		}
		keys = append(keys, k)
	}
	if err := p.saveTokenKeys(keys); err != nil { // the public ones first: no token is made that could not be verified after a crash
		return err
	}
	if err := WriteFile(filepath.Join(p.Dir, "sa.key"), data, 0o600); err != nil {
		return err
	}
	p.Tokens = key
	return nil
}
