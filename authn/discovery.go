package authn

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

// Discovery is the document at /.well-known/openid-configuration (application/json), by which others learn how to
// verify service account tokens. base is the API server's URL as they reach it. Source: OpenID Connect Discovery 1.0.
func (t *Tokens) Discovery(base string) ([]byte, error) {
	algorithms := []string{}
	for _, k := range t.ring.Load().keys {
		algorithms = append(algorithms, k.alg)
	}
	slices.Sort(algorithms)
	return json.Marshal(struct {
		Issuer     string   `json:"issuer"`
		Keys       string   `json:"jwks_uri"`
		Responses  []string `json:"response_types_supported"`
		Subjects   []string `json:"subject_types_supported"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}{t.issuer, base + "/openid/v1/jwks", []string{"id_token"}, []string{"public"}, slices.Compact(algorithms)})
}

type jwk struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	Algorithm string `json:"alg"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

// Keys is the document at /openid/v1/jwks (application/jwk-set+json): the public keys (RFC 7517).
func (t *Tokens) Keys() ([]byte, error) {
	keys, by := []jwk{}, t.ring.Load()
	for _, v := range by.keys {
		k := jwk{Use: "sig", ID: v.id, Algorithm: v.alg}
		switch key := v.key.(type) {
		case *ecdsa.PublicKey:
			point, err := key.Bytes() // 4, X, Y
			if err != nil {
				return nil, err
			}
			k.Type, k.Curve = "EC", "P-256"
			k.X, k.Y = encoding.EncodeToString(point[1:33]), encoding.EncodeToString(point[33:])
		case *rsa.PublicKey:
			k.Type, k.N, k.E = "RSA", encoding.EncodeToString(key.N.Bytes()), encoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b jwk) int { // the one that signs first
		switch by.signer.id {
		case a.ID:
			return -1
		case b.ID:
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
	return json.Marshal(struct {
		Keys []jwk `json:"keys"`
	}{keys})
}
