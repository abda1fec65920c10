package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// CSIStorageCapacity is what a CSI driver could still provide for a class in one part of the cluster.
var CSIStorageCapacity = api.Define(api.Resource[*storagev1.CSIStorageCapacity]{
	Group: group, Version: version, Plural: "csistoragecapacities", Scope: api.Namespaced,
	Validate: validateCSIStorageCapacity,
	Columns: []api.Column[*storagev1.CSIStorageCapacity]{
		{Name: "Name"},
		{Name: "StorageClassName", Help: storagev1.CSIStorageCapacity{}.SwaggerDoc()["storageClassName"],
			Show: func(c *storagev1.CSIStorageCapacity) any { return c.StorageClassName }},
		{Name: "Capacity", Help: storagev1.CSIStorageCapacity{}.SwaggerDoc()["capacity"], Show: func(c *storagev1.CSIStorageCapacity) any {
			if c.Capacity == nil {
				return "<unset>"
			}
			return c.Capacity.String()
		}},
	},
})
