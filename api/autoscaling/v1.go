package autoscaling

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// HorizontalPodAutoscalerV1 is the view of autoscaling/v1: CPU alone in fields, what
// v2 has beside it in annotations. Source: HorizontalPodAutoscaler documentation, API object.
var HorizontalPodAutoscalerV1 = api.Define(api.Resource[*autoscalingv1.HorizontalPodAutoscaler]{
	Group: "autoscaling", Version: "v1", Plural: "horizontalpodautoscalers", Short: []string{"hpa"}, Categories: all, Scope: api.Namespaced,
	StoredIn: HorizontalPodAutoscaler,
	ToStored: func(h *autoscalingv1.HorizontalPodAutoscaler) (api.Object, error) { return toV2(h) },
	Load: func(o api.Object) (*autoscalingv1.HorizontalPodAutoscaler, error) {
		return toV1(o.(*autoscalingv2.HorizontalPodAutoscaler))
	},
	Default: func(h *autoscalingv1.HorizontalPodAutoscaler) { core.OrNew(&h.Spec.MinReplicas, 1) },
	Prepare: func(h, old *autoscalingv1.HorizontalPodAutoscaler) {
		h.Status = autoscalingv1.HorizontalPodAutoscalerStatus{}
		if old != nil {
			h.Status = old.Status
		}
	},
	Validate: func(h, _ *autoscalingv1.HorizontalPodAutoscaler) field.ErrorList {
		v2, err := toV2(h)
		if err != nil {
			return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations"), field.OmitValueType{}, err.Error())}
		}
		return validate(v2, nil)
	},
	GenerationOf: func(h *autoscalingv1.HorizontalPodAutoscaler) any { // v2's spec, part of which is in annotations
		return struct {
			Spec              *autoscalingv1.HorizontalPodAutoscalerSpec
			Metrics, Behavior string
		}{&h.Spec, h.Annotations[metricsKey], h.Annotations[behaviorKey]}
	},
	Status: &api.Status[*autoscalingv1.HorizontalPodAutoscaler]{Copy: func(dst, src *autoscalingv1.HorizontalPodAutoscaler) { dst.Status = src.Status },
		Validate: func(h, _ *autoscalingv1.HorizontalPodAutoscaler) field.ErrorList {
			v2, err := toV2(h)
			if err != nil {
				return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations"), field.OmitValueType{}, err.Error())}
			}
			return validateStatus(v2, nil)
		}},
	Columns: columns(func(h *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
		v2, err := toV2(h)
		if err != nil { // the annotation is broken: the rest still shows
			return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: h.ObjectMeta}
		}
		return v2
	}),
})

// The annotations that carry to v1 what it has no fields for.
const (
	metricsKey    = "autoscaling.alpha.kubernetes.io/metrics"
	currentKey    = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsKey = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorKey   = "autoscaling.alpha.kubernetes.io/behavior"
)

func isCPU(m *autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU &&
		m.Resource.Target.AverageUtilization != nil
}

func toV1(h *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	out := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: *h.ObjectMeta.DeepCopy()}
	out.APIVersion, out.Kind = "autoscaling/v1", "HorizontalPodAutoscaler"
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(h.Spec.ScaleTargetRef), MinReplicas: h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas}
	for _, key := range []string{metricsKey, currentKey, conditionsKey, behaviorKey} {
		delete(out.Annotations, key)
	}
	var metrics []autoscalingv1.MetricSpec
	for i := range h.Spec.Metrics {
		m := &h.Spec.Metrics[i]
		if isCPU(m) && out.Spec.TargetCPUUtilizationPercentage == nil {
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
			continue
		}
		metrics = append(metrics, metricV1(m))
	}
	var current []autoscalingv1.MetricStatus
	for i := range h.Status.CurrentMetrics {
		m := &h.Status.CurrentMetrics[i]
		if m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
		current = append(current, statusV1(m))
	}
	keep := func(key string, there bool, value any) error {
		if !there {
			return nil
		}
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[key] = string(text)
		return nil
	}
	for _, err := range []error{
		keep(metricsKey, len(metrics) > 0, metrics), keep(currentKey, len(current) > 0, current),
		keep(conditionsKey, len(h.Status.Conditions) > 0, h.Status.Conditions), keep(behaviorKey, h.Spec.Behavior != nil, behaviorOf(h.Spec.Behavior)),
	} {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// behavior is how the annotation has the field: by the names of Kubernetes' Go type, without the JSON tags.
type behavior struct{ ScaleUp, ScaleDown *scalingRules }

type scalingRules struct {
	StabilizationWindowSeconds *int32
	SelectPolicy               *autoscalingv2.ScalingPolicySelect
	Policies                   []scalingPolicy
	Tolerance                  *resource.Quantity
}

type scalingPolicy struct {
	Type          autoscalingv2.HPAScalingPolicyType
	Value         int32
	PeriodSeconds int32
}

func behaviorOf(b *autoscalingv2.HorizontalPodAutoscalerBehavior) *behavior {
	rules := func(r *autoscalingv2.HPAScalingRules) *scalingRules {
		if r == nil {
			return nil
		}
		out := &scalingRules{r.StabilizationWindowSeconds, r.SelectPolicy, nil, r.Tolerance}
		for _, p := range r.Policies {
			out.Policies = append(out.Policies, scalingPolicy(p))
		}
		return out
	}
	if b == nil {
		return nil
	}
	return &behavior{rules(b.ScaleUp), rules(b.ScaleDown)}
}

func toV2(h *autoscalingv1.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	out := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: h.ObjectMeta}
	out.APIVersion, out.Kind = "autoscaling/v2", "HorizontalPodAutoscaler"
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef), MinReplicas: h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas}
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas}
	if p := h.Spec.TargetCPUUtilizationPercentage; p != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, cpuTarget(*p))
	}
	var metrics []autoscalingv1.MetricSpec
	var current []autoscalingv1.MetricStatus
	for _, part := range []struct {
		key  string
		into any
	}{{metricsKey, &metrics}, {currentKey, &current}, {conditionsKey, &out.Status.Conditions}, {behaviorKey, &out.Spec.Behavior}} {
		text, ok := h.Annotations[part.key]
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(text), part.into); err != nil {
			return nil, fmt.Errorf("decode annotation %s: %w", part.key, err)
		}
	}
	for i := range metrics {
		out.Spec.Metrics = append(out.Spec.Metrics, metricV2(&metrics[i]))
	}
	for i := range current {
		out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, statusV2(&current[i]))
	}
	if p := h.Status.CurrentCPUUtilizationPercentage; p != nil && len(current) == 0 {
		out.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
			Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: p}}}}
	}
	out.Annotations = maps.Clone(h.Annotations)
	for _, key := range []string{metricsKey, currentKey, conditionsKey, behaviorKey} {
		delete(out.Annotations, key)
	}
	if len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	defaultV2(out)
	return out, nil
}
