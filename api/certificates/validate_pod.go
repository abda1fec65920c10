package certificates

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Bounds of a pod's request. Source: the type comments of PodCertificateRequestSpec.
const (
	minPodExpiration      = 3600    // seconds
	maxPodExpiration      = 7862400 // 91 days
	maxKubernetesLifetime = 86400   // of the kubernetes.io signers
	maxUID                = 128
	maxStubRequest        = 10 << 10
)

func validatePodRequest(r, old *certificatesv1.PodCertificateRequest) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old != nil {
		if !equality.Semantic.DeepEqual(r.Spec, old.Spec) {
			return field.ErrorList{field.Invalid(at, api.GoNames(asStored(&r.Spec)), apivalidation.FieldImmutableErrorMsg)}
		}
		return nil
	}
	errs = append(errs, validateSignerName(r.Spec.SignerName, at.Child("signerName"))...)
	for _, n := range []struct {
		name, value string
		uid         types.UID
	}{{"pod", r.Spec.PodName, r.Spec.PodUID}, {"serviceAccount", r.Spec.ServiceAccountName, r.Spec.ServiceAccountUID}, {"node", string(r.Spec.NodeName), r.Spec.NodeUID}} {
		for _, msg := range apivalidation.NameIsDNSSubdomain(n.value, false) {
			errs = append(errs, field.Invalid(at.Child(n.name+"Name"), n.value, msg))
		}
		if n.uid == "" {
			errs = append(errs, field.Invalid(at.Child(n.name+"UID"), n.uid, "must not be empty"))
		} else if len(n.uid) > maxUID {
			errs = append(errs, field.TooLong(at.Child(n.name+"UID"), n.uid, maxUID))
		}
	}
	errs = append(errs, validatePodExpiration(&r.Spec, at.Child("maxExpirationSeconds"))...)
	annotations := at.Child("unverifiedUserAnnotations")
	for _, key := range slices.Sorted(maps.Keys(r.Spec.UnverifiedUserAnnotations)) {
		errs = append(errs, validation.IsDomainPrefixedKey(annotations, strings.ToLower(key))...)
	}
	if err := apivalidation.ValidateAnnotationsSize(r.Spec.UnverifiedUserAnnotations); err != nil {
		errs = append(errs, field.TooLong(annotations, "", apivalidation.TotalAnnotationSizeLimitB))
	}
	if len(r.Spec.StubPKCS10Request) == 0 {
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"))
	} else {
		errs = append(errs, validateStub(r.Spec.StubPKCS10Request, at.Child("stubPKCS10Request"))...)
	}
	return errs
}

// asStored is the specification with the fields of the version that is stored, in which messages show it.
func asStored(s *certificatesv1.PodCertificateRequestSpec) certificatesv1beta1.PodCertificateRequestSpec {
	return certificatesv1beta1.PodCertificateRequestSpec{SignerName: s.SignerName, PodName: s.PodName, PodUID: s.PodUID, ServiceAccountName: s.ServiceAccountName,
		ServiceAccountUID: s.ServiceAccountUID, NodeName: s.NodeName, NodeUID: s.NodeUID, MaxExpirationSeconds: s.MaxExpirationSeconds,
		StubPKCS10Request: s.StubPKCS10Request, UnverifiedUserAnnotations: s.UnverifiedUserAnnotations}
}

func validatePodExpiration(spec *certificatesv1.PodCertificateRequestSpec, at *field.Path) field.ErrorList {
	most := int32(maxPodExpiration)
	if strings.HasPrefix(spec.SignerName, "kubernetes.io/") {
		most = maxKubernetesLifetime
	}
	switch s := spec.MaxExpirationSeconds; {
	case s == nil:
		return field.ErrorList{field.Required(at, "must be set")}
	case *s < minPodExpiration || *s > most:
		return field.ErrorList{field.Invalid(at, *s, fmt.Sprintf("must be in the range [%d, %d]", minPodExpiration, most))}
	}
	return nil
}

// validateStub wants a request that is signed with the key in it, of a kind that all signers may be asked for.
func validateStub(der []byte, at *field.Path) field.ErrorList {
	const omitted = "<value omitted>"
	if len(der) > maxStubRequest {
		return field.ErrorList{field.TooLong(at, "", maxStubRequest)}
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "must be a valid PKCS#10 CSR")}
	}
	if err := request.CheckSignature(); err != nil {
		return field.ErrorList{field.Invalid(at, omitted, "must be signed with the key that it holds")}
	}
	ok := false
	switch key := request.PublicKey.(type) {
	case *rsa.PublicKey:
		ok = key.N.BitLen() == 3072 || key.N.BitLen() == 4096
	case *ecdsa.PublicKey:
		ok = key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	case ed25519.PublicKey:
		ok = true
	}
	if !ok {
		return field.ErrorList{field.Invalid(at, omitted, "must have a key of RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521 or ED25519")}
	}
	return nil
}

