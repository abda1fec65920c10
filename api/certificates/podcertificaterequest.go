package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
)

// defaultMaxExpiration is a day. Source: type comment of maxExpirationSeconds.
const defaultMaxExpiration = 86400

// PodCertificateRequest asks a signer, for a pod, for a certificate; kubelets make it.
var PodCertificateRequest = api.Define(api.Resource[*certificatesv1.PodCertificateRequest]{
	Group: group, Version: version, StoredAs: "v1beta1", Plural: "podcertificaterequests", Scope: api.Namespaced,
	Default: func(r *certificatesv1.PodCertificateRequest) {
		if r.Spec.MaxExpirationSeconds == nil {
			seconds := int32(defaultMaxExpiration)
			r.Spec.MaxExpirationSeconds = &seconds
		}
	},
	Prepare: func(r, old *certificatesv1.PodCertificateRequest) {
		if old == nil {
			r.Status = certificatesv1.PodCertificateRequestStatus{}
		}
	},
	Validate: validatePodRequest,
	Status: &api.Status[*certificatesv1.PodCertificateRequest]{
		Alone:    true,
		Copy:     func(dst, src *certificatesv1.PodCertificateRequest) { dst.Status = src.Status },
		Validate: validatePodRequestStatus,
	},
	Fields: map[string]func(*certificatesv1.PodCertificateRequest) string{
		"spec.signerName": func(r *certificatesv1.PodCertificateRequest) string { return r.Spec.SignerName },
		"spec.podName":    func(r *certificatesv1.PodCertificateRequest) string { return r.Spec.PodName },
		"spec.nodeName":   func(r *certificatesv1.PodCertificateRequest) string { return string(r.Spec.NodeName) },
	},
	Columns: []api.Column[*certificatesv1.PodCertificateRequest]{
		{Name: "Name"},
		{Name: "PodName", Help: certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()["podName"],
			Show: func(r *certificatesv1.PodCertificateRequest) any { return r.Spec.PodName }},
		{Name: "ServiceAccountName", Help: certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()["serviceAccountName"],
			Show: func(r *certificatesv1.PodCertificateRequest) any { return r.Spec.ServiceAccountName }},
		{Name: "NodeName", Help: certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()["nodeName"],
			Show: func(r *certificatesv1.PodCertificateRequest) any { return string(r.Spec.NodeName) }},
		{Name: "SignerName", Help: certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()["signerName"],
			Show: func(r *certificatesv1.PodCertificateRequest) any { return r.Spec.SignerName }},
		{Name: "State", Help: "Is the request Pending, Issued, Denied, or Failed?", Show: func(r *certificatesv1.PodCertificateRequest) any {
			for _, c := range r.Status.Conditions {
				switch c.Type {
				case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed,
					certificatesv1.PodCertificateRequestConditionTypeIssued:
					return c.Type
				}
			}
			return "Pending"
		}},
		{Name: "UnverifiedUserAnnotations", Help: certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()["unverifiedUserAnnotations"],
			Show: func(r *certificatesv1.PodCertificateRequest) any {
				return labels.FormatLabels(r.Spec.UnverifiedUserAnnotations)
			}},
	},
})
