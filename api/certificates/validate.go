package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// minExpiration is the shortest life, in seconds, that may be asked for. Source: type comment of expirationSeconds.
const minExpiration = 600

// maxRequest bounds the bytes of a request, which may take a hundred times as much to parse. Upstream has no such bound; requests of a thousand names
// have 50 KB.
const maxRequest = 256 << 10

var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth,
	certificatesv1.UsageCodeSigning, certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
	certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
}

// ParseRequest reads the PKCS #10 request of a CertificateSigningRequest.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// validateRequest: on an update of the main resource the spec and status are the old ones.
func validateRequest(r, old *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	if old != nil {
		return nil
	}
	at := field.NewPath("spec")
	if len(r.Spec.Request) > maxRequest {
		errs = append(errs, field.TooLong(at.Child("request"), "", maxRequest))
	} else if _, err := ParseRequest(r.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(at.Child("request"), r.Spec.Request, err.Error()))
	}
	if len(r.Spec.Usages) == 0 {
		errs = append(errs, field.Required(at.Child("usages"), ""))
	}
	twice := api.Again[certificatesv1.KeyUsage]()
	for i, u := range r.Spec.Usages {
		if api.Enough(errs) {
			break
		}
		if !slices.Contains(usages, u) {
			errs = append(errs, field.NotSupported(at.Child("usages").Index(i), u, usages))
		}
		if twice(u) {
			errs = append(errs, field.Duplicate(at.Child("usages").Index(i), u))
		}
	}
	if r.Spec.SignerName == "kubernetes.io/legacy-unknown" {
		errs = append(errs, field.Invalid(at.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, validateSignerName(r.Spec.SignerName, at.Child("signerName"))...)
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < minExpiration {
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

// validateSignerName wants a domain of two labels or more, a slash and a path of labels with dots between.
func validateSignerName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return append(errs, field.Required(at, ""))
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		return append(errs, field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"))
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(at, domain, validation.DNS1123SubdomainMaxLength))
	}
	labels := strings.Split(domain, ".")
	for _, l := range labels {
		for _, msg := range validation.IsDNS1123Label(l) {
			errs = append(errs, field.Invalid(at, domain, fmt.Sprintf("validating label %q: %s", l, msg)))
		}
	}
	if len(labels) < 2 {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	// Room for a name and a namespace with a dot between.
	if most := validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 1; len(path) > most {
		errs = append(errs, field.TooLong(at, path, most))
	}
	for _, l := range strings.Split(path, ".") {
		for _, msg := range validation.IsDNS1123Subdomain(l) {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("validating label %q: %s", l, msg)))
		}
	}
	return errs
}

// validateRequestStatus checks what a signer writes through the status subresource.
func validateRequestStatus(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := validateConditions(r.Status.Conditions)
	if old == nil {
		return errs
	}
	errs = append(errs, validateConditionChanges(r.Status.Conditions, old.Status.Conditions, false)...)
	at := field.NewPath("status", "certificate")
	if len(old.Status.Certificate) > 0 && !slices.Equal(r.Status.Certificate, old.Status.Certificate) {
		errs = append(errs, field.Forbidden(at, "updates may not modify existing certificate content"))
	} else if len(r.Status.Certificate) > 0 && len(old.Status.Certificate) == 0 {
		if err := checkCertificates(r.Status.Certificate); err != nil {
			errs = append(errs, field.Invalid(at, "<certificate data>", err.Error()))
		}
	}
	return errs
}

// ValidateApproval checks an update of r through the approval subresource, after CopyStatus.
func ValidateApproval(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := validateConditions(r.Status.Conditions)
	errs = append(errs, validateConditionChanges(r.Status.Conditions, old.Status.Conditions, true)...)
	if !slices.Equal(r.Status.Certificate, old.Status.Certificate) {
		errs = append(errs, field.Forbidden(field.NewPath("status", "certificate"), "updates may not set certificate content"))
	}
	return errs
}

func validateConditions(list []certificatesv1.CertificateSigningRequestCondition) (errs field.ErrorList) {
	path := field.NewPath("status", "conditions")
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range list {
		at := path.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		decision := c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed
		switch {
		case c.Status == "":
			errs = append(errs, field.Required(at.Child("status"), ""))
		case decision && c.Status != corev1.ConditionTrue:
			errs = append(errs, field.NotSupported(at.Child("status"), c.Status, []corev1.ConditionStatus{corev1.ConditionTrue}))
		case c.Status != corev1.ConditionTrue && c.Status != corev1.ConditionFalse && c.Status != corev1.ConditionUnknown:
			errs = append(errs, field.NotSupported(at.Child("status"), c.Status,
				[]corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}))
		}
		if seen[c.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), c.Type))
		}
		seen[c.Type] = true
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		errs = append(errs, field.Invalid(path, `{conditions[{"type": "Approved"}], conditions[{"type": "Denied"}]}`,
			"must specify at most one of: `conditions[{\"type\": \"Approved\"}]`, `conditions[{\"type\": \"Denied\"}]`"))
	}
	return errs
}

// validateConditionChanges: a decision stays as it was made, and only an approver makes one.
func validateConditionChanges(now, old []certificatesv1.CertificateSigningRequestCondition, approver bool) (errs field.ErrorList) {
	at := field.NewPath("status", "conditions")
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		of := func(list []certificatesv1.CertificateSigningRequestCondition) (same []certificatesv1.CertificateSigningRequestCondition) {
			for _, c := range list {
				if c.Type == kind {
					same = append(same, c)
				}
			}
			return same
		}
		was, is := of(old), of(now)
		switch {
		case len(is) < len(was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not remove a condition of type %q", kind)))
		case kind == certificatesv1.CertificateFailed || approver:
			// may be added and changed
		case len(is) > len(was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", kind)))
		case !equality.Semantic.DeepEqual(is, was):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not modify a condition of type %q", kind)))
		}
	}
	return errs
}

// checkCertificates wants PEM certificates, at least one, without headers. Source: type comment of status.certificate.
func checkCertificates(data []byte) error {
	found := false
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return fmt.Errorf("no PEM block headers are permitted")
		}
		if _, err := x509.ParseCertificates(block.Bytes); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