// validatePodRequestStatus checks what a signer answers: once, and all of it together.
func validatePodRequestStatus(r, old *certificatesv1.PodCertificateRequest) (errs field.ErrorList) {
	at := field.NewPath("status")
	if old != nil && decided(old) && !equality.Semantic.DeepEqual(r.Status, old.Status) {
		return field.ErrorList{field.Invalid(at, "", "immutable after PodCertificateRequest is issued, denied, or failed")}
	}
	found := 0
	for i, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
			certificatesv1.PodCertificateRequestConditionTypeFailed:
			if found++; found > 1 {
				errs = append(errs, field.Invalid(at.Child("conditions").Index(i).Child("type"), c.Type, "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\""))
			}
			if c.Status != metav1.ConditionTrue {
				errs = append(errs, field.NotSupported(at.Child("conditions").Index(i).Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("conditions", fmt.Sprintf("[%d]", i), "type"), c.Type, []string{ // as upstream writes it
				certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed}))
		}
	}
	errs = append(errs, metav1validation.ValidateConditions(r.Status.Conditions, at.Child("conditions"))...)
	if found == 0 && old != nil && !equality.Semantic.DeepEqual(withoutConditions(r.Status), withoutConditions(old.Status)) {
		return append(errs, field.Invalid(at, field.OmitValueType{}, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`))
	}
	return append(errs, validateIssued(r, at)...)
}

func withoutConditions(s certificatesv1.PodCertificateRequestStatus) certificatesv1.PodCertificateRequestStatus {
	s.Conditions = nil
	return s
}

func has(r *certificatesv1.PodCertificateRequest, types ...string) bool {
	for _, c := range r.Status.Conditions {
		for _, t := range types {
			if c.Type == t {
				return true
			}
		}
	}
	return false
}

func decided(r *certificatesv1.PodCertificateRequest) bool {
	return has(r, certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed)
}

// validateIssued wants a chain exactly when there is one to give, with the times of its leaf.
func validateIssued(r *certificatesv1.PodCertificateRequest, at *field.Path) (errs field.ErrorList) {
	s := r.Status
	times := []struct {
		field string
		time  *metav1.Time
	}{{"notBefore", s.NotBefore}, {"beginRefreshAt", s.BeginRefreshAt}, {"notAfter", s.NotAfter}}
	if !has(r, certificatesv1.PodCertificateRequestConditionTypeIssued) {
		if s.CertificateChain != "" {
			errs = append(errs, field.Invalid(at.Child("certificateChain"), "<value omitted>", "must be empty unless the request is issued"))
		}
		for _, t := range times {
			if t.time != nil {
				errs = append(errs, field.Invalid(at.Child(t.field), t.time, "must be unset unless the request is issued"))
			}
		}
		return errs
	}
	for _, t := range times {
		if t.time == nil {
			errs = append(errs, field.Required(at.Child(t.field), "must be set on an issued request"))
		}
	}
	chain := at.Child("certificateChain")
	if err := checkCertificates([]byte(s.CertificateChain)); err != nil {
		return append(errs, field.Invalid(chain, "<value omitted>", err.Error()))
	}
	if len(errs) > 0 {
		return errs
	}
	block, _ := pem.Decode([]byte(s.CertificateChain))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return append(errs, field.Invalid(chain, "<value omitted>", err.Error()))
	}
	if !s.NotBefore.Time.Equal(leaf.NotBefore) {
		errs = append(errs, field.Invalid(at.Child("notBefore"), s.NotBefore, "must be set to the NotBefore time encoded in the leaf certificate"))
	}
	if !s.NotAfter.Time.Equal(leaf.NotAfter) {
		errs = append(errs, field.Invalid(at.Child("notAfter"), s.NotAfter, "must be set to the NotAfter time encoded in the leaf certificate"))
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore).Seconds()
	if r.Spec.MaxExpirationSeconds != nil && (life > float64(*r.Spec.MaxExpirationSeconds) || life < minPodExpiration) {
		errs = append(errs, field.Invalid(chain, "<value omitted>", fmt.Sprintf("leaf certificate must live from %d to spec.maxExpirationSeconds seconds", minPodExpiration)))
	}
	if s.BeginRefreshAt.Time.Before(leaf.NotBefore) || s.BeginRefreshAt.Time.After(leaf.NotAfter) {
		errs = append(errs, field.Invalid(at.Child("beginRefreshAt"), s.BeginRefreshAt, "must be between notBefore and notAfter"))
	}
	return errs
}
