package resource

import (
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
		}
	},
	Validate: validateResourceClaim,
	Status: &api.Status[*resourcev1.ResourceClaim]{
		Copy:     copyClaimStatus,
		Validate: validateResourceClaimStatus,
	},
	Columns: []api.Column[*resourcev1.ResourceClaim]{
		{Name: "State", Help: "A summary of the current state (allocated, pending, reserved, etc.).", Show: showClaimState},
	},
})

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

// copyClaimStatus also drops the status of devices that are no longer allocated.
func copyClaimStatus(dst, src *resourcev1.ResourceClaim) {
	dst.Status = *src.Status.DeepCopy()
	if len(dst.Status.Devices) == 0 {
		return
	}
	type device struct{ driver, pool, name, share string }
	allocated := map[device]bool{}
	if a := dst.Status.Allocation; a != nil {
		for _, r := range a.Devices.Results {
			d := device{r.Driver, r.Pool, r.Device, ""}
			if r.ShareID != nil {
				d.share = string(*r.ShareID)
			}
			allocated[d] = true
		}
	}
	var kept []resourcev1.AllocatedDeviceStatus
	for _, s := range dst.Status.Devices {
		d := device{s.Driver, s.Pool, s.Device, ""}
		if s.ShareID != nil {
			d.share = *s.ShareID
		}
		if allocated[d] {
			kept = append(kept, s)
		}
	}
	// Without an allocation at all the complaint is validation's.
	if dst.Status.Allocation == nil {
		kept = nil
	}
	dst.Status.Devices = kept
}
