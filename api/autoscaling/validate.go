package autoscaling

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api/core"
)

func validate(h, old *autoscalingv2.HorizontalPodAutoscaler) (errs field.ErrorList) {
	s, spec := &h.Spec, field.NewPath("spec")
	if n := s.MinReplicas; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(spec.Child("minReplicas"), *n, "must be greater than or equal to 0"))
	}
	if n := s.MinReplicas; n != nil && s.MaxReplicas < *n {
		errs = append(errs, field.Invalid(spec.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, reference(&s.ScaleTargetRef, spec.Child("scaleTargetRef"))...)
	if r := s.ScaleTargetRef; (old == nil || r != old.Spec.ScaleTargetRef) && r.Kind != "ReplicationController" {
		if v, err := schema.ParseGroupVersion(r.APIVersion); err == nil && v.Group == "" {
			errs = append(errs, field.Invalid(spec.Child("scaleTargetRef", "apiVersion"), r.APIVersion, "apiVersion must specify API group"))
		}
	}
	for i := range s.Metrics {
		errs = append(errs, validateMetric(&s.Metrics[i], spec.Child("metrics").Index(i))...)
	}
	if n := s.MinReplicas; n != nil && *n == 0 && !slices.ContainsFunc(s.Metrics, worksAtZero) {
		errs = append(errs, field.Forbidden(spec.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	if b := s.Behavior; b != nil {
		errs = append(errs, validateRules(b.ScaleUp, spec.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateRules(b.ScaleDown, spec.Child("behavior", "scaleDown"))...)
	}
	switch n := s.MaxReplicas; { // the rules that the type itself says come last
	case n == 0:
		errs = append(errs, field.Required(spec.Child("maxReplicas"), ""))
	case n < 1:
		errs = append(errs, field.Invalid(spec.Child("maxReplicas"), n, "must be greater than or equal to 1"))
	}
	return errs
}

// worksAtZero tells whether a metric has a value while there are no pods (on by default since 1.37).
func worksAtZero(m autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
}

func segment(value string, at *field.Path) (errs field.ErrorList) {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	for _, msg := range path.IsValidPathSegmentName(value) {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}

func reference(r *autoscalingv2.CrossVersionObjectReference, at *field.Path) field.ErrorList {
	return append(segment(r.Kind, at.Child("kind")), segment(r.Name, at.Child("name"))...)
}

const (
	maxWindow = 3600 // seconds
	maxPeriod = 1800
)

func validateRules(r *autoscalingv2.HPAScalingRules, at *field.Path) (errs field.ErrorList) {
	if r == nil {
		return nil
	}
	if w := r.StabilizationWindowSeconds; w != nil {
		if *w < 0 {
			errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), *w, "must be greater than or equal to zero"))
		}
		if *w > maxWindow {
			errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), *w, fmt.Sprintf("must be less than or equal to %v", maxWindow)))
		}
	}
	if p := r.SelectPolicy; p != nil {
		errs = append(errs, core.OneOf(*p, at.Child("selectPolicy"), autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	}
	if t := r.Tolerance; t != nil && t.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("tolerance"), t.String(), "must be greater than or equal to 0"))
	}
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(at.Child("policies"), "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		in := at.Child("policies").Index(i)
		errs = append(errs, core.OneOf(p.Type, in.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(in.Child("value"), p.Value, "must be greater than zero"))
		}
		if p.PeriodSeconds <= 0 {
			errs = append(errs, field.Invalid(in.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
		}
		if p.PeriodSeconds > maxPeriod {
			errs = append(errs, field.Invalid(in.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", maxPeriod)))
		}
	}
	return errs
}

func validateMetric(m *autoscalingv2.MetricSpec, at *field.Path) (errs field.ErrorList) {
	if m.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric source type"))
	}
	if len(errs) > 0 || m.Type != "" {
		errs = append(errs, core.OneOf(m.Type, at.Child("type"), autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
			autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)...)
	}
	if len(errs) > 0 {
		return errs
	}
	sources := []struct {
		name  string
		kind  autoscalingv2.MetricSourceType
		set   bool
		check func(at *field.Path) field.ErrorList
	}{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(at *field.Path) field.ErrorList {
			errs := append(reference(&m.Object.DescribedObject, at.Child("describedObject")), identifier(&m.Object.Metric, at.Child("metric"))...)
			errs = append(errs, target(&m.Object.Target, at.Child("target"))...)
			if m.Object.Target.Value == nil && m.Object.Target.AverageValue == nil {
				errs = append(errs, field.Required(at.Child("target").Child("averageValue"), "must set either a target value or averageValue"))
			}
			return errs
		}},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(at *field.Path) field.ErrorList {
			errs := append(identifier(&m.External.Metric, at.Child("metric")), target(&m.External.Target, at.Child("target"))...)
			switch t := m.External.Target; {
			case t.Value == nil && t.AverageValue == nil:
				errs = append(errs, field.Required(at.Child("target").Child("averageValue"), "must set either a target value for metric or a per-pod target"))
			case t.Value != nil && t.AverageValue != nil:
				errs = append(errs, field.Forbidden(at.Child("target").Child("value"), "may not set both a target value for metric and a per-pod target"))
			}
			return errs
		}},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(at *field.Path) field.ErrorList {
			errs := append(identifier(&m.Pods.Metric, at.Child("metric")), target(&m.Pods.Target, at.Child("target"))...)
			if m.Pods.Target.AverageValue == nil {
				errs = append(errs, field.Required(at.Child("target").Child("averageValue"), "must specify a positive target averageValue"))
			}
			return errs
		}},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(at *field.Path) field.ErrorList {
			return resourceMetric(string(m.Resource.Name), &m.Resource.Target, at)
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(at *field.Path) field.ErrorList {
			errs := resourceMetric(string(m.ContainerResource.Name), &m.ContainerResource.Target, at)
			if m.ContainerResource.Container == "" {
				errs = append(errs, field.Required(at.Child("container"), "must specify a container"))
			}
			return errs
		}},
	}
	var others field.ErrorList
	met := false // those after the right one are not looked into
	for _, s := range sources {
		switch {
		case s.kind == m.Type && !s.set:
			errs = append(errs, field.Required(at.Child(s.name), "must populate information for the given metric source"))
		case s.set:
			if !met {
				errs = append(errs, s.check(at.Child(s.name))...)
			}
			if s.kind != m.Type {
				others = append(others, field.Forbidden(at.Child(s.name), "must populate the given metric source only"))
			}
		}
		met = met || s.kind == m.Type
	}
	return append(errs, others...)
}

