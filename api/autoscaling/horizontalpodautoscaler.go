// Package autoscaling holds the records of the group autoscaling: the
// HorizontalPodAutoscaler in version v2, and in v1 as a view of that.
package autoscaling

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// All lists the resources of the group, the preferred version first.
var All = []*api.Info{HorizontalPodAutoscaler, HorizontalPodAutoscalerV1}

var all = []string{"all"}

// HorizontalPodAutoscaler sets a workload's replicas by what its pods use.
var HorizontalPodAutoscaler = api.Define(api.Resource[*autoscalingv2.HorizontalPodAutoscaler]{
	Group: "autoscaling", Version: "v2", Plural: "horizontalpodautoscalers", Short: []string{"hpa"}, Categories: all, Scope: api.Namespaced,
	Default: defaultV2,
	Prepare: func(h, old *autoscalingv2.HorizontalPodAutoscaler) {
		h.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
		if old != nil {
			h.Status = old.Status
		}
	},
	Validate:     validate,
	GenerationOf: func(h *autoscalingv2.HorizontalPodAutoscaler) any { return &h.Spec },
	Status:       &api.Status[*autoscalingv2.HorizontalPodAutoscaler]{Copy: func(dst, src *autoscalingv2.HorizontalPodAutoscaler) { dst.Status = src.Status }, Validate: validateStatus},
	Columns:      columns(func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler { return h }),
})

func defaultV2(h *autoscalingv2.HorizontalPodAutoscaler) {
	core.OrNew(&h.Spec.MinReplicas, 1)
	if len(h.Spec.Metrics) == 0 {
		percent := int32(80)
		h.Spec.Metrics = []autoscalingv2.MetricSpec{cpuTarget(percent)}
	}
	b := h.Spec.Behavior
	if b == nil {
		return
	}
	// Up: at once, at most four pods or double in 15 s. Down: at most all in 15 s.
	up := core.OrNew(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
	core.OrNew(&up.StabilizationWindowSeconds, 0)
	core.OrNew(&up.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if up.Policies == nil {
		up.Policies = []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
		}
	}
	down := core.OrNew(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
	core.OrNew(&down.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if down.Policies == nil {
		down.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}
	}
}

func cpuTarget(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

// columns are the same for both versions; view gives the v2 object.
func columns[T api.Object](view func(T) *autoscalingv2.HorizontalPodAutoscaler) []api.Column[T] {
	doc, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return []api.Column[T]{
		{Name: "Reference", Help: doc["scaleTargetRef"], Show: func(o T) any {
			r := view(o).Spec.ScaleTargetRef
			return r.Kind + "/" + r.Name
		}},
		{Name: "Targets", Help: autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()["metrics"], Show: func(o T) any { return targets(view(o)) }},
		{Name: "MinPods", Help: doc["minReplicas"], Show: func(o T) any {
			if n := view(o).Spec.MinReplicas; n != nil {
				return fmt.Sprint(*n)
			}
			return "<unset>"
		}},
		{Name: "MaxPods", Help: doc["maxReplicas"], Show: func(o T) any { return int64(view(o).Spec.MaxReplicas) }},
		{Name: "Replicas", Help: status["currentReplicas"], Show: func(o T) any { return int64(view(o).Status.CurrentReplicas) }},
	}
}

// targets shows the first two metrics, "cpu: 10%/80%, memory: <unknown>/1Gi".
func targets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	if len(h.Spec.Metrics) == 0 {
		return "<none>"
	}
	var words []string
	for i := range h.Spec.Metrics {
		var now *autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			now = &h.Status.CurrentMetrics[i]
		}
		words = append(words, metric(&h.Spec.Metrics[i], now))
	}
	const most = 2
	if more := len(words) - most; more > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(words[:most], ", "), more)
	}
	return strings.Join(words, ", ")
}

func metric(m *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	if now == nil {
		now = &autoscalingv2.MetricStatus{}
	}
	var current *autoscalingv2.MetricValueStatus
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		if now.External != nil {
			current = &now.External.Current
		}
		return average(&m.External.Target, current)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		if now.Pods != nil {
			current = &now.Pods.Current
		}
		return known(current, func(v *autoscalingv2.MetricValueStatus) *resource.Quantity { return v.AverageValue }) + "/" + text(m.Pods.Target.AverageValue)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		if now.Object != nil {
			current = &now.Object.Current
		}
		return average(&m.Object.Target, current)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		if now.Resource != nil {
			current = &now.Resource.Current
		}
		return string(m.Resource.Name) + ": " + usage(&m.Resource.Target, current)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		if now.ContainerResource != nil {
			current = &now.ContainerResource.Current
		}
		return string(m.ContainerResource.Name) + ": " + usage(&m.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

func text(q *resource.Quantity) string {
	if q == nil {
		return "<auto>"
	}
	return q.String()
}

func known(v *autoscalingv2.MetricValueStatus, of func(*autoscalingv2.MetricValueStatus) *resource.Quantity) string {
	if v == nil || of(v) == nil {
		return "<unknown>"
	}
	return of(v).String()
}

// average is of a metric counted per pod, or else as a whole.
func average(t *autoscalingv2.MetricTarget, v *autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return known(v, func(v *autoscalingv2.MetricValueStatus) *resource.Quantity { return v.AverageValue }) + "/" + t.AverageValue.String() + " (avg)"
	}
	return known(v, func(v *autoscalingv2.MetricValueStatus) *resource.Quantity { return v.Value }) + "/" + text(t.Value)
}

// usage is of a resource, as an amount or as a share of what the pods request.
func usage(t *autoscalingv2.MetricTarget, v *autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return known(v, func(v *autoscalingv2.MetricValueStatus) *resource.Quantity { return v.AverageValue }) + "/" + t.AverageValue.String()
	}
	have, want := "<unknown>", "<auto>"
	if v != nil && v.AverageUtilization != nil {
		have = fmt.Sprintf("%d%%", *v.AverageUtilization)
	}
	if t.AverageUtilization != nil {
		want = fmt.Sprintf("%d%%", *t.AverageUtilization)
	}
	return have + "/" + want
}
