package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// LimitRange bounds and defaults what single pods, containers and claims of a namespace use.
var LimitRange = api.Define(api.Resource[*corev1.LimitRange]{
	Version: "v1", Plural: "limitranges", Short: []string{"limits"}, Scope: api.Namespaced,
	Default:  defaultLimitRange,
	Validate: validateLimitRange,
	// Upstream prints no columns of its own here.
	Columns: []api.Column[*corev1.LimitRange]{
		{Name: "Name"},
		{Name: "Created At", Type: "date", Help: corev1.LimitRange{}.ObjectMeta.SwaggerDoc()["creationTimestamp"],
			Show: func(l *corev1.LimitRange) any { return l.CreationTimestamp.UTC().Format(time.RFC3339) }},
	},
})

// defaultLimitRange lets a container's default limit be its maximum, and its default
// request be its default limit, else its minimum.
func defaultLimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			fill := func(dst *corev1.ResourceList, src corev1.ResourceList) {
				if *dst == nil {
					*dst = corev1.ResourceList{}
				}
				for name, q := range src {
					if _, ok := (*dst)[name]; !ok {
						(*dst)[name] = q.DeepCopy()
					}
				}
			}
			fill(&item.Default, item.Max)
			fill(&item.DefaultRequest, item.Default)
			fill(&item.DefaultRequest, item.Min)
		}
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			roundUp(list)
		}
	}
}