func identifier(id *autoscalingv2.MetricIdentifier, at *field.Path) field.ErrorList {
	if id.Name == "" {
		return field.ErrorList{field.Required(at.Child("name"), "must specify a metric name")}
	}
	return segment(id.Name, at.Child("name"))
}

func resourceMetric(name string, t *autoscalingv2.MetricTarget, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		errs = append(errs, field.Required(at.Child("name"), "must specify a resource name"))
	}
	errs = append(errs, target(t, at.Child("target"))...)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		errs = append(errs, field.Required(at.Child("target").Child("averageUtilization"), "must set either a target raw value or a target utilization"))
	case t.AverageUtilization != nil && t.AverageValue != nil:
		errs = append(errs, field.Forbidden(at.Child("target").Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateStatus(h, _ *autoscalingv2.HorizontalPodAutoscaler) (errs field.ErrorList) {
	at := field.NewPath("status")
	notNegative := func(n int64, at *field.Path) { errs = append(errs, core.NonNegative(n, at)...) }
	notNegative(int64(h.Status.CurrentReplicas), at.Child("currentReplicas"))
	notNegative(int64(h.Status.DesiredReplicas), at.Child("desiredReplicas"))
	for i, c := range h.Status.Conditions {
		if g := c.ObservedGeneration; g != nil {
			notNegative(*g, at.Child("conditions").Index(i).Child("observedGeneration"))
		}
	}
	return errs
}

func target(t *autoscalingv2.MetricTarget, at *field.Path) (errs field.ErrorList) {
	if t.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric target type"))
	}
	if t.Type != autoscalingv2.UtilizationMetricType && t.Type != autoscalingv2.ValueMetricType && t.Type != autoscalingv2.AverageValueMetricType {
		errs = append(errs, field.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	for _, v := range []struct {
		name string
		of   *resource.Quantity
	}{{"value", t.Value}, {"averageValue", t.AverageValue}} {
		if v.of != nil && v.of.Sign() != 1 {
			errs = append(errs, field.Invalid(at.Child(v.name), *v.of, "must be positive"))
		}
	}
	if u := t.AverageUtilization; u != nil && *u < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), *u, "must be greater than 0"))
	}
	return errs
}
