package resource

import (
	"strconv"
	"strings"

	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ResourcePoolStatusRequest asks once how many devices of a driver's pools are free; a controller answers in its status.
var ResourcePoolStatusRequest = api.Define(api.Resource[*resourcev1alpha3.ResourcePoolStatusRequest]{
	Group: group, Version: "v1alpha3", Plural: "resourcepoolstatusrequests", Scope: api.Cluster,
	Default: func(r *resourcev1alpha3.ResourcePoolStatusRequest) {
		if r.Spec.Limit == nil {
			limit := resourcev1alpha3.ResourcePoolStatusRequestLimitDefault
			r.Spec.Limit = &limit
		}
	},
	Prepare: func(r, old *resourcev1alpha3.ResourcePoolStatusRequest) {
		if old == nil {
			r.Status = nil
		}
		if old == nil || old.Spec.DefaultPartitionTypeAttribute == nil {
			r.Spec.DefaultPartitionTypeAttribute = nil // DRAPartitionableDevicesType is off
		}
	},
	Validate: validatePoolRequest,
	Status: &api.Status[*resourcev1alpha3.ResourcePoolStatusRequest]{
		Alone:    true,
		Copy:     func(dst, src *resourcev1alpha3.ResourcePoolStatusRequest) { dst.Status = src.Status.DeepCopy() },
		Validate: validatePoolRequestStatus,
	},
	Columns: []api.Column[*resourcev1alpha3.ResourcePoolStatusRequest]{
		{Name: "Name"},
		{Name: "Driver", Help: "The driver to query pools for.", Show: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any { return r.Spec.Driver }},
		{Name: "Total", Help: "Total number of devices across all pools.", Show: sum(func(p *resourcev1alpha3.PoolStatus) *int32 { return p.TotalDevices })},
		{Name: "Available", Help: "Number of available devices across all pools.", Show: sum(func(p *resourcev1alpha3.PoolStatus) *int32 { return p.AvailableDevices })},
		{Name: "Allocated", Help: "Number of allocated devices across all pools.", Show: sum(func(p *resourcev1alpha3.PoolStatus) *int32 { return p.AllocatedDevices })},
		{Name: "Unavailable", Help: "Number of unavailable devices across all pools.", Show: sum(func(p *resourcev1alpha3.PoolStatus) *int32 { return p.UnavailableDevices })},
		{Name: "Errors", Help: "Number of pools with validation errors.", Show: sum(func(p *resourcev1alpha3.PoolStatus) *int32 {
			if p.ValidationError == nil {
				return nil
			}
			one := int32(1)
			return &one
		})},
		{Name: "Pools", Type: "integer", Help: "Total number of matching pools.", Show: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any {
			if r.Status == nil || r.Status.PoolCount == nil {
				return int64(0)
			}
			return int64(*r.Status.PoolCount)
		}},
		{Name: "Status", Help: "Processing status.", Show: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any { return poolRequestState(r) }},
		{Name: "Completed", Help: "Time since the observation completed.", Show: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any {
			if r.Status != nil {
				if c := meta.FindStatusCondition(r.Status.Conditions, resourcev1alpha3.ResourcePoolStatusRequestConditionComplete); c != nil {
					return api.Age(c.LastTransitionTime)
				}
			}
			return "<none>"
		}},
	},
})

// sum adds up a count of all pools; "-" stands for what is not known yet.
func sum(of func(*resourcev1alpha3.PoolStatus) *int32) func(*resourcev1alpha3.ResourcePoolStatusRequest) any {
	return func(r *resourcev1alpha3.ResourcePoolStatusRequest) any {
		if r.Status == nil {
			return "-"
		}
		total := 0
		for n := range r.Status.Pools {
			if count := of(&r.Status.Pools[n]); count != nil {
				total += int(*count)
			}
		}
		return strconv.Itoa(total)
	}
}

func poolRequestState(r *resourcev1alpha3.ResourcePoolStatusRequest) string {
	if r.Status != nil {
		for _, kind := range []string{resourcev1alpha3.ResourcePoolStatusRequestConditionFailed, resourcev1alpha3.ResourcePoolStatusRequestConditionComplete} {
			if meta.IsStatusConditionTrue(r.Status.Conditions, kind) {
				return kind
			}
		}
	}
	return "Pending"
}

// validatePoolRequest: source of the rules are the fields' comments, of the messages a kube-apiserver 1.37.2.
func validatePoolRequest(r, old *resourcev1alpha3.ResourcePoolStatusRequest) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old != nil {
		if !equality.Semantic.DeepEqual(r.Spec, old.Spec) {
			errs = append(errs, field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg))
		}
		return errs
	}
	errs = append(errs, validateCaseless(r.Spec.Driver, at.Child("driver"))...)
	if p := r.Spec.PoolName; p != nil {
		errs = append(errs, validateSegments(*p, at.Child("poolName"))...)
	}
	if n := r.Spec.Limit; n != nil {
		errs = append(errs, atLeast(*n, 1, at.Child("limit"))...)
		if most := resourcev1alpha3.ResourcePoolStatusRequestLimitMax; *n > most {
			errs = append(errs, field.Invalid(at.Child("limit"), *n, "must be less than or equal to "+strconv.Itoa(int(most))))
		}
	}
	return errs
}

