package admission

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// CertificateApproval lets those approve or deny a signing request who may approve for its signer.
func CertificateApproval(judge authz.Authorizer) Plugin {
	return Plugin{Name: "CertificateApproval", Validate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Update || a.Resource() != "certificatesigningrequests.certificates.k8s.io/approval" {
			return nil
		}
		if signer := a.Old.(*certificatesv1.CertificateSigningRequest).Spec.SignerName; !maySigner(ctx, judge, a, "approve", signer) {
			return refuseSigner(a, "user not permitted to approve requests with signerName %q", signer)
		}
		return nil
	}}
}
