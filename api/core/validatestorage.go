package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

var allAccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}

func validateModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) (errs field.ErrorList) {
	for _, m := range modes {
		errs = append(errs, OneOf(m, path, allAccessModes...)...)
	}
	if len(modes) > 1 && slices.Contains(modes, corev1.ReadWriteOncePod) {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

func validateVolume(v, old *corev1.PersistentVolume) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if len(v.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(spec.Child("accessModes"), ""))
	}
	errs = append(errs, validateModes(v.Spec.AccessModes, spec.Child("accessModes"))...)
	if len(v.Spec.Capacity) == 0 {
		errs = append(errs, field.Required(spec.Child("capacity"), ""))
	}
	if _, ok := v.Spec.Capacity[corev1.ResourceStorage]; !ok || len(v.Spec.Capacity) > 1 {
		errs = append(errs, field.NotSupported(spec.Child("capacity"), v.Spec.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	errs = append(errs, entries(v.Spec.Capacity, spec.Child("capacity"), func(_ corev1.ResourceName, q resource.Quantity, at *field.Path) (errs field.ErrorList) {
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at, q.Value(), "must be a valid resource quantity"))
		}
		return append(errs, positive(q, at)...)
	})...)
	if v.Spec.PersistentVolumeReclaimPolicy != "" {
		errs = append(errs, OneOf(v.Spec.PersistentVolumeReclaimPolicy, spec.Child("persistentVolumeReclaimPolicy"),
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	if a := v.Spec.NodeAffinity; a != nil {
		if path := spec.Child("nodeAffinity", "required"); a.Required == nil {
			errs = append(errs, field.Required(path, "must specify required node constraints"))
		} else {
			errs = append(errs, ValidateNodeSelector(a.Required, path)...)
		}
	}
	errs = append(errs, validateVolumeSource(&v.Spec, spec)...)
	if v.Spec.StorageClassName != "" {
		errs = append(errs, each(spec.Child("storageClassName"), v.Spec.StorageClassName, validation.IsDNS1123Subdomain(v.Spec.StorageClassName))...)
	}
	if m := v.Spec.VolumeMode; m != nil {
		errs = append(errs, OneOf(*m, spec.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if c, at := v.Spec.VolumeAttributesClassName, spec.Child("volumeAttributesClassName"); c != nil {
		if *c == "" {
			errs = append(errs, field.Required(at, "an empty string is disallowed"))
		} else {
			errs = append(errs, each(at, *c, validation.IsDNS1123Subdomain(*c))...)
		}
		if v.Spec.CSI == nil {
			errs = append(errs, field.Required(spec.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	if old != nil {
		now, was := v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource
		if now.CSI != nil && was.CSI != nil { // who expands the volume may change
			now.CSI = now.CSI.DeepCopy()
			now.CSI.ControllerExpandSecretRef = was.CSI.ControllerExpandSecretRef
		}
		if !same(now, was) {
			errs = append(errs, forbidChange(spec.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation", v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource)...)
		}
		errs = append(errs, Immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
		if old.Spec.NodeAffinity != nil && !same(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
			errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), api.GoNames(v.Spec.NodeAffinity), "field is immutable, except for updating from beta label to GA"))
		}
	}
	return errs
}

func positive(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() <= 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than zero")}
	}
	return nil
}

func validateClaim(c, old *corev1.PersistentVolumeClaim) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = ValidateClaimSpec(&c.Spec, spec)
	if old == nil {
		return errs
	}
	// What may change: from unbound to bound once; the size; the attributes class; metadata.
	now, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		now.VolumeName = ""
	}
	if old.Status.Phase == corev1.ClaimBound {
		now.Resources.Requests, was.Resources.Requests = nil, nil
		now.VolumeAttributesClassName, was.VolumeAttributesClassName = nil, nil
	}
	if was.StorageClassName == nil {
		now.StorageClassName = nil // late default class
	}
	if !same(now, was) {
		errs = append(errs, forbidChange(spec, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims", c.Spec, old.Spec)...)
	}
	size := func(l corev1.ResourceList) resource.Quantity { return l[corev1.ResourceStorage] }
	newSize, oldSize, has := size(c.Spec.Resources.Requests), size(old.Spec.Resources.Requests), size(old.Status.Capacity)
	if newSize.Cmp(oldSize) < 0 && newSize.Cmp(has) <= 0 {
		errs = append(errs, field.Forbidden(spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	if !same(c.Spec.VolumeMode, old.Spec.VolumeMode) {
		errs = append(errs, Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	}
	return errs
}

func validateClaimStatus(c, _ *corev1.PersistentVolumeClaim) (errs field.ErrorList) {
	status := field.NewPath("status")
	errs = entries(c.Status.Capacity, status.Child("capacity"), func(_ corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		if q.Sign() < 0 {
			return field.ErrorList{field.Invalid(at, q.Value(), "must be a valid resource quantity")}
		}
		return nil
	})
	known := func(name corev1.ResourceName, at *field.Path) field.ErrorList {
		bad := each(at, string(name), api.QualifiedName(string(name)))
		if len(bad) == 0 && !strings.Contains(string(name), "/") && name != corev1.ResourceStorage {
			bad = append(bad, field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceStorage}))
		}
		return bad
	}
	states := []corev1.ClaimResourceStatus{corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
		corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending}
	statuses, resources := status.Child("allocatedResourceStatuses"), status.Child("allocatedResources") // as upstream: without the key
	errs = append(errs, entries(c.Status.AllocatedResourceStatuses, statuses, func(name corev1.ResourceName, state corev1.ClaimResourceStatus, _ *field.Path) field.ErrorList {
		errs := known(name, statuses)
		if !slices.Contains(states, state) {
			errs = append(errs, field.NotSupported(statuses, name, states))
		}
		return errs
	})...)
	return append(errs, entries(c.Status.AllocatedResources, resources, func(name corev1.ResourceName, _ resource.Quantity, _ *field.Path) field.ErrorList {
		return known(name, resources)
	})...)
}

// ValidateClaimSpec checks a claim's spec, one in a template too.
func ValidateClaimSpec(s *corev1.PersistentVolumeClaimSpec, spec *field.Path) (errs field.ErrorList) {
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(spec.Child("accessModes"), "at least 1 access mode is required"))
	}
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("selector"))...)
	}
	errs = append(errs, validateModes(s.AccessModes, spec.Child("accessModes"))...)
	if size, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(spec.Child("resources").Key(string(corev1.ResourceStorage)), ""))
	} else {
		errs = append(errs, positive(size, spec.Child("resources").Key(string(corev1.ResourceStorage)))...)
	}
	if n := s.StorageClassName; n != nil && *n != "" {
		errs = append(errs, each(spec.Child("storageClassName"), *n, validation.IsDNS1123Subdomain(*n))...)
	}
	if m := s.VolumeMode; m != nil {
		errs = append(errs, OneOf(*m, spec.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if d := s.DataSource; d != nil {
		path := spec.Child("dataSource")
		if d.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		}
		if d.Kind == "" {
			errs = append(errs, field.Required(path.Child("kind"), ""))
		}
		errs = append(errs, validateSourceGroup(d.APIGroup, d.Kind, path)...)
	}
	if d := s.DataSourceRef; d != nil {
		path := spec.Child("dataSourceRef")
		if d.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		}
		if d.Kind == "" {
			errs = append(errs, field.Required(path.Child("kind"), ""))
		}
		errs = append(errs, validateSourceGroup(d.APIGroup, d.Kind, path)...)
	}
	if d, r := s.DataSource, s.DataSourceRef; d != nil && r != nil && (d.Name != r.Name || d.Kind != r.Kind || deref(d.APIGroup) != deref(r.APIGroup)) {
		errs = append(errs, field.Invalid(spec, map[string]any{}, "must match dataSourceRef"))
	}
	if n := s.VolumeAttributesClassName; n != nil && *n != "" {
		errs = append(errs, each(spec.Child("volumeAttributesClassName"), *n, validation.IsDNS1123Subdomain(*n))...)
	}
	return errs
}

// validateSourceGroup checks of what group and kind a claim's source is: of the core group only another claim is.
func validateSourceGroup(group *string, kind string, path *field.Path) (errs field.ErrorList) {
	name := deref(group)
	if name == "" && kind != "PersistentVolumeClaim" {
		errs = append(errs, field.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	if name != "" {
		errs = append(errs, each(path.Child("apiGroup"), name, validation.IsDNS1123Subdomain(name))...)
	}
	return errs
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
