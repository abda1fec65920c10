// Package certificates holds the records of certificates.k8s.io/v1.
package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{CertificateSigningRequest, ClusterTrustBundle, PodCertificateRequest}

const group, version = certificatesv1.GroupName, "v1"
