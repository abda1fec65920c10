// Package scheduling holds the record of scheduling.k8s.io/v1.
package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources.
var All = []*api.Info{PriorityClass}

// Names that begin with SystemPrefix are Kubernetes' own; users' values end at HighestUserPriority.
const (
	SystemPrefix           = "system-"
	HighestUserPriority    = int32(1000000000)
	SystemCriticalPriority = 2 * HighestUserPriority
)

// system are the classes that every cluster has. Source: documentation, Guaranteed Scheduling For Critical Add-On Pods.
var system = map[string]int32{
	"system-cluster-critical": SystemCriticalPriority,
	"system-node-critical":    SystemCriticalPriority + 1000,
}

// PriorityClass names a priority that pods can have.
var PriorityClass = api.Define(api.Resource[*schedulingv1.PriorityClass]{
	Group: schedulingv1.GroupName, Version: "v1", Plural: "priorityclasses", Short: []string{"pc"}, Scope: api.Cluster,
	Default: func(c *schedulingv1.PriorityClass) {
		if c.PreemptionPolicy == nil {
			p := corev1.PreemptLowerPriority
			c.PreemptionPolicy = &p
		}
	},
	Validate: validatePriorityClass,
	// Only the description and the default may change; generation stays 1.
	GenerationOf: func(c *schedulingv1.PriorityClass) any { return &c.Value },
	Columns: []api.Column[*schedulingv1.PriorityClass]{
		{Name: "Value", Type: "integer", Help: schedulingv1.PriorityClass{}.SwaggerDoc()["value"], Show: func(c *schedulingv1.PriorityClass) any { return int64(c.Value) }},
		{Name: "Global-Default", Type: "boolean", Help: schedulingv1.PriorityClass{}.SwaggerDoc()["globalDefault"], Show: func(c *schedulingv1.PriorityClass) any { return c.GlobalDefault }},
		{Name: "Age"},
		{Name: "PreemptionPolicy", Help: schedulingv1.PriorityClass{}.SwaggerDoc()["preemptionPolicy"], Show: func(c *schedulingv1.PriorityClass) any {
			if c.PreemptionPolicy == nil {
				return ""
			}
			return string(*c.PreemptionPolicy)
		}},
	},
})

func validatePriorityClass(c, old *schedulingv1.PriorityClass) (errs field.ErrorList) {
	if old != nil {
		if c.Value != old.Value {
			errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
		}
		return append(errs, apivalidation.ValidateImmutableField(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	}
	if strings.HasPrefix(c.Name, SystemPrefix) {
		if value, ok := system[c.Name]; !ok || c.Value != value || c.GlobalDefault {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+SystemPrefix+"' prefix are reserved for system use only. error: "+systemError(c)))
		}
	} else if c.Value > HighestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", HighestUserPriority)))
	}
	if p := c.PreemptionPolicy; p != nil {
		switch *p {
		case corev1.PreemptLowerPriority, corev1.PreemptNever:
		case "":
			errs = append(errs, field.Required(field.NewPath("preemptionPolicy"), ""))
		default:
			errs = append(errs, field.NotSupported(field.NewPath("preemptionPolicy"), *p, []corev1.PreemptionPolicy{corev1.PreemptLowerPriority, corev1.PreemptNever}))
		}
	}
	return errs
}

// systemError says why a class with a reserved name is not one of ours.
func systemError(c *schedulingv1.PriorityClass) string {
	value, ok := system[c.Name]
	switch {
	case !ok:
		return fmt.Sprintf("%v is not a known system priority class", c.Name)
	case c.Value != value:
		return fmt.Sprintf("value of %v PriorityClass must be %v", c.Name, value)
	default:
		return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", c.Name, false)
	}
}
