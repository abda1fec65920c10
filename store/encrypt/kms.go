package encrypt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kmsapi "k8s.io/kms/apis/v2"
)

// How a plugin is used. Source: Kubernetes documentation, Using a KMS provider for data encryption, and KEP-3299: its
// status is asked every minute; a data encryption key is used for writes while the plugin confirmed its key ID within three minutes.
const (
	kmsPoll      = time.Minute
	kmsPollAgain = 10 * time.Second // while it fails
	kmsGood      = 3 * time.Minute
	kmsPatience  = 10 * time.Second // for a plugin that does not answer a read
	kmsCache     = 1000             // data encryption keys that are kept
)

// kms is a KMS v2 plugin. It encrypts one seed, from which each value gets a key of its own, so that neither reads nor
// writes call it but when its key changes or a seed is new to this process.
type kms struct {
	name, endpoint, begin string
	timeout               time.Duration
	conn                  *grpc.ClientConn
	client                kmsapi.KeyManagementServiceClient

	mu     sync.Mutex
	source *source // what is written with; nil: not asked yet
	good   time.Time
	cache  map[[32]byte][]byte // of sources to what the plugin decrypted
	asking sync.Mutex          // one refresh at a time
}

// source is a data encryption key source, with its plain text.
type source struct {
	envelope
	plain []byte
}

func newKMS(name, endpoint string, timeout time.Duration) (*kms, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)), // for as long as a call may take
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second}}))
	if err != nil {
		return nil, err
	}
	return &kms{name: name, endpoint: endpoint, begin: sealed + "kms:v2:" + name + ":", timeout: timeout, conn: conn,
		client: kmsapi.NewKeyManagementServiceClient(conn), cache: map[[32]byte][]byte{}}, nil
}

func (p *kms) prefix() string { return p.begin }
func (p *kms) close() error   { return p.conn.Close() }

// run keeps the source in accordance with the plugin's key.
func (p *kms) run(ctx context.Context) {
	for {
		wait := kmsPoll
		if p.refresh(ctx) != nil {
			wait = kmsPollAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ready asks the plugin unless it is known to work.
func (p *kms) ready(ctx context.Context) error {
	if s := p.current(); s != nil {
		return nil
	}
	return p.refresh(ctx)
}

// current is the source that may be written with, or nil.
func (p *kms) current() *source {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.source == nil || time.Since(p.good) > kmsGood {
		return nil
	}
	return p.source
}

// refresh asks for the plugin's state and, when its key is another one, has it encrypt a new seed.
func (p *kms) refresh(ctx context.Context) error {
	p.asking.Lock()
	defer p.asking.Unlock()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	s, err := p.client.Status(ctx, &kmsapi.StatusRequest{})
	switch {
	case err != nil:
		return fmt.Errorf("kms plugin %s: status: %w", p.name, err)
	case s.Version != "v2" && s.Version != "v2beta1":
		return fmt.Errorf("kms plugin %s: version %q: want v2", p.name, s.Version)
	case s.Healthz != "ok":
		return fmt.Errorf("kms plugin %s: it says %q", p.name, s.Healthz)
	case s.KeyId == "" || len(s.KeyId) > 1024:
		return fmt.Errorf("kms plugin %s: status: key ID of %d bytes", p.name, len(s.KeyId))
	}
	p.mu.Lock()
	next := p.source
	p.mu.Unlock()
	if next == nil || next.keyID != s.KeyId {
		seed := make([]byte, 32)
		rand.Read(seed)
		r, err := p.client.Encrypt(ctx, &kmsapi.EncryptRequest{Plaintext: seed, Uid: rand.Text()})
		switch {
		case err != nil:
			return fmt.Errorf("kms plugin %s: encrypt: %w", p.name, err)
		case len(r.Ciphertext) == 0 || len(r.Ciphertext) > 1024 || r.KeyId == "" || len(r.KeyId) > 1024:
			return fmt.Errorf("kms plugin %s: encrypt: cipher text of %d bytes, key ID of %d", p.name, len(r.Ciphertext), len(r.KeyId))
		}
		next = &source{envelope{keyID: r.KeyId, source: r.Ciphertext, annotations: r.Annotations, kind: seedSource}, seed}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.source, p.good = next, began
	p.remember(next.id(), next.plain)
	return nil
}

func (p *kms) remember(id [32]byte, plain []byte) {
	if len(p.cache) >= kmsCache {
		clear(p.cache)
	}
	p.cache[id] = plain
}

func (p *kms) seal(ctx context.Context, key string, plain []byte) ([]byte, error) {
	s := p.current()
	if s == nil {
		if err := p.refresh(ctx); err != nil {
			return nil, err
		}
		if s = p.current(); s == nil {
			return nil, fmt.Errorf("kms plugin %s is not ready", p.name)
		}
	}
	info := make([]byte, seedInfo)
	rand.Read(info)
	aead, err := derive(s.plain, info)
	if err != nil {
		return nil, err
	}
	e := s.envelope
	e.data = sealGCM(aead, string(info), key, plain)
	return e.append([]byte(p.begin)), nil
}

func (p *kms) open(ctx context.Context, key string, body []byte) ([]byte, bool, error) {
	e, err := parseEnvelope(body)
	if err != nil {
		return nil, false, err
	}
	secret, err := p.decrypt(ctx, e)
	if err != nil {
		return nil, false, err
	}
	var aead cipher.AEAD
	data := e.data
	if e.kind == seedSource {
		if len(data) < seedInfo {
			return nil, false, errShort
		}
		if aead, err = derive(secret, data[:seedInfo]); err != nil {
			return nil, false, err
		}
		data = data[seedInfo:]
	} else if aead, err = newGCM(secret); err != nil {
		return nil, false, err
	}
	value, err := openGCM(aead, key, data)
	if err != nil {
		return nil, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return value, e.kind != seedSource || p.source != nil && p.source.keyID != e.keyID, nil
}

// decrypt gives the plain text of a value's source. A plugin that does not answer is asked again for a while: those who
// follow the store's log must not take a plugin's restart for damage.
func (p *kms) decrypt(ctx context.Context, e envelope) ([]byte, error) {
	id := e.id()
	p.mu.Lock()
	secret, ok := p.cache[id]
	p.mu.Unlock()
	if ok {
		return secret, nil
	}
	for began := time.Now(); ; {
		call, cancel := context.WithTimeout(ctx, p.timeout)
		r, err := p.client.Decrypt(call, &kmsapi.DecryptRequest{Ciphertext: e.source, KeyId: e.keyID, Annotations: e.annotations, Uid: rand.Text()})
		cancel()
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.remember(id, r.Plaintext)
			return r.Plaintext, nil
		}
		code := status.Code(err)
		if code != codes.Unavailable && code != codes.DeadlineExceeded || time.Since(began) > kmsPatience || ctx.Err() != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// seedInfo is how many random bytes before the nonce make a value's key of its seed.
const seedInfo = 32

// derive makes a value's key of a seed. Source: KEP-3299, HKDF_SHA256_XNONCE_AES_GCM_SEED.
func derive(seed, info []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, seed, string(info), 32)
	if err != nil {
		return nil, err
	}
	return newGCM(key)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// id recognizes a source: same ID, same plain text.
func (e envelope) id() (id [32]byte) {
	h := sha256.New()
	write := func(p []byte) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write(p)
	}
	write([]byte{byte(e.kind)})
	write(e.source)
	write([]byte(e.keyID))
	for _, name := range e.names() {
		write([]byte(name))
		write(e.annotations[name])
	}
	h.Sum(id[:0])
	return id
}

var errEnvelope = errors.New("it is no KMS v2 object")
