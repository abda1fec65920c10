package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateFlowSchema(s, _ *flowcontrolv1.FlowSchema) (errs field.ErrorList)       { return errs }
func validateFlowSchemaStatus(s, _ *flowcontrolv1.FlowSchema) (errs field.ErrorList) { return errs }
func validatePriorityLevel(l, _ *flowcontrolv1.PriorityLevelConfiguration) (errs field.ErrorList) {
	return errs
}
func validatePriorityLevelStatus(l, _ *flowcontrolv1.PriorityLevelConfiguration) (errs field.ErrorList) {
	return errs
}
