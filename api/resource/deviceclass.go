package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/lighter-k8s/lighter/api"
)

// DeviceClass names a kind of device: selectors and settings that claims can refer to.
var DeviceClass = api.Define(api.Resource[*resourcev1.DeviceClass]{
	Group: group, Version: version, Plural: "deviceclasses", Scope: api.Cluster,
	Validate:     validateDeviceClass,
	GenerationOf: func(c *resourcev1.DeviceClass) any { return &c.Spec },
})
