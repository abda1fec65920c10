// Package storage holds the records of storage.k8s.io/v1.
package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass}

const group, version = storagev1.GroupName, "v1"

// fill sets *p to value where the user gave none.
func fill[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// is reads an optional flag.
func is(p *bool) bool { return p != nil && *p }
