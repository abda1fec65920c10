package authn

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// issuerKeys are the keys that an issuer signs with now, as its discovery document leads to them (OpenID Connect Discovery 1.0, RFC 7517).
// They are fetched when first needed and when a signature is not good with those that are known, but never more often than
// betweenFetches, so that nobody's made-up tokens make us a burden to the issuer. Safe for concurrent use.
type issuerKeys struct {
	issuer    string
	discovery string // URL of the discovery document
	client    *http.Client
	fetched   func(set *keySet, err error)

	current atomic.Pointer[keySet]

	mu     sync.Mutex
	flight chan struct{} // closed when the fetch under way ends; nil: none is
	next   time.Time     // not before this
	err    error         // of the last fetch
}

const (
	betweenFetches = 10 * time.Second
	betweenFaults  = time.Second      // between fetches while none has succeeded
	freshKeys      = 5 * time.Minute  // older ones are fetched again, so that a key that was withdrawn goes
	fetchTimeout   = 10 * time.Second // for one fetch, of both documents
	mostKeys       = 1 << 20          // bytes of a document
)

// keySet is a JSON Web Key Set. Its keys are never changed.
type keySet struct {
	keys []publicKey
	raw  []byte       // what it was read from
	at   atomic.Int64 // when, last; Unix seconds
}

type publicKey struct {
	id, alg string // alg may be ""
	key     crypto.PublicKey
}

// get gives the keys that are known, or fetches the first.
func (k *issuerKeys) get(ctx context.Context) (*keySet, error) {
	if set := k.current.Load(); set != nil {
		return set, nil
	}
	return k.newer(ctx, nil)
}

// refresh fetches the keys if there are none or only old ones.
func (k *issuerKeys) refresh(ctx context.Context) error {
	set := k.current.Load()
	if set != nil && time.Since(time.Unix(set.at.Load(), 0)) < freshKeys {
		return nil
	}
	_, err := k.newer(ctx, set)
	return err
}

// newer fetches the keys, unless others than those seen are there already or it is too early: then it gives what there is. Of several who
// ask at once, one fetches.
func (k *issuerKeys) newer(ctx context.Context, seen *keySet) (*keySet, error) {
	k.mu.Lock()
	for k.flight != nil {
		flight := k.flight
		k.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		k.mu.Lock()
	}
	set := k.current.Load()
	if set != seen || time.Now().Before(k.next) {
		err := k.err
		k.mu.Unlock()
		if set != nil {
			return set, nil
		}
		return nil, err
	}
	flight := make(chan struct{})
	k.flight = flight
	k.mu.Unlock()

	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout) // others wait for it too
	defer cancel()
	made, err := k.fetch(late)
	k.fetched(made, err)

	k.mu.Lock()
	defer k.mu.Unlock()
	k.flight, k.err = nil, err
	close(flight)
	k.next = time.Now().Add(betweenFetches)
	if err == nil {
		if set != nil && bytes.Equal(set.raw, made.raw) {
			set.at.Store(made.at.Load()) // what was verified with it stays so
			return set, nil
		}
		k.current.Store(made)
		return made, nil
	}
	if set == nil {
		k.next = time.Now().Add(betweenFaults)
		return nil, err
	}
	return set, err
}

// fetch reads the discovery document and the keys that it names.
func (k *issuerKeys) fetch(ctx context.Context) (*keySet, error) {
	var found struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	data, err := k.read(ctx, k.discovery)
	if err == nil {
		err = json.Unmarshal(data, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("discovery document %s: %w", k.discovery, err)
	}
	if found.Issuer != k.issuer {
		return nil, fmt.Errorf("discovery document %s: it is of the issuer %q, not of %q", k.discovery, found.Issuer, k.issuer)
	}
	if u, err := url.Parse(found.Keys); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("discovery document %s: jwks_uri %q is not an https URL", k.discovery, found.Keys)
	}
	if data, err = k.read(ctx, found.Keys); err != nil {
		return nil, fmt.Errorf("keys %s: %w", found.Keys, err)
	}
	set, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("keys %s: %w", found.Keys, err)
	}
	set.at.Store(time.Now().Unix())
	return set, nil
}

func (k *issuerKeys) read(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := k.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostKeys+1))
	if err == nil && len(data) > mostKeys {
		err = fmt.Errorf("longer than %d bytes", mostKeys)
	}
	return data, err
}

// parseKeys reads a JSON Web Key Set. Keys of other kinds and for other uses are left out, as RFC 7517 wants; a set without any
// that can be used is an error.
func parseKeys(data []byte) (*keySet, error) {
	var read struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		return nil, err
	}
	set := &keySet{raw: data}
	var last error
	for _, one := range read.Keys {
		key, err := parseKey(one)
		if err != nil {
			last = err
			continue
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return nil, errors.Join(errors.New("no key that tokens could be signed with"), last)
	}
	return set, nil
}

// curveOf is one of ECDSA (RFC 7518, section 6.2.1.1); nil: not known.
func curveOf(name string) elliptic.Curve {
	switch name {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	case "P-521":
		return elliptic.P521()
	}
	return nil
}

func parseKey(data []byte) (k publicKey, err error) {
	var j jwk
	if err := json.Unmarshal(data, &j); err != nil {
		return k, err
	}
	if j.Use != "" && j.Use != "sig" {
		return k, fmt.Errorf("key %q is for %q", j.ID, j.Use)
	}
	number := func(text string) []byte {
		out, bad := decode64(text)
		if bad != nil {
			err = fmt.Errorf("key %q: %w", j.ID, bad)
		}
		return out
	}
	k.id, k.alg = j.ID, j.Algorithm
	switch j.Type {
	case "EC":
		curve := curveOf(j.Curve)
		x, y := number(j.X), number(j.Y)
		if curve == nil || err != nil {
			return k, errors.Join(fmt.Errorf("key %q on curve %q", j.ID, j.Curve), err)
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(x) != size || len(y) != size {
			return k, fmt.Errorf("key %q: numbers of %d and %d bytes, want %d", j.ID, len(x), len(y), size)
		}
		k.key, err = ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
		return k, err
	case "RSA":
		n, e := new(big.Int).SetBytes(number(j.N)), new(big.Int).SetBytes(number(j.E))
		if err != nil {
			return k, err
		}
		if n.BitLen() < 2048 || n.BitLen() > 16384 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
			return k, fmt.Errorf("key %q: an RSA key of %d bits with such an exponent is not safe", j.ID, n.BitLen())
		}
		k.key = &rsa.PublicKey{N: n, E: int(e.Int64())}
		return k, nil
	}
	return k, fmt.Errorf("key %q of type %q", j.ID, j.Type)
}
