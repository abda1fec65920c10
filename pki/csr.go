package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Request is what a certificate signing request asks for, its own signature checked.
type Request struct{ *x509.CertificateRequest }

// ParseRequest reads a PEM file with one certificate signing request (spec.request of the API object).
func ParseRequest(data []byte) (*Request, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request's own signature: %w", err)
	}
	return &Request{r}, nil
}

// NewRequest makes a key and a signing request for it, as PEM files.
func NewRequest(s Spec) (request []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = newKey(); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: s.CommonName, Organization: s.Organizations},
		DNSNames: s.DNSNames, IPAddresses: s.IPs,
	}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a signing request for %q: %w", s.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), key, nil
}

// SignRequest signs what the request asks for: subject and alternative names; of extensions nothing. usages are
// those of the API object's spec ("client auth", "digital signature" ...); life 0 is the authority's Life. It does not judge
// who asks: see CheckKubeletClient and CheckKubeletServing. It returns the certificate as PEM.
func (a *Authority) SignRequest(r *Request, usages []string, life time.Duration) ([]byte, error) {
	usage, extended, err := parseUsages(usages)
	if err != nil {
		return nil, err
	}
	der, err := a.signBy(a.signs.Load(), &x509.Certificate{
		Subject: r.Subject, DNSNames: r.DNSNames, IPAddresses: r.IPAddresses, EmailAddresses: r.EmailAddresses, URIs: r.URIs,
		KeyUsage: usage, ExtKeyUsage: extended,
	}, r.PublicKey, life)
	if err != nil {
		return nil, fmt.Errorf("sign the request of %q: %w", r.Subject.CommonName, err)
	}
	return certificatePEM(der), nil
}

// CheckKubeletClient reports why a request is not one that the signer kubernetes.io/kube-apiserver-client-kubelet
// signs; node is the node it is for. Source: Certificates and CertificateSigningRequests, Kubernetes signers.
func CheckKubeletClient(r *Request, usages []string) (node string, err error) {
	if len(r.DNSNames)+len(r.IPAddresses)+len(r.EmailAddresses)+len(r.URIs) > 0 {
		return "", errors.New("subject alternative names are not allowed")
	}
	return checkKubelet(r, usages, "client auth")
}

// CheckKubeletServing is the same for the signer kubernetes.io/kubelet-serving.
func CheckKubeletServing(r *Request, usages []string) (node string, err error) {
	switch {
	case len(r.DNSNames)+len(r.IPAddresses) == 0:
		return "", errors.New("at least one DNS or IP subject alternative name is required")
	case len(r.EmailAddresses) > 0:
		return "", errors.New("email subject alternative names are not allowed")
	case len(r.URIs) > 0:
		return "", errors.New("URI subject alternative names are not allowed")
	}
	return checkKubelet(r, usages, "server auth")
}

func checkKubelet(r *Request, usages []string, purpose string) (string, error) {
	if !slices.Equal(r.Subject.Organization, []string{NodesGroup}) {
		return "", fmt.Errorf("subject organization is not %s", NodesGroup)
	}
	node, ok := strings.CutPrefix(r.Subject.CommonName, NodePrefix)
	if !ok || node == "" {
		return "", fmt.Errorf("subject common name does not begin with %s", NodePrefix)
	}
	without := slices.DeleteFunc(slices.Clone(usages), func(u string) bool { return u == "key encipherment" })
	if !sameSet(without, []string{"digital signature", purpose}) {
		return "", fmt.Errorf("usages must be digital signature, %s and at most key encipherment", purpose)
	}
	return node, nil
}

var keyUsages = map[string]x509.KeyUsage{
	"signing": x509.KeyUsageDigitalSignature, "digital signature": x509.KeyUsageDigitalSignature,
	"content commitment": x509.KeyUsageContentCommitment, "key encipherment": x509.KeyUsageKeyEncipherment,
	"key agreement": x509.KeyUsageKeyAgreement, "data encipherment": x509.KeyUsageDataEncipherment,
	"cert sign": x509.KeyUsageCertSign, "crl sign": x509.KeyUsageCRLSign,
	"encipher only": x509.KeyUsageEncipherOnly, "decipher only": x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[string]x509.ExtKeyUsage{
	"any": x509.ExtKeyUsageAny, "server auth": x509.ExtKeyUsageServerAuth, "client auth": x509.ExtKeyUsageClientAuth,
	"code signing": x509.ExtKeyUsageCodeSigning, "email protection": x509.ExtKeyUsageEmailProtection,
	"s/mime": x509.ExtKeyUsageEmailProtection, "ipsec end system": x509.ExtKeyUsageIPSECEndSystem,
	"ipsec tunnel": x509.ExtKeyUsageIPSECTunnel, "ipsec user": x509.ExtKeyUsageIPSECUser,
	"timestamping": x509.ExtKeyUsageTimeStamping, "ocsp signing": x509.ExtKeyUsageOCSPSigning,
	"microsoft sgc": x509.ExtKeyUsageMicrosoftServerGatedCrypto, "netscape sgc": x509.ExtKeyUsageNetscapeServerGatedCrypto,
}

// parseUsages translates the words of a CertificateSigningRequest's spec.usages. A certificate that may
// sign others is never given away.
func parseUsages(usages []string) (usage x509.KeyUsage, extended []x509.ExtKeyUsage, err error) {
	for _, u := range usages {
		k, isKey := keyUsages[u]
		x, isExtended := extendedUsages[u]
		switch {
		case u == "cert sign" || u == "crl sign":
			return 0, nil, fmt.Errorf("usage %q is not signed for", u)
		case isKey:
			usage |= k
		case isExtended:
			extended = append(extended, x)
		default:
			return 0, nil, fmt.Errorf("unrecognized usage %q", u)
		}
	}
	slices.Sort(extended)
	return usage, slices.Compact(extended), nil
}
