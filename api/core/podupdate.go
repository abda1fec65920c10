package core

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// frozenPod is what a user reads who changes what a pod keeps.
const frozenPod = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// validatePodUpdate lets images, a shorter deadline, further tolerations, gates that go
// and (behind gates) placement change: nothing else. Source: Pod documentation, "Pod update and replacement".
func validatePodUpdate(p, old *corev1.Pod) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, imagesOnly(p.Spec.Containers, old.Spec.Containers, spec.Child("containers"))...)
	errs = append(errs, imagesOnly(p.Spec.InitContainers, old.Spec.InitContainers, spec.Child("initContainers"))...)
	if len(errs) > 0 {
		return errs
	}
	was := old.Spec.ActiveDeadlineSeconds
	switch now := p.Spec.ActiveDeadlineSeconds; {
	case now != nil && (*now < 0 || *now > math.MaxInt32):
		return field.ErrorList{field.Invalid(spec.Child("activeDeadlineSeconds"), *now, "must be between 0 and 2147483647, inclusive")}
	case now != nil && was != nil && *was < *now:
		return field.ErrorList{field.Invalid(spec.Child("activeDeadlineSeconds"), *now, "must be less than or equal to previous value")}
	case now == nil && was != nil:
		errs = append(errs, field.Invalid(spec.Child("activeDeadlineSeconds"), now, "must not update from a positive integer to nil value"))
	}
	errs = append(errs, addedTolerations(p.Spec.Tolerations, old.Spec.Tolerations, spec.Child("tolerations"))...)
	gates := sets.New(old.Spec.SchedulingGates...)
	for i, g := range p.Spec.SchedulingGates {
		if !gates.Has(g) {
			errs = append(errs, field.Forbidden(spec.Child("schedulingGates").Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
	copied := p.Spec
	now := &copied
	now.Containers, now.InitContainers = slices.Clone(now.Containers), slices.Clone(now.InitContainers)
	for i := range now.Containers {
		now.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range now.InitContainers {
		now.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	now.ActiveDeadlineSeconds, now.Tolerations, now.SchedulingGates = was, old.Spec.Tolerations, old.Spec.SchedulingGates
	if g := old.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 && now.TerminationGracePeriodSeconds != nil && *now.TerminationGracePeriodSeconds == 1 {
		now.TerminationGracePeriodSeconds = g
	}
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, narrowed(now, &old.Spec, spec)...)
	}
	if !same(now, &old.Spec) {
		errs = append(errs, forbidChange(spec, frozenPod, now, old.Spec)...)
	}
	return errs
}

func imagesOnly(now, was []corev1.Container, path *field.Path) (errs field.ErrorList) {
	if len(now) != len(was) {
		return field.ErrorList{field.Forbidden(path, "pod updates may not add or remove containers")}
	}
	return nil // that each has one is said already
}

// addedTolerations lets tolerations grow in number, and those with a time change it.
func addedTolerations(now, was []corev1.Toleration, path *field.Path) field.ErrorList {
	kept := sets.New[corev1.Toleration]()
	for _, t := range now {
		t.TolerationSeconds = nil
		kept.Insert(t)
	}
	for _, t := range was {
		t.TolerationSeconds = nil
		if !kept.Has(t) {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// narrowed lets a gated pod's node selector and required node affinity become stricter,
// and sets them back in now so that the rest can be compared.
func narrowed(now, was *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	for key, value := range was.NodeSelector {
		if got, ok := now.NodeSelector[key]; !ok || got != value {
			errs = append(errs, field.Invalid(spec.Child("nodeSelector"), now.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	now.NodeSelector = was.NodeSelector
	before, after := requiredTerms(was), requiredTerms(now)
	path := spec.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	switch {
	case len(before) == 0:
	case len(before) != len(after):
		errs = append(errs, field.Invalid(path, after, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
	default:
		for i := range before {
			if !starts(after[i].MatchExpressions, before[i].MatchExpressions) || !starts(after[i].MatchFields, before[i].MatchFields) {
				errs = append(errs, field.Invalid(path.Index(i), after[i], "only additions are allowed (no mutations or deletions)"))
			}
		}
	}
	if len(errs) == 0 {
		if now.Affinity != nil { // it is the pod's own
			copied := *now.Affinity
			now.Affinity = &copied
		}
		if was.Affinity == nil || was.Affinity.NodeAffinity == nil {
			if now.Affinity != nil {
				now.Affinity.NodeAffinity = nil
				if was.Affinity == nil && now.Affinity.PodAffinity == nil && now.Affinity.PodAntiAffinity == nil {
					now.Affinity = nil
				}
			}
		} else if now.Affinity != nil {
			now.Affinity.NodeAffinity = was.Affinity.NodeAffinity.DeepCopy()
		}
	}
	return errs
}

func requiredTerms(s *corev1.PodSpec) []corev1.NodeSelectorTerm {
	if s.Affinity == nil || s.Affinity.NodeAffinity == nil || s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func starts(list, with []corev1.NodeSelectorRequirement) bool {
	return len(list) >= len(with) && same(list[:len(with)], with)
}

func validateTolerations(list []corev1.Toleration, path *field.Path) (errs field.ErrorList) {
	for i, t := range list {
		at := path.Index(i)
		if t.Key != "" {
			errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			errs = append(errs, labelValue(t.Value, at.Child("operator"))...)
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'"))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		errs = append(errs, taintEffect(t.Effect, true, at.Child("effect"))...)
	}
	return errs
}

func validateSpread(list []corev1.TopologySpreadConstraint, path *field.Path) (errs field.ErrorList) {
	for i, c := range list {
		at := path.Index(i)
		if c.MaxSkew <= 0 {
			errs = append(errs, field.Invalid(at.Child("maxSkew"), c.MaxSkew, "must be greater than zero"))
		}
		errs = append(errs, topologyKey(c.TopologyKey, at.Child("topologyKey"))...)
		errs = append(errs, OneOf(c.WhenUnsatisfiable, at.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
		for _, d := range list[:i] {
			if d.TopologyKey == c.TopologyKey && d.WhenUnsatisfiable == c.WhenUnsatisfiable {
				errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
				break
			}
		}
		for i, key := range c.MatchLabelKeys {
			errs = append(errs, metavalidation.ValidateLabelName(key, at.Child("matchLabelKeys").Index(i))...)
		}
		if c.MinDomains != nil {
			if *c.MinDomains <= 0 {
				errs = append(errs, field.Invalid(at.Child("minDomains"), c.MinDomains, "must be greater than zero"))
			}
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				errs = append(errs, field.Invalid(at.Child("minDomains"), c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
			}
		}
		if p := c.NodeAffinityPolicy; p != nil {
			errs = append(errs, OneOf(*p, at.Child("nodeAffinityPolicy"), corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
		}
		if p := c.NodeTaintsPolicy; p != nil {
			errs = append(errs, OneOf(*p, at.Child("nodeTaintsPolicy"), corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
		}
		errs = append(errs, metavalidation.ValidateLabelSelector(c.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	}
	return errs
}