func validatePoolRequestStatus(r, old *resourcev1alpha3.ResourcePoolStatusRequest) (errs field.ErrorList) {
	at, s := field.NewPath("status"), r.Status
	final := old != nil && old.Status != nil
	if final && equality.Semantic.DeepEqual(s, old.Status) {
		return nil
	}
	if final {
		errs = append(errs, field.Invalid(at, s, apivalidation.FieldImmutableErrorMsg))
	}
	if s == nil {
		return errs
	}
	if !final {
		errs = append(errs, validatePoolConditions(s.Conditions, at.Child("conditions"))...)
	}
	if s.PoolCount == nil {
		errs = append(errs, field.Required(at.Child("poolCount"), ""))
	} else {
		errs = append(errs, atLeast(*s.PoolCount, 0, at.Child("poolCount"))...)
	}
	errs = append(errs, atMost(len(s.Pools), 1000, at.Child("pools"))...)
	for n := range s.Pools {
		errs = append(errs, validatePoolStatus(&s.Pools[n], at.Child("pools").Index(n))...)
	}
	return errs
}

func validatePoolStatus(p *resourcev1alpha3.PoolStatus, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateCaseless(p.Driver, at.Child("driver"))...)
	if p.PoolName == "" {
		errs = append(errs, field.Required(at.Child("poolName"), ""))
	} else {
		errs = append(errs, validateSegments(p.PoolName, at.Child("poolName"))...)
	}
	if p.Generation == 0 {
		errs = append(errs, field.Required(at.Child("generation"), ""))
	} else {
		errs = append(errs, atLeast(p.Generation, 0, at.Child("generation"))...)
	}
	for _, c := range []struct {
		name  string
		count *int32
		least int32
	}{{"resourceSliceCount", p.ResourceSliceCount, 1}, {"totalDevices", p.TotalDevices, 0}, {"allocatedDevices", p.AllocatedDevices, 0},
		{"availableDevices", p.AvailableDevices, 0}, {"unavailableDevices", p.UnavailableDevices, 0}} {
		if c.count != nil {
			errs = append(errs, atLeast(*c.count, c.least, at.Child(c.name))...)
		}
	}
	if p.NodeName != nil {
		for _, msg := range content.IsDNS1123Subdomain(*p.NodeName) {
			errs = append(errs, field.Invalid(at.Child("nodeName"), *p.NodeName, msg))
		}
	}
	if e := p.ValidationError; e != nil && len(*e) > 256 {
		errs = append(errs, field.TooLong(at.Child("validationError"), "", 256))
	}
	return append(errs, validatePoolSummaries(p, at)...)
}

func validatePoolSummaries(p *resourcev1alpha3.PoolStatus, at *field.Path) (errs field.ErrorList) {
	count := func(n *int32, at *field.Path) {
		if n == nil {
			errs = append(errs, field.Required(at, ""))
		} else {
			errs = append(errs, atLeast(*n, 0, at)...)
		}
	}
	need := func(missing bool, at *field.Path) {
		if missing {
			errs = append(errs, field.Required(at, ""))
		}
	}
	errs = append(errs, atMost(len(p.PartitionSummary), 32, at.Child("partitionSummary"))...)
	seen := map[[2]string]bool{}
	for n, s := range p.PartitionSummary {
		at := at.Child("partitionSummary").Index(n)
		if key := [2]string{s.Attribute, s.Type}; seen[key] {
			errs = append(errs, field.Duplicate(at, map[string]string{"attribute": s.Attribute, "type": s.Type}))
		} else {
			seen[key] = true
		}
		need(s.Attribute == "", at.Child("attribute"))
		need(s.Type == "", at.Child("type"))
		count(s.Total, at.Child("total"))
		count(s.Allocatable, at.Child("allocatable"))
	}
	if s := p.ShareableSummary; s != nil {
		at := at.Child("shareableSummary")
		count(s.FullyAvailableDevices, at.Child("fullyAvailableDevices"))
		count(s.PartiallyAvailableDevices, at.Child("partiallyAvailableDevices"))
		errs = append(errs, atMost(len(s.Capacity), 32, at.Child("capacity"))...)
		for n, c := range s.Capacity {
			at := at.Child("capacity").Index(n)
			need(c.Name == "", at.Child("name"))
			need(c.Total == nil, at.Child("total"))
			need(c.Consumed == nil, at.Child("consumed"))
			need(c.Available == nil, at.Child("available"))
		}
	}
	return errs
}

func atLeast[N int32 | int64](n, least N, at *field.Path) field.ErrorList {
	if n < least {
		return field.ErrorList{field.Invalid(at, n, "must be greater than or equal to "+strconv.Itoa(int(least)))}
	}
	return nil
}

// validateCaseless is the format k8s-long-name-caseless of the API's tags.
func validateCaseless(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	for _, msg := range content.IsDNS1123SubdomainCaseless(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// validateSegments is the format k8s-resource-pool-name of the API's tags.
func validateSegments(name string, at *field.Path) (errs field.ErrorList) {
	if len(name) > 253 {
		errs = append(errs, field.TooLong(at, "", 253))
	}
	for n, part := range strings.Split(name, "/") {
		prefix := "segment " + strconv.Itoa(n) + ": "
		if part == "" {
			errs = append(errs, field.Invalid(at, name, prefix+"must not be empty"))
			continue
		}
		for _, msg := range content.IsDNS1123Subdomain(part) {
			errs = append(errs, field.Invalid(at, part, prefix+msg))
		}
	}
	return errs
}

func validatePoolConditions(list []metav1.Condition, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), 10, at)...)
	seen := map[string]bool{}
	for n, c := range list {
		if seen[c.Type] {
			errs = append(errs, field.Duplicate(at.Index(n), c.Type))
		}
		seen[c.Type] = true
		errs = append(errs, metav1validation.ValidateCondition(c, at.Index(n))...)
	}
	return errs
}
