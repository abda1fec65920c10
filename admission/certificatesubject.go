package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/authz"
)

// CertificateSubjectRestriction refuses requests for a client certificate that could do everything.
func CertificateSubjectRestriction() Plugin {
	return Plugin{Name: "CertificateSubjectRestriction", Validate: func(_ context.Context, a *Attributes) error {
		csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Operation != Create || a.Subresource != "" || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		block, _ := pem.Decode(csr.Spec.Request)
		if block == nil {
			return nil // validation has said so
		}
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("failed to parse CSR: %w", err))
		}
		if slices.Contains(request.Subject.Organization, authz.SuperGroup) {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name,
				fmt.Errorf("use of %s signer with %s group is not allowed", csr.Spec.SignerName, authz.SuperGroup))
		}
		return nil
	}}
}
