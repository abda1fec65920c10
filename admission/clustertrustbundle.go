package admission

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// ClusterTrustBundleAttest lets those write the trust bundle of a signer who may attest for it.
func ClusterTrustBundleAttest(judge authz.Authorizer) Plugin {
	return Plugin{Name: "ClusterTrustBundleAttest", Validate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Create && a.Operation != Update {
			return nil
		}
		bundle, ok := a.Info.AsStored(a.Object).(*certificatesv1.ClusterTrustBundle)
		if !ok || bundle.Spec.SignerName == "" {
			return nil
		}
		if !maySigner(ctx, judge, a, "attest", bundle.Spec.SignerName) {
			return refuseSigner(a, "user not permitted to attest for signerName %q", bundle.Spec.SignerName)
		}
		return nil
	}}
}
