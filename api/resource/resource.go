// Package resource holds the records of resource.k8s.io/v1: devices and the claims on them.
package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice}

const group, version = resourcev1.GroupName, "v1"
