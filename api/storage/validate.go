package storage

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds. Source: the type comments of storage.k8s.io/v1 and the CSI specification.
const (
	maxParameters     = 512
	maxParameterBytes = 256 * 1024
	maxDriverName     = 63
	maxNodeID         = 192
	maxMetadataBytes  = 256 * 1024
	maxErrorMessage   = 1024
)

func validateStorageClass(c, old *storagev1.StorageClass) (errs field.ErrorList) {
	if old != nil {
		if !equality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
			errs = append(errs, field.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden."))
		}
		if c.Provisioner != old.Provisioner {
			errs = append(errs, field.Forbidden(field.NewPath("provisioner"), "updates to provisioner are forbidden."))
		}
		if !equality.Semantic.DeepEqual(c.ReclaimPolicy, old.ReclaimPolicy) {
			errs = append(errs, field.Forbidden(field.NewPath("reclaimPolicy"), "updates to reclaimPolicy are forbidden."))
		}
		errs = append(errs, apivalidation.ValidateImmutableField(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	}
	at := field.NewPath("provisioner")
	if c.Provisioner == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		for _, msg := range validation.IsQualifiedName(strings.ToLower(c.Provisioner)) {
			errs = append(errs, field.Invalid(at, c.Provisioner, msg))
		}
	}
	errs = append(errs, validateParameters(c.Parameters, true, field.NewPath("parameters"))...)
	if p := c.ReclaimPolicy; p != nil && *p != corev1.PersistentVolumeReclaimDelete && *p != corev1.PersistentVolumeReclaimRetain {
		errs = append(errs, field.NotSupported(field.NewPath("reclaimPolicy"), *p,
			[]corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain}))
	}
	switch m := c.VolumeBindingMode; {
	case m == nil:
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	case *m != storagev1.VolumeBindingImmediate && *m != storagev1.VolumeBindingWaitForFirstConsumer:
		errs = append(errs, field.NotSupported(field.NewPath("volumeBindingMode"), *m,
			[]storagev1.VolumeBindingMode{storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer}))
	}
	return append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
}

// validateParameters bounds what is handed to a driver.
func validateParameters(p map[string]string, allowEmpty bool, at *field.Path) (errs field.ErrorList) {
	if len(p) > maxParameters {
		return append(errs, field.TooLong(at, "", maxParameters))
	}
	if len(p) == 0 && !allowEmpty {
		return append(errs, field.Required(at, "must contain at least one key/value pair"))
	}
	size := 0
	for k, v := range p {
		if k == "" {
			errs = append(errs, field.Invalid(at, k, "field can not be empty."))
		}
		size += len(k) + len(v)
	}
	if size > maxParameterBytes {
		errs = append(errs, field.TooLong(at, "", maxParameterBytes))
	}
	return errs
}

func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) (errs field.ErrorList) {
	seen := []map[string][]string{}
	for i, term := range terms {
		at, all := path.Index(i), map[string][]string{}
		for j, e := range term.MatchLabelExpressions {
			expr := at.Child("matchLabelExpressions").Index(j)
			if len(e.Values) == 0 {
				errs = append(errs, field.Required(expr.Child("values"), ""))
			}
			for k, v := range e.Values {
				if slices.Contains(e.Values[:k], v) {
					errs = append(errs, field.Duplicate(expr.Child("values").Index(k), v))
				}
			}
			errs = append(errs, metav1validation.ValidateLabelName(e.Key, expr.Child("key"))...)
			if _, ok := all[e.Key]; ok {
				errs = append(errs, field.Duplicate(expr.Child("key"), e.Key))
			}
			all[e.Key] = slices.Sorted(slices.Values(e.Values))
		}
		if slices.ContainsFunc(seen, func(o map[string][]string) bool { return equality.Semantic.DeepEqual(o, all) }) {
			errs = append(errs, field.Duplicate(at.Child("matchLabelExpressions"), ""))
		}
		seen = append(seen, all)
	}
	return errs
}

// validateDriverName wants a DNS name, in any case, of at most 63 characters. Source: CSI specification.
func validateDriverName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		errs = append(errs, field.Required(at, ""))
	}
	if len(name) > maxDriverName {
		errs = append(errs, field.TooLong(at, name, maxDriverName))
	}
	for _, msg := range validation.IsDNS1123Subdomain(strings.ToLower(name)) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

func validateVolumeAttachment(a, old *storagev1.VolumeAttachment) (errs field.ErrorList) {
	at := field.NewPath("spec")
	errs = append(errs, validateDriverName(a.Spec.Attacher, at.Child("attacher"))...)
	source := a.Spec.Source
	switch at := at.Child("source"); {
	case source.InlineVolumeSpec == nil && source.PersistentVolumeName == nil:
		errs = append(errs, field.Required(at, "must specify one of inlineVolumeSpec and persistentVolumeName"))
	case source.InlineVolumeSpec != nil && source.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.PersistentVolumeName != nil && *source.PersistentVolumeName == "":
		errs = append(errs, field.Required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	case source.PersistentVolumeName != nil:
		for _, msg := range apivalidation.NameIsDNSSubdomain(*source.PersistentVolumeName, false) {
			errs = append(errs, field.Invalid(at.Child("persistentVolumeName"), *source.PersistentVolumeName, msg))
		}
	}
	for _, msg := range apivalidation.NameIsDNSSubdomain(a.Spec.NodeName, false) {
		errs = append(errs, field.Invalid(at.Child("nodeName"), a.Spec.NodeName, msg))
	}
	status := field.NewPath("status")
	size := 0
	for k, v := range a.Status.AttachmentMetadata {
		size += len(k) + len(v)
	}
	if size > maxMetadataBytes {
		errs = append(errs, field.TooLong(status.Child("attachmentMetadata"), "", maxMetadataBytes))
	}
	for name, e := range map[string]*storagev1.VolumeError{"attachError": a.Status.AttachError, "detachError": a.Status.DetachError} {
		if e != nil && len(e.Message) > maxErrorMessage {
			errs = append(errs, field.TooLong(status.Child(name, "message"), e.Message, maxErrorMessage))
		}
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(a.Spec, old.Spec, at)...)
	}
	return errs
}

