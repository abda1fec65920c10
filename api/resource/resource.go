// Package resource holds the records of resource.k8s.io/v1: devices and the claims on them.
package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice}

// Further are those of other versions, served when they are asked for (--runtime-config).
var Further = []*api.Info{
	api.Renamed[*resourcev1beta2.DeviceClass](DeviceClass, "v1beta2"),
	api.Renamed[*resourcev1beta2.DeviceTaintRule](DeviceTaintRule, "v1beta2"),
	api.Renamed[*resourcev1beta2.ResourceClaim](ResourceClaim, "v1beta2"),
	api.Renamed[*resourcev1beta2.ResourceClaimTemplate](ResourceClaimTemplate, "v1beta2"),
	api.Renamed[*resourcev1beta2.ResourceSlice](ResourceSlice, "v1beta2"),
	api.Renamed[*resourcev1beta1.DeviceClass](DeviceClass, "v1beta1"),
	moved[*resourcev1beta1.ResourceClaim](ResourceClaim),
	moved[*resourcev1beta1.ResourceClaimTemplate](ResourceClaimTemplate),
	moved[*resourcev1beta1.ResourceSlice](ResourceSlice),
	api.Renamed[*resourcev1alpha3.DeviceTaintRule](DeviceTaintRule, "v1alpha3"),
	ResourcePoolStatusRequest,
}

const group, version = resourcev1.GroupName, "v1"
