package resource

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// validateResourceSlice checks what a driver publishes. Source: type comments of ResourceSliceSpec.
func validateResourceSlice(s, old *resourcev1.ResourceSlice) (errs field.ErrorList) {
	spec, at := &s.Spec, field.NewPath("spec")
	errs = append(errs, validateDriverName(spec.Driver, at.Child("driver"))...)
	pool := at.Child("pool")
	errs = append(errs, validatePoolName(spec.Pool.Name, pool.Child("name"))...)
	if spec.Pool.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(pool.Child("resourceSliceCount"), spec.Pool.ResourceSliceCount, "must be greater than zero"))
	}
	if spec.Pool.Generation < 0 {
		errs = append(errs, field.Invalid(pool.Child("generation"), spec.Pool.Generation, "must be greater than or equal to zero"))
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(spec.Pool.Name, old.Spec.Pool.Name, pool.Child("name"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(spec.Driver, old.Spec.Driver, at.Child("driver"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(spec.NodeName, old.Spec.NodeName, at.Child("nodeName"))...)
	}
	perDevice := spec.PerDeviceNodeSelection != nil && *spec.PerDeviceNodeSelection
	if spec.PerDeviceNodeSelection != nil && !perDevice {
		errs = append(errs, field.Invalid(at.Child("perDeviceNodeSelection"), false, "must be either unset or set to true"))
	}
	errs = append(errs, validateWhere(spec.NodeName, spec.NodeSelector, spec.AllNodes, perDevice,
		"exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required", at)...)
	if spec.Devices != nil && spec.SharedCounters != nil {
		errs = append(errs, field.Invalid(at, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	return append(append(errs, validateCounterSets(spec.SharedCounters, at.Child("sharedCounters"))...),
		validateDevices(spec.Devices, perDevice, at.Child("devices"))...)
}

// validateWhere wants exactly one way of saying which nodes reach the devices.
func validateWhere(node *string, selector *corev1.NodeSelector, all *bool, other bool, one string, at *field.Path) (errs field.ErrorList) {
	var ways []string
	if node != nil {
		if *node == "" {
			errs = append(errs, field.Invalid(at.Child("nodeName"), *node, "must be either unset or set to a non-empty string"))
		} else {
			ways = append(ways, "`nodeName`")
			for _, msg := range apivalidation.NameIsDNSSubdomain(*node, false) {
				errs = append(errs, field.Invalid(at.Child("nodeName"), *node, msg))
			}
		}
	}
	if selector != nil {
		ways = append(ways, "`nodeSelector`")
		errs = append(errs, core.ValidateNodeSelector(selector, at.Child("nodeSelector"))...)
		if len(selector.NodeSelectorTerms) != 1 {
			errs = append(errs, field.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), selector.NodeSelectorTerms, "must have exactly one node selector term"))
		}
	}
	if all != nil {
		if *all {
			ways = append(ways, "`allNodes`")
		} else {
			errs = append(errs, field.Invalid(at.Child("allNodes"), false, "must be either unset or set to true"))
		}
	}
	if other {
		ways = append(ways, "`perDeviceNodeSelection`")
	}
	switch len(ways) {
	case 0:
		errs = append(errs, field.Required(at, one))
	case 1:
	default:
		errs = append(errs, field.Invalid(at, "{"+strings.Join(ways, ", ")+"}", one+", but multiple fields are set"))
	}
	return errs
}

func validateCounterSets(list []resourcev1.CounterSet, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.ResourceSliceMaxCounterSets, at)...)
	names := sets.Set[string]{}
	for i, s := range list {
		at := at.Index(i)
		errs = append(errs, shortName(s.Name, at.Child("name"))...)
		if names.Has(s.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), s.Name))
		}
		names.Insert(s.Name)
		errs = append(errs, validateCounters(s.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, at.Child("counters"))...)
	}
	return errs
}

// shortName wants what the marker k8s-short-name does.
func shortName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return marked(validate.ShortName, name, at)
}

func validateCounters(counters map[string]resourcev1.Counter, most int, at *field.Path) (errs field.ErrorList) {
	if len(counters) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	errs = append(errs, atMost(len(counters), most, at)...)
	for name := range counters {
		errs = append(errs, validateLabel(name, at.Key(name))...)
	}
	return errs
}

