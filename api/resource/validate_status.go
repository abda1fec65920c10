package resource

import (
	"regexp"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// validateResourceClaimStatus checks what schedulers, drivers and controllers write.
func validateResourceClaimStatus(c, old *resourcev1.ResourceClaim) (errs field.ErrorList) {
	at := field.NewPath("status")
	names := requestNames{}
	for _, r := range c.Spec.Devices.Requests {
		names[r.Name] = sets.Set[string]{}
		for _, s := range r.FirstAvailable {
			names[r.Name].Insert(s.Name)
		}
	}
	var declared field.ErrorList
	a := c.Status.Allocation
	if a != nil && old != nil && old.Status.Allocation != nil {
		// Allocated once; given back as a whole.
		errs = append(errs, apivalidation.ValidateImmutableField(a, old.Status.Allocation, at.Child("allocation"))...)
	} else if a != nil {
		errs, declared = validateAllocation(a, names, at.Child("allocation"))
	}
	reserved := at.Child("reservedFor")
	errs = append(errs, validateConsumers(c.Status.ReservedFor, reserved)...)
	if len(c.Status.ReservedFor) > 0 {
		if a == nil {
			errs = append(errs, field.Forbidden(reserved, "may not be specified when `allocated` is not set"))
		} else if c.DeletionTimestamp != nil && old != nil && grew(c, old) {
			errs = append(errs, field.Forbidden(reserved, "new entries may not be added while `deletionTimestamp` is set"))
		}
	}
	if old != nil && a == nil && old.Status.Allocation != nil && len(c.Status.ReservedFor) > 0 {
		errs = append(errs, field.Forbidden(at.Child("allocation"), "may not be removed while the claim is reserved"))
	}
	return append(append(errs, validateDeviceStatuses(c, at.Child("devices"))...), declared...)
}

// validateConsumers checks for whom a claim is reserved.
func validateConsumers(list []resourcev1.ResourceClaimConsumerReference, reserved *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.ResourceClaimReservedForMaxSize, reserved)...)
	uids := sets.Set[string]{}
	for i, r := range list {
		at := reserved.Index(i)
		if r.Resource == "" {
			errs = append(errs, field.Required(at.Child("resource"), ""))
		}
		if r.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if r.UID == "" {
			errs = append(errs, field.Required(at.Child("uid"), ""))
		}
		if uids.Has(string(r.UID)) {
			errs = append(errs, field.Duplicate(at.Child("uid"), r.UID))
		}
		uids.Insert(string(r.UID))
	}
	return errs
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// validateDeviceStatuses checks what drivers say of the devices that the claim has.
func validateDeviceStatuses(c *resourcev1.ResourceClaim, path *field.Path) (errs field.ErrorList) {
	has, said := allocated(c.Status.Allocation), map[device]bool{}
	for i, s := range c.Status.Devices {
		at, d := path.Index(i), deviceOf(s.Driver, s.Pool, s.Device, s.ShareID)
		errs = append(errs, validateDriverName(s.Driver, at.Child("driver"))...)
		errs = append(errs, validatePoolName(s.Pool, at.Child("pool"))...)
		for _, msg := range validation.IsDNS1123Label(s.Device) {
			errs = append(errs, field.Invalid(at.Child("device"), s.Device, msg))
		}
		if !has[d] {
			errs = append(errs, field.Invalid(at, d, "must be an allocated device in the claim"))
		}
		if said[d] {
			errs = append(errs, field.Duplicate(at, s))
		}
		said[d] = true
		errs = append(errs, atMost(len(s.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions, at.Child("conditions"))...)
		errs = append(errs, metav1validation.ValidateConditions(s.Conditions, at.Child("conditions"))...)
		if s.Data != nil && len(s.Data.Raw) > resourcev1.AllocatedDeviceStatusDataMaxLength {
			errs = append(errs, field.TooLong(at.Child("data"), "", resourcev1.AllocatedDeviceStatusDataMaxLength))
		}
		if s.ShareID != nil && !uuid.MatchString(*s.ShareID) {
			errs = append(errs, field.Invalid(at.Child("shareID"), *s.ShareID, "must be a lowercase UUID in 8-4-4-4-12 format"))
		}
		errs = append(errs, validateNetworkData(s.NetworkData, at.Child("networkData"))...)
	}
	return errs
}

func validateNetworkData(n *resourcev1.NetworkDeviceData, at *field.Path) (errs field.ErrorList) {
	if n == nil {
		return nil
	}
	ips := at.Child("ips")
	for i, ip := range n.IPs {
		errs = append(errs, validation.IsValidInterfaceAddress(ips.Index(i), ip)...)
		if api.Enough(errs) {
			break
		}
	}
	if most := resourcev1.NetworkDeviceDataInterfaceNameMaxLength; len(n.InterfaceName) > most {
		errs = append(errs, field.TooLong(at.Child("interfaceName"), "", most))
	}
	errs = append(errs, atMost(len(n.IPs), resourcev1.NetworkDeviceDataMaxIPs, ips)...)
	errs = append(errs, twice(n.IPs, ips)...)
	if most := resourcev1.NetworkDeviceDataHardwareAddressMaxLength; len(n.HardwareAddress) > most {
		errs = append(errs, field.TooLong(at.Child("hardwareAddress"), "", most))
	}
	return errs
}

// grew tells whether the claim is reserved for somebody that it was not.
func grew(c, old *resourcev1.ResourceClaim) bool {
	was := sets.Set[string]{}
	for _, r := range old.Status.ReservedFor {
		was.Insert(string(r.UID))
	}
	for _, r := range c.Status.ReservedFor {
		if !was.Has(string(r.UID)) {
			return true
		}
	}
	return false
}

func validateAllocation(a *resourcev1.AllocationResult, names requestNames, at *field.Path) (errs, declared field.ErrorList) {
	devices := at.Child("devices")
	errs = append(errs, atMost(len(a.Devices.Results), resourcev1.AllocationResultsMaxSize, devices.Child("results"))...)
	for i, r := range a.Devices.Results {
		at := devices.Child("results").Index(i)
		errs = append(errs, validateReference(r.Request, names, at.Child("request"))...)
		declared = append(declared, declaredDriver(r.Driver, at.Child("driver"))...)
		declared = append(declared, declaredPool(r.Pool, at.Child("pool"))...)
		errs = append(errs, validateLabel(r.Device, at.Child("device"))...)
		errs = append(errs, validateTolerations(r.Tolerations, at.Child("tolerations"))...)
		declared = append(declared, declaredTolerations(r.Tolerations, at.Child("tolerations"))...)
	}
	config := devices.Child("config")
	errs = append(errs, atMost(len(a.Devices.Config), 2*resourcev1.DeviceConfigMaxSize, config)...)
	for i := range a.Devices.Config {
		c, at := &a.Devices.Config[i], config.Index(i)
		switch c.Source {
		case resourcev1.AllocationConfigSourceClaim:
			errs = append(errs, validateReferences(c.Requests, names, at.Child("requests"))...)
			declared = append(declared, twice(c.Requests, at.Child("requests"))...)
		case resourcev1.AllocationConfigSourceClass:
		case "":
			declared = append(declared, field.Required(at.Child("source"), ""))
		default:
			declared = append(declared, field.NotSupported(at.Child("source"), c.Source,
				[]resourcev1.AllocationConfigSource{resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass}))
		}
		said, of := validateConfiguration(&c.DeviceConfiguration, at)
		errs, declared = append(errs, said...), append(declared, of...)
	}
	if a.NodeSelector != nil {
		errs = append(errs, core.ValidateNodeSelector(a.NodeSelector, at.Child("nodeSelector"))...)
	}
	return errs, declared
}
