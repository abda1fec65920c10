// Package certificates holds the records of certificates.k8s.io/v1.
package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{CertificateSigningRequest, ClusterTrustBundle, PodCertificateRequest}

// Further are those of other versions, served when they are asked for (--runtime-config).
var Further = []*api.Info{
	api.Renamed[*certificatesv1beta1.ClusterTrustBundle](ClusterTrustBundle, "v1beta1"),
	api.Renamed[*certificatesv1beta1.PodCertificateRequest](PodCertificateRequest, "v1beta1"),
}

const group, version = certificatesv1.GroupName, "v1"
