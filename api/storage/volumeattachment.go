package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// VolumeAttachment asks for a volume to be attached to a node.
var VolumeAttachment = api.Define(api.Resource[*storagev1.VolumeAttachment]{
	Group: group, Version: version, Plural: "volumeattachments", Scope: api.Cluster,
	Prepare: func(a, old *storagev1.VolumeAttachment) {
		if old == nil {
			a.Status = storagev1.VolumeAttachmentStatus{}
		}
	},
	Validate: validateVolumeAttachment,
	Status: &api.Status[*storagev1.VolumeAttachment]{
		Alone:    true,
		Copy:     func(dst, src *storagev1.VolumeAttachment) { dst.Status = src.Status },
		Validate: validateVolumeAttachment,
	},
	Columns: []api.Column[*storagev1.VolumeAttachment]{
		{Name: "Attacher", Format: "name", Help: storagev1.VolumeAttachmentSpec{}.SwaggerDoc()["attacher"],
			Show: func(a *storagev1.VolumeAttachment) any { return a.Spec.Attacher }},
		{Name: "PV", Help: storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"], Show: func(a *storagev1.VolumeAttachment) any {
			if a.Spec.Source.PersistentVolumeName == nil {
				return ""
			}
			return *a.Spec.Source.PersistentVolumeName
		}},
		{Name: "Node", Help: storagev1.VolumeAttachmentSpec{}.SwaggerDoc()["nodeName"],
			Show: func(a *storagev1.VolumeAttachment) any { return a.Spec.NodeName }},
		{Name: "Attached", Type: "boolean", Help: storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"],
			Show: func(a *storagev1.VolumeAttachment) any { return a.Status.Attached }},
	},
})
