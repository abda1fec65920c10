package storage

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/lighter-k8s/lighter/api"
)

// CSIDriver says what the cluster must do for a CSI driver; its name is the driver's.
var CSIDriver = api.Define(api.Resource[*storagev1.CSIDriver]{
	Group: group, Version: version, Plural: "csidrivers", Scope: api.Cluster,
	Default: func(d *storagev1.CSIDriver) {
		fill(&d.Spec.AttachRequired, true)
		fill(&d.Spec.PodInfoOnMount, false)
		fill(&d.Spec.StorageCapacity, false)
		fill(&d.Spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
		fill(&d.Spec.RequiresRepublish, false)
		fill(&d.Spec.SELinuxMount, false)
		fill(&d.Spec.PreventPodSchedulingIfMissing, false)
		if len(d.Spec.VolumeLifecycleModes) == 0 {
			d.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
		}
	},
	GenerationOf: func(d *storagev1.CSIDriver) any { return &d.Spec }, LateGeneration: true,
	Validate: validateCSIDriver,
	Warnings: func(d, old *storagev1.CSIDriver) (list []string) {
		if (old == nil || !equality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests)) && len(d.Spec.TokenRequests) > 0 && d.Spec.ServiceAccountTokenInSecrets == nil {
			list = append(list, "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes")
		}
		return list
	},
	Columns: []api.Column[*storagev1.CSIDriver]{
		{Name: "AttachRequired", Type: "boolean", Help: storagev1.CSIDriverSpec{}.SwaggerDoc()["attachRequired"], Show: func(d *storagev1.CSIDriver) any { return d.Spec.AttachRequired == nil || *d.Spec.AttachRequired }},
		{Name: "PodInfoOnMount", Type: "boolean", Help: storagev1.CSIDriverSpec{}.SwaggerDoc()["podInfoOnMount"], Show: func(d *storagev1.CSIDriver) any { return is(d.Spec.PodInfoOnMount) }},
		{Name: "StorageCapacity", Type: "boolean", Help: storagev1.CSIDriverSpec{}.SwaggerDoc()["storageCapacity"], Show: func(d *storagev1.CSIDriver) any { return is(d.Spec.StorageCapacity) }},
		{Name: "TokenRequests", Help: storagev1.CSIDriverSpec{}.SwaggerDoc()["tokenRequests"], Show: func(d *storagev1.CSIDriver) any {
			var audiences []string
			for _, r := range d.Spec.TokenRequests {
				audiences = append(audiences, r.Audience)
			}
			if len(audiences) == 0 {
				return "<unset>"
			}
			return strings.Join(audiences, ",")
		}},
		{Name: "RequiresRepublish", Type: "boolean", Help: storagev1.CSIDriverSpec{}.SwaggerDoc()["requiresRepublish"], Show: func(d *storagev1.CSIDriver) any { return is(d.Spec.RequiresRepublish) }},
		{Name: "Modes", Help: storagev1.CSIDriverSpec{}.SwaggerDoc()["volumeLifecycleModes"], Show: func(d *storagev1.CSIDriver) any {
			var modes []string
			for _, m := range d.Spec.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			if len(modes) == 0 {
				return "<none>"
			}
			return strings.Join(modes, ",")
		}},
	},
})
