package storage

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Bounds. Source: the type comments of storage.k8s.io/v1 and the CSI specification.
const (
	maxParameters     = 512
	maxParameterBytes = 256 * 1024
	maxDriverName     = 63
	maxNodeID         = 256
	maxMetadataBytes  = 256 * 1024
	maxErrorMessage   = 1024
)

func validateStorageClass(c, old *storagev1.StorageClass) (errs field.ErrorList) {
	at := field.NewPath("provisioner")
	if c.Provisioner == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		for _, msg := range validation.IsQualifiedName(strings.ToLower(c.Provisioner)) {
			errs = append(errs, field.Invalid(at, strings.ToLower(c.Provisioner), msg))
		}
	}
	errs = append(errs, validateParameters(c.Parameters, true, field.NewPath("parameters"))...)
	if p := c.ReclaimPolicy; p != nil && *p != "" && *p != corev1.PersistentVolumeReclaimDelete && *p != corev1.PersistentVolumeReclaimRetain {
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
	errs = append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
	if old != nil {
		errs = append(errs, fixed(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
		errs = append(errs, fixed(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
		errs = append(errs, fixed(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
		errs = append(errs, fixed(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	}
	return errs
}

// fixed complains where a field that is marked +k8s:immutable did change; such rules show no value.
func fixed(now, was any, at *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(now, was) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg)}
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
	seen := api.Again[string]()
	for i, term := range terms {
		at, all := path.Index(i), map[string][]string{}
		for j, e := range term.MatchLabelExpressions {
			expr := at.Child("matchLabelExpressions").Index(j)
			if len(e.Values) == 0 {
				errs = append(errs, field.Required(expr.Child("values"), ""))
			}
			again := api.Again[string]()
			for k, v := range e.Values {
				if again(v) {
					errs = append(errs, field.Duplicate(expr.Child("values").Index(k), v))
				}
			}
			errs = append(errs, metav1validation.ValidateLabelName(e.Key, expr.Child("key"))...)
			if _, ok := all[e.Key]; ok {
				errs = append(errs, field.Duplicate(expr.Child("key"), e.Key))
			}
			all[e.Key] = slices.Sorted(slices.Values(e.Values))
		}
		if len(all) == 0 || seen(fmt.Sprintf("%q", all)) { // in the order of its keys
			errs = append(errs, field.Duplicate(at.Child("matchLabelExpressions"), ""))
		}
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
	if name != "" {
		for _, msg := range validation.IsDNS1123Subdomain(strings.ToLower(name)) {
			errs = append(errs, field.Invalid(at, name, msg))
		}
	}
	return errs
}

func validateVolumeAttachment(a, old *storagev1.VolumeAttachment) (errs field.ErrorList) {
	at := field.NewPath("spec")
	errs = append(errs, validateDriverName(a.Spec.Attacher, at.Child("attacher"))...)
	source := a.Spec.Source
	switch at := at.Child("source"); {
	case source.InlineVolumeSpec == nil && source.PersistentVolumeName == nil:
		errs = append(errs, field.Required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.InlineVolumeSpec != nil && source.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case source.PersistentVolumeName != nil:
		if *source.PersistentVolumeName == "" {
			errs = append(errs, field.Required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
		}
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
	if e := a.Status.AttachError; e != nil && len(e.Message) > maxErrorMessage {
		errs = append(errs, field.TooLong(status.Child("attachError", "message"), e.Message, maxErrorMessage))
	}
	if e := a.Status.AttachError; e != nil {
		if e.ErrorCode != nil && *e.ErrorCode < 0 {
			errs = append(errs, field.Invalid(status.Child("attachError", "errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, 1<<31-1)))
		}
	}
	if e := a.Status.DetachError; e != nil && e.ErrorCode != nil && *e.ErrorCode < 0 {
		errs = append(errs, field.Invalid(status.Child("detachError", "errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, 1<<31-1)))
	}
	if e := a.Status.DetachError; e != nil && len(e.Message) > maxErrorMessage {
		errs = append(errs, field.TooLong(status.Child("detachError", "message"), e.Message, maxErrorMessage))
	}
	if old != nil {
		errs = append(errs, fixed(a.Spec, old.Spec, at)...)
	}
	return errs
}

func validateVolumeAttributesClass(c, old *storagev1.VolumeAttributesClass) (errs field.ErrorList) {
	at := field.NewPath("driverName")
	if old != nil && c.DriverName != old.DriverName {
		errs = append(errs, field.Forbidden(at, "updates to driverName are forbidden."))
	}
	if old != nil && !equality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
		errs = append(errs, field.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden."))
	}
	if c.DriverName == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		for _, msg := range validation.IsQualifiedName(strings.ToLower(c.DriverName)) {
			errs = append(errs, field.Invalid(at, strings.ToLower(c.DriverName), msg))
		}
	}
	errs = append(errs, validateParameters(c.Parameters, false, field.NewPath("parameters"))...)
	return errs
}
