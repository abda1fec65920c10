package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateDeviceClass(c, old *resourcev1.DeviceClass) (errs field.ErrorList)         { return nil }
func validateDeviceTaintRule(c, old *resourcev1.DeviceTaintRule) (errs field.ErrorList) { return nil }
func validateDeviceTaintRuleStatus(c, old *resourcev1.DeviceTaintRule) (errs field.ErrorList) {
	return nil
}
func validateResourceClaim(c, old *resourcev1.ResourceClaim) (errs field.ErrorList)       { return nil }
func validateResourceClaimStatus(c, old *resourcev1.ResourceClaim) (errs field.ErrorList) { return nil }
func validateResourceClaimTemplate(c, old *resourcev1.ResourceClaimTemplate) (errs field.ErrorList) {
	return nil
}
func validateResourceSlice(c, old *resourcev1.ResourceSlice) (errs field.ErrorList) { return nil }