func validateDevices(list []resourcev1.Device, perDevice bool, at *field.Path) (errs field.ErrorList) {
	most, names := resourcev1.ResourceSliceMaxDevices, sets.Set[string]{}
	for i := range list {
		if len(list[i].Taints) > 0 || len(list[i].ConsumesCounters) > 0 {
			most = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	errs = append(errs, atMost(len(list), most, at)...)
	for i := range list {
		d, at := &list[i], at.Index(i)
		errs = append(errs, validateLabel(d.Name, at.Child("name"))...)
		if names.Has(d.Name) {
			errs = append(errs, field.Duplicate(at, d.Name))
		}
		names.Insert(d.Name)
		if n, most := len(d.Attributes)+len(d.Capacity), resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice; n > most {
			errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", most)))
		}
		for name, a := range d.Attributes {
			at := at.Child("attributes").Key(string(name))
			errs = append(errs, validateQualified(string(name), at)...)
			errs = append(errs, validateAttribute(&a, at)...)
		}
		for name := range d.Capacity {
			errs = append(errs, validateQualified(string(name), at.Child("capacity").Key(string(name)))...)
		}
		errs = append(errs, atMost(len(d.Taints), resourcev1.DeviceTaintsMaxLength, at.Child("taints"))...)
		for j := range d.Taints {
			errs = append(errs, validateTaint(&d.Taints[j], at.Child("taints").Index(j))...)
		}
		counters := at.Child("consumesCounters")
		errs = append(errs, atMost(len(d.ConsumesCounters), resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, counters)...)
		for j, c := range d.ConsumesCounters {
			errs = append(errs, shortName(c.CounterSet, counters.Index(j).Child("counterSet"))...)
			errs = append(errs, validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, counters.Index(j).Child("counters"))...)
		}
		errs = append(errs, validateBinding(d, at)...)
		if perDevice {
			errs = append(errs, validateWhere(d.NodeName, d.NodeSelector, d.AllNodes, false,
				"exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec", at)...)
		} else if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			errs = append(errs, field.Invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"))
		}
	}
	return errs
}

// validateBinding wants conditions of success and of failure together, if there are any.
func validateBinding(d *resourcev1.Device, at *field.Path) (errs field.ErrorList) {
	lists := []struct {
		name string
		list []string
		most int
	}{{"bindingConditions", d.BindingConditions, resourcev1.BindingConditionsMaxSize}, {"bindingFailureConditions", d.BindingFailureConditions, resourcev1.BindingFailureConditionsMaxSize}}
	for _, c := range lists {
		again := api.Again[string]()
		for i, text := range c.list {
			for _, msg := range validation.IsQualifiedName(text) {
				errs = append(errs, field.Invalid(at.Child(c.name).Index(i), text, msg))
			}
			if again(text) {
				errs = append(errs, field.Duplicate(at.Child(c.name).Index(i), text))
			}
		}
	}
	switch yes, no := len(d.BindingConditions) > 0, len(d.BindingFailureConditions) > 0; {
	case yes && !no:
		errs = append(errs, field.Invalid(at.Child("bindingFailureConditions"), nil, "bindingFailureConditions are required to use bindingConditions"))
	case no && !yes:
		errs = append(errs, field.Invalid(at.Child("bindingConditions"), nil, "bindingConditions are required to use bindingFailureConditions"))
	}
	for _, c := range lists {
		errs = append(errs, atMost(len(c.list), c.most, at.Child(c.name))...)
	}
	return errs
}

// validateAttribute wants exactly one value, and no long strings.
func validateAttribute(a *resourcev1.DeviceAttribute, at *field.Path) (errs field.ErrorList) {
	n := 0
	for _, set := range []bool{a.IntValue != nil, a.BoolValue != nil, a.StringValue != nil, a.VersionValue != nil,
		len(a.IntValues) > 0, len(a.BoolValues) > 0, len(a.StringValues) > 0, len(a.VersionValues) > 0} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"))
	case n > 1:
		errs = append(errs, field.Invalid(at, a, "exactly one value must be specified"))
	}
	short := func(s string, at *field.Path) {
		if len(s) > resourcev1.DeviceAttributeMaxValueLength {
			errs = append(errs, field.TooLong(at, s, resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	if a.StringValue != nil {
		short(*a.StringValue, at.Child("string"))
	}
	if a.VersionValue != nil {
		short(*a.VersionValue, at.Child("version"))
	}
	for i, s := range a.StringValues {
		short(s, at.Child("strings").Index(i))
	}
	for i, s := range a.VersionValues {
		short(s, at.Child("versions").Index(i))
	}
	return errs
}
