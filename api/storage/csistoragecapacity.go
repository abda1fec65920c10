package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// CSIStorageCapacity is what a CSI driver could still provide for a class in one part of the cluster.
var CSIStorageCapacity = api.Define(api.Resource[*storagev1.CSIStorageCapacity]{
	Group: group, Version: version, Plural: "csistoragecapacities", Scope: api.Namespaced,
	Validate: validateCSIStorageCapacity,
	Columns: []api.Column[*storagev1.CSIStorageCapacity]{
		{Name: "Name"},
		{Name: "Created At", Type: "date", Help: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], // what a server says without columns of its own
			Show: func(c *storagev1.CSIStorageCapacity) any { return c.CreationTimestamp.UTC().Format(time.RFC3339) }},
	},
})
