// Package networking holds the records of networking.k8s.io/v1.
package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{IngressClass, Ingress, IPAddress, NetworkPolicy, ServiceCIDR}

const group, version = networkingv1.GroupName, "v1"
