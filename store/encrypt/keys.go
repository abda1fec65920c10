package encrypt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

// identity is the provider that stores values as they are.
const identity = "identity"

// provider writes and reads values of one form. Safe for concurrent use.
type provider interface {
	prefix() string // of what it writes, such as "k8s:enc:aesgcm:v1:key1:"
	seal(ctx context.Context, key string, plain []byte) ([]byte, error)
	// open reads what follows the prefix; stale: it would be written otherwise now.
	open(ctx context.Context, key string, body []byte) (plain []byte, stale bool, err error)
}

var (
	errTampered = errors.New("it was changed, moved from another key, or encrypted with another secret")
	errShort    = errors.New("it is too short")
)

// newSecret makes a provider of a secret; kind is aesgcm, aescbc or secretbox.
func newSecret(kind, name string, secret []byte) (provider, error) {
	begin := sealed + kind + ":v1:" + name + ":"
	if kind == "secretbox" {
		if len(secret) != 32 {
			return nil, fmt.Errorf("its secret has %d bytes: want 32", len(secret))
		}
		return box{begin, [32]byte(secret)}, nil
	}
	if kind == "aescbc" && len(secret) != 32 {
		return nil, fmt.Errorf("its secret has %d bytes: want 32", len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("its secret has %d bytes: want 16, 24 or 32", len(secret))
	}
	if kind == "aescbc" {
		return cbc{begin, block}, nil
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcm{begin, aead}, nil
}

// Fingerprint recognizes a secret without giving it away: 16 hexadecimal digits.
func Fingerprint(secret []byte) string {
	sum := sha256.Sum256(append([]byte("lighter encryption key\x00"), secret...))
	return hex.EncodeToString(sum[:8])
}

type plain struct{}

func (plain) prefix() string                                                 { return "" }
func (plain) seal(_ context.Context, _ string, value []byte) ([]byte, error) { return value, nil }
func (plain) open(_ context.Context, _ string, body []byte) ([]byte, bool, error) {
	return body, false, nil
}

// gcm is AES-GCM: nonce, then the sealed value. The store's key is authenticated with it.
type gcm struct {
	begin string
	aead  cipher.AEAD
}

func (g gcm) prefix() string { return g.begin }

func (g gcm) seal(_ context.Context, key string, plain []byte) ([]byte, error) {
	return sealGCM(g.aead, g.begin, key, plain), nil
}

func (g gcm) open(_ context.Context, key string, body []byte) ([]byte, bool, error) {
	value, err := openGCM(g.aead, key, body)
	return value, false, err
}

// sealGCM appends a random nonce and the sealed value to begin.
func sealGCM(aead cipher.AEAD, begin, key string, plain []byte) []byte {
	out := make([]byte, len(begin)+aead.NonceSize(), len(begin)+aead.NonceSize()+len(plain)+aead.Overhead())
	nonce := out[copy(out, begin):]
	rand.Read(nonce) // it never fails: see crypto/rand
	return aead.Seal(out, nonce, plain, []byte(key))
}

func openGCM(aead cipher.AEAD, key string, body []byte) ([]byte, error) {
	n := aead.NonceSize()
	if len(body) < n+aead.Overhead() {
		return nil, errShort
	}
	value, err := aead.Open(nil, body[:n], body[n:], []byte(key))
	if err != nil {
		return nil, errTampered
	}
	return value, nil
}

// cbc is AES-CBC with PKCS#7 padding: IV, then the blocks. Nothing is authenticated; it is here for what others wrote.
type cbc struct {
	begin string
	block cipher.Block
}

func (c cbc) prefix() string { return c.begin }

func (c cbc) seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	out := make([]byte, len(c.begin)+aes.BlockSize+len(plain)+pad)
	iv := out[copy(out, c.begin):][:aes.BlockSize]
	rand.Read(iv)
	blocks := out[len(c.begin)+aes.BlockSize:]
	for i := copy(blocks, plain); i < len(blocks); i++ {
		blocks[i] = byte(pad)
	}
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(blocks, blocks)
	return out, nil
}

func (c cbc) open(_ context.Context, _ string, body []byte) ([]byte, bool, error) {
	if len(body) < 2*aes.BlockSize || len(body)%aes.BlockSize != 0 {
		return nil, false, errShort
	}
	out := make([]byte, len(body)-aes.BlockSize)
	cipher.NewCBCDecrypter(c.block, body[:aes.BlockSize]).CryptBlocks(out, body[aes.BlockSize:])
	pad := int(out[len(out)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, false, errTampered
	}
	for _, b := range out[len(out)-pad:] {
		if int(b) != pad {
			return nil, false, errTampered
		}
	}
	return out[:len(out)-pad], false, nil
}

// box is NaCl's secretbox: nonce, then the sealed value. The store's key is not authenticated.
type box struct {
	begin  string
	secret [32]byte
}

func (b box) prefix() string { return b.begin }

func (b box) seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	out := make([]byte, len(b.begin)+24, len(b.begin)+24+len(plain)+secretbox.Overhead)
	copy(out, b.begin)
	nonce := (*[24]byte)(out[len(b.begin):])
	rand.Read(nonce[:])
	return secretbox.Seal(out, plain, nonce, &b.secret), nil
}

func (b box) open(_ context.Context, _ string, body []byte) ([]byte, bool, error) {
	if len(body) < 24+secretbox.Overhead {
		return nil, false, errShort
	}
	out, ok := secretbox.Open(nil, body[24:], (*[24]byte)(body), &b.secret)
	if !ok {
		return nil, false, errTampered
	}
	return out, false, nil
}
