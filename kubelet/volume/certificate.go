package volume

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// certificates are the credentials of pods in use and under way. Keys are in memory and in the volumes, which are memory too: after a
// restart of the kubelet a pod gets a new one.
type certificates struct {
	mu   sync.Mutex
	held map[certificateKey]*certificate
}

// certificateKey names a source of a volume of a pod.
type certificateKey struct {
	pod    types.UID
	volume string
	source int
}

// certificate is one source's credential: what it has, and what it has asked for. Calls for one pod do not overlap.
type certificate struct {
	key, chain []byte // PEM; nil: there is none yet
	renew, end time.Time

	asked *asked
	final error     // the signer said no, and nothing was issued before: it is not asked again
	later time.Time // it said no to a renewal: not before then
}

// asked is a request that waits for its answer.
type asked struct {
	name string
	key  []byte // PEM
}

const (
	// again is how long a renewal waits that was refused, and how soon one is looked at whose answer is not there.
	again = 10 * time.Minute
	soon  = 10 * time.Second
)

// certificate puts a pod's credential into files, as the source says; renew is when to look again. A first one that is not there yet is an
// error, and so is one whose life is over; a renewal that takes long, or that the signer refuses, leaves the old one in place.
// Source: core/v1, PodCertificateProjection; KEP-4317.
func (v *Volumes) certificate(ctx context.Context, files map[string]file, pod *corev1.Pod, key certificateKey, p *corev1.PodCertificateProjection, def uint32) (renew time.Time, err error) {
	v.certificates.mu.Lock()
	c := v.certificates.held[key]
	if c == nil {
		c = &certificate{}
		v.certificates.held[key] = c
	}
	v.certificates.mu.Unlock()
	now := v.now()
	if now.After(c.end) {
		c.chain, c.key = nil, nil
	}
	renew = c.renew
	if c.chain == nil || !now.Before(c.renew) && !now.Before(c.later) {
		err = v.ask(ctx, c, pod, p)
		renew = c.renew
		if err != nil && c.chain != nil { // the old one is good
			if renew = v.now().Add(soon); renew.Before(c.later) {
				renew = c.later
			}
			err = nil
		}
	} else if c.later.After(renew) {
		renew = c.later
	}
	if err != nil {
		return time.Time{}, err
	}
	put := func(path string, data []byte) {
		if path == "" {
			return
		}
		files[path] = credential(pod, data, def)
	}
	put(p.CredentialBundlePath, slices.Concat(c.key, c.chain))
	put(p.KeyPath, c.key)
	put(p.CertificateChainPath, c.chain)
	return renew, nil
}

// ask brings a credential a step further: it makes a request, and takes its answer.
func (v *Volumes) ask(ctx context.Context, c *certificate, pod *corev1.Pod, p *corev1.PodCertificateProjection) error {
	if c.final != nil {
		return c.final
	}
	if c.asked == nil {
		key, err := newKey(p.KeyType)
		if err != nil {
			return err
		}
		stub, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return fmt.Errorf("make a signing request: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		name, err := v.source.RequestCertificate(ctx, pod, p, stub)
		if err != nil {
			return fmt.Errorf("request a certificate of signer %s: %w", p.SignerName, err)
		}
		c.asked = &asked{name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
	}
	r, err := v.source.CertificateRequest(ctx, pod, c.asked.name)
	if err != nil {
		return err
	}
	if r == nil {
		c.asked = nil
		return errors.New("the certificate request is gone without an answer; another one follows")
	}
	for _, cond := range r.Status.Conditions {
		switch cond.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			c.key, c.chain = c.asked.key, onlyCertificates(r.Status.CertificateChain)
			c.renew, c.end = r.Status.BeginRefreshAt.Time, r.Status.NotAfter.Time
			c.asked, c.later = nil, time.Time{}
			return nil
		case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed:
			err := fmt.Errorf("certificate request %s of signer %s: %s: %s: %s", c.asked.name, p.SignerName, cond.Type, cond.Reason, cond.Message)
			c.asked = nil
			if c.chain == nil && c.end.IsZero() {
				c.final = err
			}
			c.later = v.now().Add(again)
			return err
		}
	}
	return fmt.Errorf("certificate request %s waits for signer %s", c.asked.name, p.SignerName)
}

// onlyCertificates drops what stands between the blocks, and their headers.
func onlyCertificates(chain string) (out []byte) {
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
	}
}

// newKey makes a key of a type that pods may ask for.
func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "RSA3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("key type %q is not supported", kind)
}

// forget drops the credentials of a pod.
func (c *certificates) forget(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.held, func(k certificateKey, _ *certificate) bool { return string(k.pod) == uid })
}
