package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// CSINode lists the CSI drivers that run on the node of the same name.
var CSINode = api.Define(api.Resource[*storagev1.CSINode]{
	Group: group, Version: version, Plural: "csinodes", Scope: api.Cluster,
	Validate: validateCSINode,
	Prepare: func(n, old *storagev1.CSINode) {
		n.Status = storagev1.CSINodeStatus{}
		if old != nil {
			n.Status = old.Status
		}
	},
	// What a status could say is of a feature that is off, and dropped.
	Status: &api.Status[*storagev1.CSINode]{Alone: true, Copy: func(dst, _ *storagev1.CSINode) { dst.Status = storagev1.CSINodeStatus{} }},
	Columns: []api.Column[*storagev1.CSINode]{{Name: "Drivers", Type: "integer", Help: "Drivers indicates the number of CSI drivers registered on the node",
		Show: func(n *storagev1.CSINode) any { return int64(len(n.Spec.Drivers)) }}},
})
