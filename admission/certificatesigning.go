package admission

import (
	"bytes"
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/lighter-k8s/lighter/authz"
)

// CertificateSigning lets those write a certificate into a request, or say that it failed, who may sign for its signer.
func CertificateSigning(judge authz.Authorizer) Plugin {
	return Plugin{Name: "CertificateSigning", Validate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Update || a.Subresource != "status" {
			return nil
		}
		var signer string
		switch old := a.Old.(type) {
		case *certificatesv1.CertificateSigningRequest:
			csr := a.Object.(*certificatesv1.CertificateSigningRequest)
			if bytes.Equal(csr.Status.Certificate, old.Status.Certificate) && equality.Semantic.DeepEqual(csr.Status.Conditions, old.Status.Conditions) {
				return nil
			}
			signer = old.Spec.SignerName
		case *certificatesv1.PodCertificateRequest:
			signer = old.Spec.SignerName
		default:
			return nil
		}
		if !maySigner(ctx, judge, a, "sign", signer) {
			return refuseSigner(a, "user not permitted to sign requests with signerName %q", signer)
		}
		return nil
	}}
}
