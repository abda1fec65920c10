package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// CSINode lists the CSI drivers that run on the node of the same name.
var CSINode = api.Define(api.Resource[*storagev1.CSINode]{
	Group: group, Version: version, Plural: "csinodes", Scope: api.Cluster,
	Validate: validateCSINode,
	Columns: []api.Column[*storagev1.CSINode]{{Name: "Drivers", Type: "integer", Help: "Drivers indicates the number of CSI drivers registered on the node",
		Show: func(n *storagev1.CSINode) any { return int64(len(n.Spec.Drivers)) }}},
})
