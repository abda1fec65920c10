package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podKeyTypes are the keys that a pod may have a certificate for. Source: type comment of PodCertificateProjection.keyType.
var podKeyTypes = []string{"ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"}

// validatePodCertificate checks what becomes a PodCertificateRequest. Source: the type comments of PodCertificateProjection.
func validatePodCertificate(p *corev1.PodCertificateProjection, at *field.Path) (errs field.ErrorList) {
	domain, _, named := strings.Cut(p.SignerName, "/")
	switch {
	case p.SignerName == "":
		errs = append(errs, field.Required(at.Child("signerName"), ""))
	case !named || len(validation.IsFullyQualifiedDomainName(at, domain)) > 0:
		errs = append(errs, field.Invalid(at.Child("signerName"), p.SignerName, "must be a fully qualified domain and path of the form 'example.com/signer-name'"))
	}
	switch {
	case p.KeyType == "":
		errs = append(errs, field.Required(at.Child("keyType"), ""))
	case !slices.Contains(podKeyTypes, p.KeyType):
		errs = append(errs, field.NotSupported(at.Child("keyType"), p.KeyType, podKeyTypes))
	}
	most := int32(91 * 24 * 60 * 60)
	if domain == "kubernetes.io" {
		most = 24 * 60 * 60
	}
	if s := p.MaxExpirationSeconds; s != nil && *s < 60*60 {
		errs = append(errs, field.Invalid(at.Child("maxExpirationSeconds"), *s, "if provided, maxExpirationSeconds must be >= 3600"))
	} else if s != nil && *s > most {
		errs = append(errs, field.Invalid(at.Child("maxExpirationSeconds"), *s, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most)))
	}
	if p.CredentialBundlePath == "" && p.KeyPath == "" && p.CertificateChainPath == "" {
		errs = append(errs, field.Required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	annotations := at.Child("userAnnotations")
	errs = append(errs, apivalidation.ValidateAnnotations(p.UserAnnotations, annotations)...)
	for key := range p.UserAnnotations {
		if !strings.Contains(key, "/") {
			errs = append(errs, field.Invalid(annotations, key, "must be a domain-prefixed key (such as \"acme.io/foo\")"))
		}
	}
	return errs
}
