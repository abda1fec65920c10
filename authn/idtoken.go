package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// ID tokens are JSON Web Tokens that others issue (OpenID Connect Core 1.0, section 2). They are read as strictly as our own: one
// meaning or none.

// maxIDToken is longer than our own: issuers write all groups of a user into it.
const maxIDToken = 64 << 10 // bytes

// idToken is one whose signature, claims and rules were good, with the user that they made.
type idToken struct {
	from  *issuer
	keys  *keySet // that the signature was checked with; with others it is checked again
	user  *authenticationv1.UserInfo
	until time.Time
}

// authenticate finds a token's user; nil, nil when no issuer of ours issued it. A token is verified once, as long as its issuer's keys stay.
func (g *generation) authenticate(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	hash := quickHash(token)
	now := time.Now()
	if known, ok := g.verified.find(hash, token); ok && known.from.keys.current.Load() == known.keys {
		if !now.Before(known.until) {
			return nil, errors.New("token has expired")
		}
		return known.user, nil
	}
	if len(token) > maxIDToken {
		return nil, errors.New("token is too long")
	}
	parts := strings.Split(token, ".")
	claims, err := decodeClaims(parts[1])
	if err != nil {
		return nil, fmt.Errorf("token claims: %w", err)
	}
	url, _ := claims["iss"].(string)
	from := g.issuers[url]
	if from == nil {
		return nil, nil
	}
	began := time.Now()
	known, err := from.verify(ctx, token, claims, now)
	from.metrics.jwt(from.hash, time.Since(began), err)
	if err != nil {
		return nil, fmt.Errorf("token of %s: %w", url, err)
	}
	g.verified.keep(hash, token, known)
	return known.user, nil
}

// decodeClaims reads one JSON object, each key once.
func decodeClaims(part string) (map[string]any, error) {
	data, err := decode64(part)
	if err != nil {
		return nil, err
	}
	if err := checkKeys(data, exactly); err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, json.Unmarshal(data, &claims)
}

// verify checks what the token says of itself, its signature, and the rules of the configuration.
func (i *issuer) verify(ctx context.Context, token string, claims map[string]any, now time.Time) (*idToken, error) {
	until, err := i.acceptable(claims, now)
	if err != nil {
		return nil, err
	}
	keys, err := i.signed(ctx, i.keys, token)
	if err != nil {
		return nil, err
	}
	switch end, err := i.complete(ctx, claims, now); {
	case err != nil:
		return nil, err
	case !end.IsZero() && end.Before(until):
		until = end
	}
	user, err := i.userOf(ctx, claims)
	if err != nil {
		return nil, err
	}
	return &idToken{i, keys, user, until}, nil
}

// acceptable checks times and audience.
func (i *issuer) acceptable(claims map[string]any, now time.Time) (until time.Time, err error) {
	exp, ok := claims["exp"].(float64)
	if !ok || exp <= 0 || exp > 1<<40 {
		return until, errors.New("no expiry")
	}
	if until = time.Unix(int64(exp), 0); !now.Before(until) {
		return until, errors.New("expired")
	}
	if nbf, set := claims["nbf"]; set {
		if at, ok := nbf.(float64); !ok || at > 1<<40 || now.Add(clockLeeway).Before(time.Unix(int64(at), 0)) {
			return until, errors.New("not valid yet")
		}
	}
	audiences, err := textOrTexts(claims["aud"])
	if err != nil || len(intersect(audiences, i.audiences)) == 0 {
		return until, fmt.Errorf("it is for %q, not for %q", audiences, i.audiences)
	}
	return until, nil
}

// signed checks the signature, with the newest keys if those that are known do not do.
func (i *issuer) signed(ctx context.Context, from *issuerKeys, token string) (*keySet, error) {
	parts := strings.Split(token, ".")
	h, err := decodeHeader(parts[0])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if len(i.algorithms) > 0 && !slices.Contains(i.algorithms, h.Algorithm) {
		return nil, fmt.Errorf("it is signed by %s, not by one of %q", h.Algorithm, i.algorithms)
	}
	signature, err := decode64(parts[2])
	if err != nil {
		return nil, errors.New("the signature is not good")
	}
	signed := token[:len(parts[0])+1+len(parts[1])]
	keys, err := from.get(ctx)
	if err != nil {
		return nil, err
	}
	if keys.verify(h, signed, signature) {
		return keys, nil
	}
	newer, err := from.newer(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("the signature is not good with the keys that are known, and newer ones cannot be had: %w", err)
	}
	if newer == keys || !newer.verify(h, signed, signature) {
		return nil, errors.New("the signature is not good")
	}
	return newer, nil
}

// decodeHeader reads a token's header. What it says of where to find keys counts for nothing.
func decodeHeader(part string) (h header, err error) {
	data, err := decode64(part)
	if err != nil {
		return h, err
	}
	if err := checkKeys(data, inAnyCase); err != nil {
		return h, err
	}
	var read struct {
		header
		Critical json.RawMessage `json:"crit"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		return h, err
	}
	if read.Critical != nil {
		return h, errors.New("crit: nothing of that kind is understood")
	}
	if _, ok := algorithms[read.Algorithm]; !ok {
		return h, fmt.Errorf("alg %q is not supported", read.Algorithm)
	}
	return read.header, nil
}

// algorithm is how tokens are signed (RFC 7518, section 3).
type algorithm struct {
	hash crypto.Hash
	kind byte // E, R (PKCS #1 v1.5) or P (PSS)
	bits int  // of the curve
}

var algorithms = map[string]algorithm{
	"RS256": {crypto.SHA256, 'R', 0}, "RS384": {crypto.SHA384, 'R', 0}, "RS512": {crypto.SHA512, 'R', 0},
	"PS256": {crypto.SHA256, 'P', 0}, "PS384": {crypto.SHA384, 'P', 0}, "PS512": {crypto.SHA512, 'P', 0},
	"ES256": {crypto.SHA256, 'E', 256}, "ES384": {crypto.SHA384, 'E', 384}, "ES512": {crypto.SHA512, 'E', 521},
}

// verify tells whether one of the keys that the header means made the signature.
func (k *keySet) verify(h header, signed string, signature []byte) bool {
	a := algorithms[h.Algorithm]
	sum := a.hash.New()
	sum.Write([]byte(signed))
	digest := sum.Sum(nil)
	return slices.ContainsFunc(k.keys, func(key publicKey) bool {
		if h.KeyID != "" && key.id != h.KeyID || key.alg != "" && key.alg != h.Algorithm {
			return false
		}
		return a.verify(key.key, digest, signature)
	})
}

func (a algorithm) verify(key crypto.PublicKey, digest, signature []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		bits := key.Curve.Params().BitSize
		size := (bits + 7) / 8
		if a.kind != 'E' || a.bits != bits || len(signature) != 2*size {
			return false
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
	case *rsa.PublicKey:
		switch a.kind {
		case 'R':
			return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
		case 'P':
			return rsa.VerifyPSS(key, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	}
	return false
}

// textOrTexts reads a claim that is a string or a list of them; null and nothing are none.
func textOrTexts(claim any) ([]string, error) {
	switch v := claim.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, errors.New("not a list of strings")
			}
			out = append(out, text)
		}
		return out, nil
	}
	return nil, errors.New("neither a string nor a list of strings")
}
