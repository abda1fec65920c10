package resource

import (
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ResourceClaim asks for devices for the pods that refer to it.
var ResourceClaim = api.Define(api.Resource[*resourcev1.ResourceClaim]{
	Group: group, Version: version, Plural: "resourceclaims", Scope: api.Namespaced,
	Default: func(c *resourcev1.ResourceClaim) {
		defaultClaimSpec(&c.Spec)
		defaultAllocation(c.Status.Allocation)
	},
	Prepare: func(c, old *resourcev1.ResourceClaim) {
		if old == nil {
			c.Status = resourcev1.ResourceClaimStatus{}
			dropDerived(&c.Spec, nil)
		} else {
			dropDerived(&c.Spec, &old.Spec)
		}
	},
	Validate: validateResourceClaim,
	Status: &api.Status[*resourcev1.ResourceClaim]{
		Alone:    true,
		Copy:     copyClaimStatus,
		Validate: validateResourceClaimStatus,
	},
	Columns: []api.Column[*resourcev1.ResourceClaim]{
		{Name: "State", Help: "A summary of the current state (allocated, pending, reserved, etc.).", Show: showClaimState},
	},
})

// dropDerived drops what DRADerivedAttributes, which is off by default, would use.
func dropDerived(spec, old *resourcev1.ResourceClaimSpec) {
	used := func(r resourcev1.DeviceRequest) bool {
		return r.Exactly != nil && len(r.Exactly.DerivedAttributes) > 0 ||
			slices.ContainsFunc(r.FirstAvailable, func(s resourcev1.DeviceSubRequest) bool { return len(s.DerivedAttributes) > 0 })
	}
	if old != nil && slices.ContainsFunc(old.Devices.Requests, used) {
		return
	}
	for i := range spec.Devices.Requests {
		r := &spec.Devices.Requests[i]
		if r.Exactly != nil {
			r.Exactly.DerivedAttributes = nil
		}
		for j := range r.FirstAvailable {
			r.FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

// showClaimState gives "pending", "allocated,reserved" and so on.
func showClaimState(c *resourcev1.ResourceClaim) any {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	if c.Status.Allocation != nil {
		states = append(states, "allocated")
	} else if c.DeletionTimestamp == nil {
		states = append(states, "pending")
	}
	if len(c.Status.ReservedFor) > 0 {
		states = append(states, "reserved")
	}
	return strings.Join(states, ",")
}

// device names an allocated device, and a share of it.
type device struct{ Driver, Pool, Device, ShareID string }

func deviceOf(driver, pool, name string, share *string) device {
	out := device{driver, pool, name, ""}
	if share != nil {
		out.ShareID = *share
	}
	return out
}

// allocated are the devices of a claim.
func allocated(a *resourcev1.AllocationResult) map[device]bool {
	out := map[device]bool{}
	if a != nil {
		for _, r := range a.Devices.Results {
			out[deviceOf(r.Driver, r.Pool, r.Device, (*string)(r.ShareID))] = true
		}
	}
	return out
}

// copyClaimStatus also drops the status of devices that the claim had and has no more. That of others is validation's.
func copyClaimStatus(dst, src *resourcev1.ResourceClaim) {
	had, has := allocated(dst.Status.Allocation), allocated(src.Status.Allocation)
	dst.Status = *src.Status.DeepCopy()
	dst.Status.Devices = slices.DeleteFunc(dst.Status.Devices, func(s resourcev1.AllocatedDeviceStatus) bool {
		d := deviceOf(s.Driver, s.Pool, s.Device, s.ShareID)
		return had[d] && !has[d]
	})
	if len(dst.Status.Devices) == 0 {
		dst.Status.Devices = nil
	}
}
