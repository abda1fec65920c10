package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Binding puts a pod on a node. It is never stored.
var Binding = api.Define(api.Resource[*corev1.Binding]{
	Version: "v1", Plural: "bindings", Scope: api.Namespaced, Virtual: true, Verbs: create,
})

// ComponentStatus told the health of the control plane; deprecated since 1.19.
var ComponentStatus = api.Define(api.Resource[*corev1.ComponentStatus]{
	Version: "v1", Plural: "componentstatuses", Singular: "componentstatus", Short: []string{"cs"},
	Virtual: true, Verbs: []string{"get", "list"},
	Columns: []api.Column[*corev1.ComponentStatus]{
		{Name: "Name"},
		{Name: "Status", Help: "Status of the component conditions", Show: func(c *corev1.ComponentStatus) any {
			switch healthy(c).Status {
			case corev1.ConditionTrue:
				return "Healthy"
			case corev1.ConditionFalse:
				return "Unhealthy"
			}
			return "Unknown"
		}},
		{Name: "Message", Help: "Message of the component conditions", Show: func(c *corev1.ComponentStatus) any { return healthy(c).Message }},
		{Name: "Error", Help: "Error of the component conditions", Show: func(c *corev1.ComponentStatus) any { return healthy(c).Error }},
	},
})

func healthy(c *corev1.ComponentStatus) corev1.ComponentCondition {
	for _, cond := range c.Conditions {
		if cond.Type == corev1.ComponentHealthy {
			return cond
		}
	}
	return corev1.ComponentCondition{}
}
