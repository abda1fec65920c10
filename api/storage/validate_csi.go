package storage

import (
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validateCSIDriver(d, old *storagev1.CSIDriver) (errs field.ErrorList) {
	spec, at := &d.Spec, field.NewPath("spec")
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(spec.AttachRequired, old.Spec.AttachRequired, at.Child("attachedRequired"))...)
	}
	for _, f := range []struct {
		name string
		flag *bool
	}{{"attachedRequired", spec.AttachRequired}, {"podInfoOnMount", spec.PodInfoOnMount}, {"storageCapacity", spec.StorageCapacity}} {
		if f.flag == nil {
			errs = append(errs, field.Required(at.Child(f.name), ""))
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
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}))
		}
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, at.Child("volumeLifecycleModes"))...)
	}
	if spec.ServiceAccountTokenInSecrets != nil && len(spec.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(at.Child("serviceAccountTokenInSecrets"), *spec.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets may not be set without tokenRequests"))
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
		again := api.Again[string]()
		for _, key := range d.TopologyKeys {
			if key == "" {
				errs = append(errs, field.Required(at, ""))
			}
			if again(key) {
				errs = append(errs, field.Duplicate(at, key))
			}
			for _, msg := range validation.IsQualifiedName(key) {
				errs = append(errs, field.Invalid(at, key, msg))
			}
		}
	}
	if old == nil {
		return errs
	}
	// A driver comes and goes as a whole; only what it can take may change.
	for _, was := range old.Spec.Drivers {
		for _, d := range n.Spec.Drivers {
			now := d
			now.Allocatable, was.Allocatable = nil, nil
			if d.Name == was.Name && !equality.Semantic.DeepEqual(now, was) {
				errs = append(errs, field.Invalid(at, now, "field is immutable"))
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
	errs = append(errs, notNegative(c.Capacity, field.NewPath("capacity"))...)
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName"))...)
	}
	return errs
}

func notNegative(q *resource.Quantity, at *field.Path) field.ErrorList {
	if q != nil && q.Sign() < 0 {
		return field.ErrorList{field.Invalid(at, q.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}
