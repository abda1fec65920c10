package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ClusterTrustBundle holds root certificates that everybody in the cluster may read.
var ClusterTrustBundle = api.Define(api.Resource[*certificatesv1.ClusterTrustBundle]{
	Group: group, Version: version, StoredAs: "v1beta1", Plural: "clustertrustbundles", Scope: api.Cluster,
	ValidateName: validateBundleName,
	Validate:     validateBundle,
	Fields: map[string]func(*certificatesv1.ClusterTrustBundle) string{
		"spec.signerName": func(b *certificatesv1.ClusterTrustBundle) string { return b.Spec.SignerName },
	},
	Columns: []api.Column[*certificatesv1.ClusterTrustBundle]{
		{Name: "Name"},
		{Name: "SignerName", Help: certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"],
			Show: func(b *certificatesv1.ClusterTrustBundle) any {
				if b.Spec.SignerName == "" {
					return "<none>"
				}
				return b.Spec.SignerName
			}},
	},
})