func validateCSIDriver(d, old *storagev1.CSIDriver) (errs field.ErrorList) {
	spec, at := &d.Spec, field.NewPath("spec")
	errs = append(errs, validateDriverName(d.Name, field.NewPath("name"))...)
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(spec.AttachRequired, old.Spec.AttachRequired, at.Child("attachedRequired"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, at.Child("volumeLifecycleModes"))...)
	}
	for name, p := range map[string]*bool{"attachedRequired": spec.AttachRequired, "podInfoOnMount": spec.PodInfoOnMount, "storageCapacity": spec.StorageCapacity} {
		if p == nil {
			errs = append(errs, field.Required(at.Child(name), ""))
		}
	}
	if p := spec.FSGroupPolicy; p == nil {
		errs = append(errs, field.Required(at.Child("fsGroupPolicy"), ""))
	} else if *p != storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy && *p != storagev1.FileFSGroupPolicy && *p != storagev1.NoneFSGroupPolicy {
		errs = append(errs, field.NotSupported(at.Child("fsGroupPolicy"), *p,
			[]storagev1.FSGroupPolicy{storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy}))
	}
	audiences := map[string]bool{}
	for i, r := range spec.TokenRequests {
		at := at.Child("tokenRequests").Index(i)
		if audiences[r.Audience] {
			errs = append(errs, field.Duplicate(at.Child("audience"), r.Audience))
		}
		audiences[r.Audience] = true
		if s := r.ExpirationSeconds; s != nil {
			if *s < 600 {
				errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes"))
			}
			if *s > 1<<32 {
				errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration larger than 2^32 seconds"))
			}
		}
	}
	for _, m := range spec.VolumeLifecycleModes {
		if m != storagev1.VolumeLifecyclePersistent && m != storagev1.VolumeLifecycleEphemeral {
			errs = append(errs, field.NotSupported(at.Child("volumeLifecycleModes"), m,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent}))
		}
	}
	if s := spec.NodeAllocatableUpdatePeriodSeconds; s != nil && *s < 10 {
		errs = append(errs, field.Invalid(at.Child("nodeAllocatableUpdatePeriodSeconds"), *s, "must be greater than or equal to 10 seconds"))
	}
	return errs
}

func validateCSINode(n, old *storagev1.CSINode) (errs field.ErrorList) {
	at := field.NewPath("spec", "drivers")
	names := map[string]bool{}
	for i, d := range n.Spec.Drivers {
		at := at.Index(i)
		errs = append(errs, validateDriverName(d.Name, at.Child("name"))...)
		if d.NodeID == "" {
			errs = append(errs, field.Required(at.Child("nodeID"), ""))
		}
		if len(d.NodeID) > maxNodeID {
			errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID)))
		}
		if d.Allocatable != nil && d.Allocatable.Count != nil && *d.Allocatable.Count < 0 {
			errs = append(errs, field.Invalid(at.Child("allocatable", "count"), *d.Allocatable.Count, apivalidation.IsNegativeErrorMsg))
		}
		if names[d.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
		}
		names[d.Name] = true
		for j, key := range d.TopologyKeys {
			if slices.Contains(d.TopologyKeys[:j], key) {
				errs = append(errs, field.Duplicate(at.Child("topologyKeys"), key))
			}
			for _, msg := range validation.IsQualifiedName(key) {
				errs = append(errs, field.Invalid(at.Child("topologyKeys"), key, msg))
			}
		}
	}
	if old == nil {
		return errs
	}
	// A driver comes and goes as a whole; only what it can take may change.
	for _, was := range old.Spec.Drivers {
		for i, d := range n.Spec.Drivers {
			now := d
			now.Allocatable, was.Allocatable = nil, nil
			if d.Name == was.Name && !equality.Semantic.DeepEqual(now, was) {
				errs = append(errs, field.Invalid(at.Index(i), d, "field is immutable"))
			}
		}
	}
	return errs
}

func validateCSIStorageCapacity(c, old *storagev1.CSIStorageCapacity) (errs field.ErrorList) {
	for _, msg := range apivalidation.NameIsDNSSubdomain(c.StorageClassName, false) {
		errs = append(errs, field.Invalid(field.NewPath("storageClassName"), c.StorageClassName, msg))
	}
	if c.NodeTopology != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(c.NodeTopology, metav1validation.LabelSelectorValidationOptions{}, field.NewPath("nodeTopology"))...)
	}
	for name, q := range map[string]*resource.Quantity{"capacity": c.Capacity, "maximumVolumeSize": c.MaximumVolumeSize} {
		if q != nil && q.Sign() < 0 {
			errs = append(errs, field.Invalid(field.NewPath(name), q.String(), apivalidation.IsNegativeErrorMsg))
		}
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName"))...)
	}
	return errs
}

func validateVolumeAttributesClass(c, old *storagev1.VolumeAttributesClass) (errs field.ErrorList) {
	errs = append(errs, validateDriverName(c.DriverName, field.NewPath("driverName"))...)
	errs = append(errs, validateParameters(c.Parameters, false, field.NewPath("parameters"))...)
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.DriverName, old.DriverName, field.NewPath("driverName"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
	}
	return errs
}
