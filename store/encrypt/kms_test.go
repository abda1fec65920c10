package encrypt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
)

// plugin is a KMS v2 plugin that encrypts by exclusive or with its key's number.
type plugin struct {
	kmsapi.UnimplementedKeyManagementServiceServer
	mu                sync.Mutex
	key               byte
	healthz           string
	encrypts, decrypt int
}

func (p *plugin) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &kmsapi.StatusResponse{Version: "v2", Healthz: p.healthz, KeyId: fmt.Sprint("key-", p.key)}, nil
}

func (p *plugin) Encrypt(_ context.Context, r *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.encrypts++
	return &kmsapi.EncryptResponse{Ciphertext: xor(r.Plaintext, p.key), KeyId: fmt.Sprint("key-", p.key), Annotations: map[string][]byte{"number.example.com": {p.key}}}, nil
}

func (p *plugin) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decrypt++
	if n := r.Annotations["number.example.com"]; len(n) != 1 || r.KeyId != fmt.Sprint("key-", n[0]) {
		return nil, fmt.Errorf("annotations %v of %s", r.Annotations, r.KeyId)
	}
	return &kmsapi.DecryptResponse{Plaintext: xor(r.Ciphertext, r.Annotations["number.example.com"][0])}, nil
}

func xor(p []byte, key byte) []byte {
	out := make([]byte, len(p))
	for i := range p {
		out[i] = p[i] ^ key
	}
	return out
}

// serve runs the plugin on a socket until it is stopped.
func (p *plugin) serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(s, p)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	stop = func() { s.Stop(); <-done }
	t.Cleanup(s.Stop)
	return stop
}

func kmsKeys(t *testing.T, path string) *Keys {
	t.Helper()
	k, err := Parse([]byte(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: "unix://`+path+`", timeout: 1s}
  - identity: {}
`), map[string]string{"secrets": "secrets"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestKMS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.sock")
	keys := kmsKeys(t, path)
	engine := memory.New()
	s := New(engine, keys)
	put := func(s store.Store, key string) error {
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte("canary"), Expect: store.Any}}})
		return err
	}
	get := func(s store.Store, key string) string {
		t.Helper()
		e, err := s.Get(t.Context(), key, 0)
		if err != nil {
			return err.Error()
		}
		return string(e.Value)
	}
	if err := keys.Ready(t.Context()); err == nil {
		t.Error("ready without the plugin")
	}
	if err := put(s, "/registry/secrets/a/a"); err == nil {
		t.Error("written without the plugin")
	}
	p := &plugin{key: 1, healthz: "sealed"}
	stop := p.serve(t, path)
	if err := keys.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("a plugin that is not well: %v", err)
	}
	p.mu.Lock()
	p.healthz = "ok"
	p.mu.Unlock()
	if err := keys.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := put(s, fmt.Sprintf("/registry/secrets/a/%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := engine.Get(t.Context(), "/registry/secrets/a/07", 0)
	if err != nil || !strings.HasPrefix(string(e.Value), "k8s:enc:kms:v2:vault:") || strings.Contains(string(e.Value), "canary") {
		t.Errorf("stored as %q, %v", e.Value, err)
	}
	if p.encrypts != 1 || p.decrypt != 0 {
		t.Errorf("%d encrypts and %d decrypts for 50 values", p.encrypts, p.decrypt)
	}
	// Another server asks the plugin once.
	other := New(engine, kmsKeys(t, path))
	for i := range 50 {
		if got := get(other, fmt.Sprintf("/registry/secrets/a/%02d", i)); got != "canary" {
			t.Fatalf("another server reads %q", got)
		}
	}
	if p.decrypt != 1 {
		t.Errorf("%d decrypts", p.decrypt)
	}
	// A value of another key's place, and a changed one.
	if _, err := engine.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/registry/secrets/a/moved", Value: e.Value, Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "/registry/secrets/a/moved", 0); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("moved: %v", err)
	}
	if _, err := engine.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/registry/secrets/a/moved", Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
	// The plugin's key changes: what is written from then on has the new one, the rest is stale until it is rewritten.
	p.mu.Lock()
	p.key = 2
	p.mu.Unlock()
	if err := keys.kms[0].refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Count(t.Context()); err != nil || c.Stale != 50 || len(c.Unreadable) > 0 {
		t.Errorf("after a change of key: %+v, %v", c, err)
	}
	if n, err := s.Rewrite(t.Context()); n != 50 || err != nil {
		t.Errorf("rewritten: %d, %v", n, err)
	}
	if c, err := s.Count(t.Context()); err != nil || c.Stale != 0 {
		t.Errorf("after the rewrite: %+v, %v", c, err)
	}
	// Without the plugin: what this process knows goes on, a new one is told why not.
	stop()
	if got := get(s, "/registry/secrets/a/07"); got != "canary" {
		t.Errorf("known keys: %q", got)
	}
	if err := put(s, "/registry/secrets/a/new"); err != nil {
		t.Errorf("write with a key that was confirmed just now: %v", err)
	}
	fresh := New(engine, kmsKeys(t, path))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := fresh.Keys().Open(ended, "/registry/secrets/a/07", []byte(value(t, engine, "/registry/secrets/a/07"))); !errors.Is(err, store.ErrUnreadable) || !strings.Contains(err.Error(), "vault") {
		t.Errorf("unknown keys: %v", err)
	}
}

func value(t *testing.T, s store.Store, key string) string {
	t.Helper()
	e, err := s.Get(t.Context(), key, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value)
}

// A value whose source is a key, not a seed, as servers before Kubernetes 1.28 wrote it, is read and stale.
func TestKMSOldSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.sock")
	p := &plugin{key: 3, healthz: "ok"}
	p.serve(t, path)
	keys := kmsKeys(t, path)
	secret := []byte("0123456789abcdef0123456789abcdef")
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	const key = "/registry/secrets/a/a"
	e := envelope{data: sealGCM(aead, "", key, []byte("canary")), keyID: "key-3", source: xor(secret, 3), annotations: map[string][]byte{"number.example.com": {3}}}
	got, stale, err := keys.Open(t.Context(), key, e.append([]byte("k8s:enc:kms:v2:vault:")))
	if err != nil || string(got) != "canary" || !stale {
		t.Errorf("%q, %v, %v", got, stale, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(envelope{data: []byte("d"), keyID: "k", source: []byte("s"), kind: 1, annotations: map[string][]byte{"a": []byte("b")}}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil {
			return
		}
		again, err := parseEnvelope(e.append(nil))
		if err != nil || again.id() != e.id() || string(again.data) != string(e.data) {
			t.Errorf("%+v becomes %+v, %v", e, again, err)
		}
	})
}
