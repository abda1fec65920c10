package backup

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/scrypt"
)

// What is sealed: version 1, salt:16, nonce:24, then a JSON object of file names and contents in XChaCha20-Poly1305, with a key
// that scrypt (N 2^16, r 8, p 1: 64 MiB, a fifth of a second) makes of the passphrase.
const (
	sealVersion = 1
	saltSize    = 16
	sealCost    = 1 << 16
	sealLabel   = "lighter backup sealed files v1"
)

// ErrPassphrase: the passphrase is not the one that the files were sealed with, or they were changed.
var ErrPassphrase = errors.New("wrong passphrase")

// Files are contents by name.
type Files map[string][]byte

// Seal encrypts files with a passphrase.
func Seal(files Files, passphrase []byte) ([]byte, error) {
	plain, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 1+saltSize+chacha20poly1305.NonceSizeX)
	head[0] = sealVersion
	rand.Read(head[1:])
	key, err := scrypt.Key(clean(passphrase), head[1:1+saltSize], sealCost, 8, 1, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(head, head[1+saltSize:], plain, []byte(sealLabel)), nil
}

// Unseal gives the files back. Errors: ErrPassphrase.
func Unseal(sealed, passphrase []byte) (Files, error) {
	const head = 1 + saltSize + chacha20poly1305.NonceSizeX
	if len(sealed) < head || sealed[0] != sealVersion {
		return nil, errors.New("the sealed part of the backup is of another version of Lighter")
	}
	key, err := scrypt.Key(clean(passphrase), sealed[1:1+saltSize], sealCost, 8, 1, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, sealed[1+saltSize:head], sealed[head:], []byte(sealLabel))
	if err != nil {
		return nil, ErrPassphrase
	}
	var files Files
	if err := json.Unmarshal(plain, &files); err != nil {
		return nil, fmt.Errorf("sealed files: %w", err)
	}
	return files, nil
}

// clean takes off the line end that editors leave in a passphrase's file.
func clean(passphrase []byte) []byte { return bytes.TrimRight(passphrase, "\r\n") }
