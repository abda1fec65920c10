package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// VolumeAttributesClass names attributes that a volume can be changed to while it is in use.
var VolumeAttributesClass = api.Define(api.Resource[*storagev1.VolumeAttributesClass]{
	Group: group, Version: version, Plural: "volumeattributesclasses", Short: []string{"vac"}, Scope: api.Cluster,
	Validate: validateVolumeAttributesClass,
	Columns: []api.Column[*storagev1.VolumeAttributesClass]{{Name: "DriverName", Help: storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"],
		Show: func(c *storagev1.VolumeAttributesClass) any { return c.DriverName }}},
})
