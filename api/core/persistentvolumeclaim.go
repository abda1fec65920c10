package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// PersistentVolumeClaim asks for a volume.
var PersistentVolumeClaim = api.Define(api.Resource[*corev1.PersistentVolumeClaim]{
	Version: "v1", Plural: "persistentvolumeclaims", Short: []string{"pvc"}, Scope: api.Namespaced, Incomplete: true,
	Default: DefaultClaim,
	Prepare: func(c, old *corev1.PersistentVolumeClaim) {
		if old != nil {
			c.Status = old.Status
		} else {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		}
		// dataSource and dataSourceRef are one thing in two fields.
		s := &c.Spec
		if r := s.DataSourceRef; old == nil && r != nil && r.Namespace != nil && *r.Namespace != "" {
			s.DataSourceRef = nil // CrossNamespaceVolumeDataSource is off
		}
		switch {
		case s.DataSource != nil && s.DataSourceRef == nil:
			s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: s.DataSource.APIGroup, Kind: s.DataSource.Kind, Name: s.DataSource.Name}
		case s.DataSourceRef != nil && s.DataSource == nil && (s.DataSourceRef.Namespace == nil || *s.DataSourceRef.Namespace == ""):
			s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: s.DataSourceRef.APIGroup, Kind: s.DataSourceRef.Kind, Name: s.DataSourceRef.Name}
		}
	},
	Validate: validateClaim,
	Warnings: func(c, _ *corev1.PersistentVolumeClaim) (list []string) {
		if size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]; ok && fractional(size) {
			list = append(list, fmt.Sprintf("spec.resources.requests[%s]: fractional byte value %q is invalid, must be an integer", corev1.ResourceStorage, size.String()))
		}
		return list
	},
	Status: &api.Status[*corev1.PersistentVolumeClaim]{
		Copy: func(dst, src *corev1.PersistentVolumeClaim) {
			dst.Status = src.Status
			dst.Status.HealthStatus = nil // of a feature that is off
		},
		Validate: validateClaimStatus,
	},
	Columns: []api.Column[*corev1.PersistentVolumeClaim]{
		{Name: "Status", Help: corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()["phase"], Show: func(c *corev1.PersistentVolumeClaim) any {
			return phaseOrTerminating(c, string(c.Status.Phase))
		}},
		{Name: "Volume", Help: corev1.PersistentVolumeClaimSpec{}.SwaggerDoc()["volumeName"], Show: func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName }},
		{Name: "Capacity", Help: corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()["capacity"], Show: func(c *corev1.PersistentVolumeClaim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return quantity(c.Status.Capacity, corev1.ResourceStorage)
		}},
		{Name: "Access Modes", Help: corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()["accessModes"], Show: func(c *corev1.PersistentVolumeClaim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return accessModes(c.Status.AccessModes)
		}},
		{Name: "StorageClass", Help: "StorageClass of the pvc", Show: func(c *corev1.PersistentVolumeClaim) any {
			if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			if c.Spec.StorageClassName == nil {
				return ""
			}
			return *c.Spec.StorageClassName
		}},
		{Name: "VolumeAttributesClass", Help: "VolumeAttributesClass of the pvc", Show: func(c *corev1.PersistentVolumeClaim) any {
			return orUnset(c.Spec.VolumeAttributesClassName)
		}},
		{Name: "Age"},
		{Name: "VolumeMode", Priority: 1, Help: corev1.PersistentVolumeClaimSpec{}.SwaggerDoc()["volumeMode"], Show: func(c *corev1.PersistentVolumeClaim) any {
			return orUnset(c.Spec.VolumeMode)
		}},
	},
})

// DefaultClaim fills in a claim, one in a StatefulSet's templates too.
func DefaultClaim(c *corev1.PersistentVolumeClaim) {
	OrSet(&c.Status.Phase, corev1.ClaimPending)
	DefaultClaimSpec(&c.Spec)
}
