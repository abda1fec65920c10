package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Counts tells whether the quota's scopes take the object in. Only pods and claims have properties that scopes ask for; other
// objects are in no quota with scopes.
func Counts(q *corev1.ResourceQuota, obj api.Object) bool {
	for _, r := range requirements(q) {
		switch o := obj.(type) {
		case *corev1.Pod:
			if !podIn(r, o) {
				return false
			}
		case *corev1.PersistentVolumeClaim:
			if r.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass || !classIn(r, claimClasses(o)) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// requirements are the quota's scopes in both of their forms.
func requirements(q *corev1.ResourceQuota) (out []corev1.ScopedResourceSelectorRequirement) {
	for _, s := range q.Spec.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		out = append(out, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return out
}

func podIn(r corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) bool {
	deadline := pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
	switch r.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return deadline
	case corev1.ResourceQuotaScopeNotTerminating:
		return !deadline
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return looksElsewhere(pod)
	case corev1.ResourceQuotaScopePriorityClass:
		var classes []string
		if pod.Spec.PriorityClassName != "" {
			classes = []string{pod.Spec.PriorityClassName}
		}
		return classIn(r, classes)
	}
	return false
}

// classIn holds the classes that an object names against a requirement.
func classIn(r corev1.ScopedResourceSelectorRequirement, classes []string) bool {
	named := slices.ContainsFunc(classes, func(c string) bool { return slices.Contains(r.Values, c) })
	switch r.Operator {
	case corev1.ScopeSelectorOpExists:
		return len(classes) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(classes) == 0
	case corev1.ScopeSelectorOpIn:
		return named
	case corev1.ScopeSelectorOpNotIn:
		return !named
	}
	return false
}

// claimClasses are the volume attributes classes that a claim has, had, or is changing to.
func claimClasses(c *corev1.PersistentVolumeClaim) (out []string) {
	add := func(name *string) {
		if name != nil && *name != "" && !slices.Contains(out, *name) {
			out = append(out, *name)
		}
	}
	add(c.Spec.VolumeAttributesClassName)
	add(c.Status.CurrentVolumeAttributesClassName)
	if m := c.Status.ModifyVolumeStatus; m != nil {
		add(&m.TargetVolumeAttributesClassName)
	}
	return out
}

// bestEffort: no container of the pod asks for cpu or memory, or has a limit of it.
// Source: Kubernetes documentation, Pod Quality of Service Classes.
func bestEffort(pod *corev1.Pod) bool {
	asks := func(r corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if q := list[name]; !q.IsZero() {
					return true
				}
			}
		}
		return false
	}
	if pod.Spec.Resources != nil && asks(*pod.Spec.Resources) {
		return false
	}
	any := func(c corev1.Container) bool { return asks(c.Resources) }
	return !slices.ContainsFunc(pod.Spec.Containers, any) && !slices.ContainsFunc(pod.Spec.InitContainers, any)
}

// looksElsewhere: the pod's affinity names namespaces.
func looksElsewhere(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	for _, p := range []*corev1.PodAffinity{a.PodAffinity, (*corev1.PodAffinity)(a.PodAntiAffinity)} {
		if p == nil {
			continue
		}
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		for _, w := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
