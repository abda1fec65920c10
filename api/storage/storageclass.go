package storage

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/api"
)

// StorageClass says how volumes are made for claims that name it.
var StorageClass = api.Define(api.Resource[*storagev1.StorageClass]{
	Group: group, Version: version, Plural: "storageclasses", Short: []string{"sc"}, Scope: api.Cluster,
	Default: func(c *storagev1.StorageClass) {
		fill(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
		fill(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
	},
	Validate: validateStorageClass,
	Columns: []api.Column[*storagev1.StorageClass]{
		{Name: "Name", Show: func(c *storagev1.StorageClass) any {
			if isDefault(c.Annotations) {
				return c.Name + " (default)"
			}
			return c.Name
		}},
		{Name: "Provisioner", Help: storagev1.StorageClass{}.SwaggerDoc()["provisioner"],
			Show: func(c *storagev1.StorageClass) any { return c.Provisioner }},
		{Name: "ReclaimPolicy", Help: storagev1.StorageClass{}.SwaggerDoc()["reclaimPolicy"], Show: func(c *storagev1.StorageClass) any {
			if c.ReclaimPolicy == nil {
				return string(corev1.PersistentVolumeReclaimDelete)
			}
			return string(*c.ReclaimPolicy)
		}},
		{Name: "VolumeBindingMode", Help: storagev1.StorageClass{}.SwaggerDoc()["volumeBindingMode"], Show: func(c *storagev1.StorageClass) any {
			if c.VolumeBindingMode == nil {
				return string(storagev1.VolumeBindingImmediate)
			}
			return string(*c.VolumeBindingMode)
		}},
		{Name: "AllowVolumeExpansion", Help: storagev1.StorageClass{}.SwaggerDoc()["allowVolumeExpansion"],
			Show: func(c *storagev1.StorageClass) any { return is(c.AllowVolumeExpansion) }},
		{Name: "Age"},
	},
})

// isDefault tells whether claims that name no class get this one.
func isDefault(annotations map[string]string) bool {
	return annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
		annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}
