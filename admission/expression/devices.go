package expression

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	devicecel "k8s.io/dynamic-resource-allocation/cel"

	"github.com/lighter-k8s/lighter/api"
)

// ofDevices are the features that 1.37 has on by default. The published compiler of device selectors is made at its first use.
var ofDevices = devicecel.Features{EnableConsumableCapacity: true}

// devices is the budget of selectors, of which the cost is told too: one of the greatest length is within it, or a hundred usual ones.
func devices() *Budget { return &Budget{Dear: 3} }

// CheckDeviceClass complains about a DeviceClass whose selectors do not compile or may cost too much. Those that were stored before are not
// looked at again.
func CheckDeviceClass(obj, old api.Object) field.ErrorList {
	var before []resourcev1.DeviceSelector
	if old != nil {
		before = old.(*resourcev1.DeviceClass).Spec.Selectors
	}
	return checkSelectors(obj.(*resourcev1.DeviceClass).Spec.Selectors, before, field.NewPath("spec", "selectors"), devices())
}

// CheckResourceClaim is CheckDeviceClass for a ResourceClaim, whose spec never changes.
func CheckResourceClaim(obj, old api.Object) field.ErrorList {
	if old != nil {
		return nil
	}
	return checkRequests(obj.(*resourcev1.ResourceClaim).Spec.Devices.Requests, field.NewPath("spec", "devices", "requests"))
}

// CheckResourceClaimTemplate is CheckResourceClaim for a template of claims, of which all is said that is wrong when it may not change anyway.
func CheckResourceClaimTemplate(obj, old api.Object) field.ErrorList {
	if old != nil && equality.Semantic.DeepEqual(obj.(*resourcev1.ResourceClaimTemplate).Spec, old.(*resourcev1.ResourceClaimTemplate).Spec) {
		return nil
	}
	return checkRequests(obj.(*resourcev1.ResourceClaimTemplate).Spec.Spec.Devices.Requests, field.NewPath("spec", "spec", "devices", "requests"))
}

// checkRequests leaves lists that are too long, here and below, to the record's own rules: they bound what is compiled.
func checkRequests(list []resourcev1.DeviceRequest, at *field.Path) (errs field.ErrorList) {
	if len(list) > resourcev1.DeviceRequestsMaxSize {
		return nil
	}
	b := devices()
	for n, r := range list {
		at := at.Index(n)
		if r.Exactly != nil && len(r.FirstAvailable) > 0 {
			continue // one of them must go
		}
		if r.Exactly != nil {
			errs = append(errs, checkSelectors(r.Exactly.Selectors, nil, at.Child("exactly", "selectors"), b)...)
		}
		if len(r.FirstAvailable) > resourcev1.FirstAvailableDeviceRequestMaxSize {
			continue
		}
		for n, s := range r.FirstAvailable {
			errs = append(errs, checkSelectors(s.Selectors, nil, at.Child("firstAvailable").Index(n).Child("selectors"), b)...)
		}
	}
	return errs
}

func checkSelectors(list, before []resourcev1.DeviceSelector, at *field.Path, b *Budget) (errs field.ErrorList) {
	if len(list) > resourcev1.DeviceSelectorsMaxSize {
		return nil
	}
	mode := environment.NewExpressions
	for n, s := range list {
		at := at.Index(n).Child("cel", "expression")
		if s.CEL == nil || len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength ||
			slices.ContainsFunc(before, func(o resourcev1.DeviceSelector) bool { return o.CEL != nil && *o.CEL == *s.CEL }) {
			continue
		}
		if ok, said := b.Spend(s.CEL.Expression, at); !ok {
			errs = append(errs, said...)
			continue
		}
		switch made := devicecel.GetCompiler(ofDevices).CompileCELExpression(s.CEL.Expression, devicecel.Options{EnvType: &mode}); {
		case made.Error != nil:
			errs = append(errs, Complain(made.Error, s.CEL.Expression, at)...)
		case made.MaxCost > resourcev1.CELSelectorExpressionMaxCost:
			errs = append(errs, field.Forbidden(at, "too complex, exceeds cost limit"))
		}
	}
	return errs
}
