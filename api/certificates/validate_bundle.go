package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxBundle = 1 << 20 // bytes

// validateBundleName takes a DNS subdomain, with the signer's name and colons before it or not.
func validateBundleName(name string, prefix bool) []string {
	last := name[strings.LastIndexByte(name, ':')+1:]
	return apivalidation.NameIsDNSSubdomain(last, prefix)
}

func validateBundle(b, old *certificatesv1.ClusterTrustBundle) (errs field.ErrorList) {
	at, name := field.NewPath("spec"), field.NewPath("metadata", "name")
	if signer := b.Spec.SignerName; signer == "" {
		if strings.Contains(b.Name, ":") {
			errs = append(errs, field.Invalid(name, b.Name, `ClusterTrustBundle without signer name must not have ":" in its name`))
		}
	} else {
		if want := strings.ReplaceAll(signer, "/", ":") + ":"; !strings.HasPrefix(b.Name, want) {
			errs = append(errs, field.Invalid(name, b.Name, fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, want)))
		}
		errs = append(errs, validateSignerName(signer, at.Child("signerName"))...)
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(b.Spec.SignerName, old.Spec.SignerName, at.Child("signerName"))...)
		if b.Spec.TrustBundle == old.Spec.TrustBundle {
			return errs
		}
	}
	if len(b.Spec.TrustBundle) > maxBundle {
		return append(errs, field.TooLong(at.Child("trustBundle"), b.Spec.TrustBundle, maxBundle))
	}
	if err := checkAnchors(b.Spec.TrustBundle); err != nil {
		errs = append(errs, field.Invalid(at.Child("trustBundle"), "<value omitted>", err.Error()))
	}
	return errs
}

// checkAnchors wants nothing but certificates of authorities, each once. Source: type comment of trustBundle.
func checkAnchors(bundle string) error {
	var seen [][]byte
	for rest := []byte(bundle); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		n := len(seen)
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("entry %d has bad block type: %v", n, block.Type)
		}
		if len(block.Headers) > 0 {
			return fmt.Errorf("entry %d has PEM block headers", n)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("entry %d does not parse as X.509", n)
		}
		if !c.IsCA {
			return fmt.Errorf("entry %d does not have the CA bit set", n)
		}
		for i, other := range seen {
			if bytes.Equal(other, block.Bytes) {
				return fmt.Errorf("duplicate trust anchor (indices %d and %d)", i, n)
			}
		}
		seen = append(seen, block.Bytes)
	}
	if len(seen) == 0 {
		return errors.New("at least one trust anchor must be provided")
	}
	return nil
}
