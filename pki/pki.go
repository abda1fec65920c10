// Package pki makes the certificates and keys of a cluster in process: the
// cluster's authority, what it signs for the API server, the nodes and the other
// parts, the key that signs service account tokens, and kubeconfig files. Keys are
// ECDSA P-256. Files are written whole or not at all; those with a secret have mode 0600.
//
// role opens the directory at start and hands certificates to the parts; a
// Rotating renews itself while the process runs.
package pki

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// PKI is a directory with what the control plane needs to prove who it is:
//
//	ca.crt ca.key                 the cluster's authority; in ca.crt those that are trusted beside it follow
//	ca.succession                 while another follows it: see Succession
//	front-proxy-ca.crt .key       the authority of those who may say who asks: see FrontProxyUser
//	sa.key sa.pub                 signs service account tokens; sa.pub has those that signed before, too
//	apiserver.crt apiserver.key   what the API server shows to clients, see Serving
//	admin.crt admin.key           the administrator's, in kubeconfigs, see Admin
//	*-client.crt *-client.key     what the API server shows to kubelets and to other API servers
type PKI struct {
	Dir    string
	CA     *Authority
	Proxy  *Authority
	Tokens *ecdsa.PrivateKey // as of the start; see UseTokens

	mu   sync.Mutex
	keys []TokenKey
}

// Open reads the directory and creates what is missing in it. A certificate without its key,
// or with another's, is an error: such an authority is never replaced.
func Open(dir string, l Lives) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create certificate directory: %w", err)
	}
	ca, err := OpenAuthority(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"), "kubernetes", l)
	if err != nil {
		return nil, err
	}
	proxy, err := OpenAuthority(filepath.Join(dir, "front-proxy-ca.crt"), filepath.Join(dir, "front-proxy-ca.key"), "front-proxy-ca", l)
	if err != nil {
		return nil, err
	}
	p := &PKI{Dir: dir, CA: ca, Proxy: proxy}
	return p, p.openTokens()
}

// openKey reads a private key, or makes one when the file is not there.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		data, err := keyPEM(key)
		if err != nil {
			return nil, err
		}
		return key, WriteFile(path, data, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return key, nil
}
