package authn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// Service account tokens are JSON Web Tokens (RFC 7519) in compact form, signed ES256 or RS256
// (RFC 7518). What is read here is the narrow shape that Kubernetes writes: anything that two
// readers could understand in two ways is refused.

const maxToken = 16 << 10 // bytes

var encoding = base64.RawURLEncoding.Strict()

// decode64 decodes what encoding encodes, and only that: the decoder itself would skip line ends.
func decode64(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("line end in base64")
	}
	return encoding.DecodeString(part)
}

// verifier is a key that signatures are checked with.
type verifier struct {
	id  string // kid
	alg string
	key crypto.PublicKey
}

// newVerifier takes an ECDSA P-256 key or an RSA key of at least 2048 bits.
func newVerifier(key crypto.PublicKey) (verifier, error) {
	v := verifier{key: key}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return v, fmt.Errorf("token key on curve %s, want P-256", k.Curve.Params().Name)
		}
		v.alg = "ES256"
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return v, fmt.Errorf("token key of %d bits, want at least 2048", k.N.BitLen())
		}
		v.alg = "RS256"
	default:
		return v, fmt.Errorf("token key of type %T, want ECDSA or RSA", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return v, fmt.Errorf("token key: %w", err)
	}
	sum := sha256.Sum256(der)
	v.id = encoding.EncodeToString(sum[:])
	return v, nil
}

// KeyID is how tokens name the key that signed them.
func KeyID(key crypto.PublicKey) (string, error) {
	v, err := newVerifier(key)
	return v.id, err
}

// KeyOf is the key that a token says it is signed with; "": it says nothing. It may say what it likes.
func KeyOf(token string) string {
	var h header
	first, _, _ := strings.Cut(token, ".")
	if decode(first, &h, false) != nil {
		return ""
	}
	return h.KeyID
}

func (v verifier) verify(signed string, signature []byte) bool {
	hash := sha256.Sum256([]byte(signed))
	switch key := v.key.(type) {
	case *ecdsa.PublicKey:
		if len(signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(key, hash[:], r, s)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], signature) == nil
	}
	return false
}

type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ,omitempty"`
}

// sign makes the token.
func sign(key crypto.Signer, v verifier, claims any) (string, error) {
	h, err := json.Marshal(header{Algorithm: v.alg, KeyID: v.id})
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := encoding.EncodeToString(h) + "." + encoding.EncodeToString(c)
	hash := sha256.Sum256([]byte(signed))
	signature, err := key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if v.alg == "ES256" { // ASN.1 becomes two numbers of 32 bytes
		var n struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &n); err != nil {
			return "", fmt.Errorf("sign token: %w", err)
		}
		signature = make([]byte, 64)
		n.R.FillBytes(signature[:32])
		n.S.FillBytes(signature[32:])
	}
	return signed + "." + encoding.EncodeToString(signature), nil
}

// isJWT reports whether a bearer token has the outer form of a JSON Web Token.
func isJWT(token string) bool {
	return strings.Count(token, ".") == 2 && strings.HasPrefix(token, "ey")
}

// issuerOf reads who a token says issued it; "" where that cannot be read, or not in one way only.
func issuerOf(token string) string {
	if len(token) > maxIDToken {
		return ""
	}
	claims, err := decodeClaims(strings.Split(token, ".")[1])
	if err != nil {
		return ""
	}
	issuer, _ := claims["iss"].(string)
	return issuer
}

// parse checks header, claims' form and signature, in the order of their price, and decodes the claims into out; it names the key.
// accept judges the decoded claims before the signature is looked at; nothing may be kept of claims whose signature fails.
func parse(token string, keys map[string]verifier, out any, accept func() error) (key string, err error) {
	if len(token) > maxToken {
		return "", errors.New("token is too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("token has not three parts")
	}
	var h header
	if err := decode(parts[0], &h, true); err != nil {
		return "", fmt.Errorf("token header: %w", err)
	}
	by, ok := keys[h.KeyID]
	if !ok {
		return "", errors.New("token is signed by a key that is not ours")
	}
	if h.Algorithm != by.alg || (h.Type != "" && h.Type != "JWT") {
		return "", errors.New("token header: alg or typ is not that of the key")
	}
	if err := decode(parts[1], out, false); err != nil {
		return "", fmt.Errorf("token claims: %w", err)
	}
	if err := accept(); err != nil {
		return "", err
	}
	signature, err := decode64(parts[2])
	if err != nil || !by.verify(token[:len(parts[0])+1+len(parts[1])], signature) {
		return "", errors.New("token signature is not good")
	}
	return h.KeyID, nil
}

// decode reads one JSON object, each key once; with strict none may be unknown.
func decode(part string, out any, strict bool) error {
	data, err := decode64(part)
	if err != nil {
		return err
	}
	if err := checkKeys(data, inAnyCase); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if strict {
		d.DisallowUnknownFields()
	}
	return d.Decode(out)
}

// inAnyCase: two keys that differ in case only are the same one, as for encoding/json's structs. exactly: they are two, as for its maps.
func inAnyCase(key string) string { return strings.ToLower(key) }
func exactly(key string) string   { return key }

// checkKeys refuses what is not one JSON object, and objects that have a key twice.
func checkKeys(data []byte, as func(key string) string) error {
	d := json.NewDecoder(bytes.NewReader(data))
	var stack []map[string]bool // nil for an array
	key := false                // the next token is a key
	for first := true; ; first = false {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if len(stack) == 0 && !first || first && token != json.Delim('{') {
			return errors.New("not one JSON object")
		}
		if name, ok := token.(string); ok && key {
			name = as(name)
			if stack[len(stack)-1][name] {
				return fmt.Errorf("duplicate key %q", name)
			}
			stack[len(stack)-1][name] = true
			key = false
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, map[string]bool{})
		case json.Delim('['):
			stack = append(stack, nil)
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		key = len(stack) > 0 && stack[len(stack)-1] != nil
	}
}
