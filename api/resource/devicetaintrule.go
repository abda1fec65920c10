package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

var doc = resourcev1.DeviceTaint{}.SwaggerDoc()

// DeviceTaintRule puts a taint on every device that it selects.
var DeviceTaintRule = api.Define(api.Resource[*resourcev1.DeviceTaintRule]{
	Group: group, Version: version, StoredAs: "v1beta2", Plural: "devicetaintrules", Scope: api.Cluster,
	Default: func(r *resourcev1.DeviceTaintRule) {
		if t := &r.Spec.Taint; t.TimeAdded == nil { // who leaves it out owns it
			now := metav1.Now().Rfc3339Copy()
			t.TimeAdded = &now
		}
	},
	Prepare: func(r, old *resourcev1.DeviceTaintRule) {
		if old == nil {
			r.Status = resourcev1.DeviceTaintRuleStatus{}
		}
		stampTaint(&r.Spec.Taint, old)
	},
	Validate:     validateDeviceTaintRule,
	GenerationOf: func(r *resourcev1.DeviceTaintRule) any { return &r.Spec },
	Columns: []api.Column[*resourcev1.DeviceTaintRule]{
		{Name: "Key", Help: doc["key"], Show: func(r *resourcev1.DeviceTaintRule) any { return r.Spec.Taint.Key }},
		{Name: "Value", Help: doc["value"], Show: func(r *resourcev1.DeviceTaintRule) any { return r.Spec.Taint.Value }},
		{Name: "Effect", Help: doc["effect"], Show: func(r *resourcev1.DeviceTaintRule) any { return string(r.Spec.Taint.Effect) }},
		{Name: "TimeAdded", Help: doc["timeAdded"], Show: func(r *resourcev1.DeviceTaintRule) any {
			if r.Spec.Taint.TimeAdded == nil {
				return "<unknown>"
			}
			return api.Age(*r.Spec.Taint.TimeAdded)
		}},
	},
	Status: &api.Status[*resourcev1.DeviceTaintRule]{
		Alone:    true,
		Copy:     func(dst, src *resourcev1.DeviceTaintRule) { dst.Status = src.Status },
		Validate: validateDeviceTaintRuleStatus,
	},
})

// stampTaint sets when the present effect of a taint came. Source: type comment of timeAdded.
func stampTaint(t *resourcev1.DeviceTaint, old *resourcev1.DeviceTaintRule) {
	if old != nil && equality.Semantic.DeepEqual(t.TimeAdded, old.Spec.Taint.TimeAdded) && t.Effect != old.Spec.Taint.Effect {
		now := metav1.Now().Rfc3339Copy()
		t.TimeAdded = &now
	}
}
