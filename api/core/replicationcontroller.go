package core

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ReplicationController keeps a number of pods alive; ReplicaSet's older sibling.
var ReplicationController = api.Define(api.Resource[*corev1.ReplicationController]{
	Version: "v1", Plural: "replicationcontrollers", Short: []string{"rc"}, Categories: []string{"all"},
	Scope: api.Namespaced, Orphans: true,
	Warnings: func(r, old *corev1.ReplicationController) (list []string) {
		if old == nil {
			list = NameWarning(r.Name, UsedInNames)
		}
		if t := r.Spec.Template; t != nil {
			list = append(list, Warnings(&t.Spec, field.NewPath("spec", "template", "spec"))...)
		}
		return list
	}, Key: "controllers",
	Default: func(c *corev1.ReplicationController) {
		OrNew(&c.Spec.Replicas, int32(1))
		if t := c.Spec.Template; t != nil {
			DefaultPodTemplate(t)
			if len(c.Spec.Selector) == 0 {
				c.Spec.Selector = t.Labels
			}
			if len(c.Labels) == 0 {
				c.Labels = t.Labels
			}
		}
	},
	Prepare: func(c, old *corev1.ReplicationController) {
		if c.Spec.Template != nil {
			DropDisabled(&c.Spec.Template.Spec)
		}
		c.Status = corev1.ReplicationControllerStatus{}
		if old != nil {
			c.Status = old.Status
		}
	},
	Validate:     validateReplicationController,
	GenerationOf: func(c *corev1.ReplicationController) any { return &c.Spec },
	Status: &api.Status[*corev1.ReplicationController]{
		Copy: func(dst, src *corev1.ReplicationController) { dst.Status = src.Status },
		Validate: func(c, _ *corev1.ReplicationController) field.ErrorList {
			s := c.Status
			return ValidateReplicaCounts(field.NewPath("status"), s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
		},
	},
	Scale: &api.Scale[*corev1.ReplicationController]{
		Get: func(c *corev1.ReplicationController) api.ScaleView {
			return api.ScaleView{Spec: replicas(c), Status: c.Status.Replicas, Selector: labels.Set(c.Spec.Selector).String()}
		},
		Set: func(c *corev1.ReplicationController, n int32) { c.Spec.Replicas = &n },
	},
	Fields: map[string]func(*corev1.ReplicationController) string{
		"status.replicas": func(c *corev1.ReplicationController) string { return strconv.Itoa(int(c.Status.Replicas)) }},
	Columns: append([]api.Column[*corev1.ReplicationController]{
		{Name: "Desired", Type: "integer", Help: corev1.ReplicationControllerSpec{}.SwaggerDoc()["replicas"],
			Show: func(c *corev1.ReplicationController) any { return int64(replicas(c)) }},
		{Name: "Current", Type: "integer", Help: corev1.ReplicationControllerStatus{}.SwaggerDoc()["replicas"],
			Show: func(c *corev1.ReplicationController) any { return int64(c.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Help: corev1.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"],
			Show: func(c *corev1.ReplicationController) any { return int64(c.Status.ReadyReplicas) }},
	}, TemplateColumns(func(c *corev1.ReplicationController) *corev1.PodSpec {
		if c.Spec.Template == nil {
			return nil
		}
		return &c.Spec.Template.Spec
	}, func(c *corev1.ReplicationController) string { return labels.FormatLabels(c.Spec.Selector) }, corev1.ReplicationControllerSpec{}.SwaggerDoc()["selector"])...),
})

func replicas(c *corev1.ReplicationController) int32 {
	if c.Spec.Replicas == nil {
		return 1
	}
	return *c.Spec.Replicas
}

func validateReplicationController(c, _ *corev1.ReplicationController) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(c.Spec.MinReadySeconds), spec.Child("minReadySeconds"))...)
	errs = append(errs, requireSelector(c.Spec.Selector, spec.Child("selector"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(replicas(c)), spec.Child("replicas"))...)
	return append(errs, ValidateReplicaTemplate(c.Spec.Template, labels.SelectorFromSet(c.Spec.Selector), spec.Child("template"), "ReplicationController")...)
}

func requireSelector(m map[string]string, path *field.Path) field.ErrorList {
	if len(m) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// ValidateReplicaTemplate checks the template of a workload whose pods run for ever:
// its labels must match the selector and its restart policy must be Always. Kind names it in messages.
func ValidateReplicaTemplate(t *corev1.PodTemplateSpec, selector labels.Selector, path *field.Path, kind string) (errs field.ErrorList) {
	if t == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	if selector != nil && !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, ValidatePodTemplate(t, path)...)
	return append(errs, ValidateLongRunning(&t.Spec, path.Child("spec"), kind)...)
}

// ValidateLongRunning checks the template rules of Deployment, ReplicaSet,
// ReplicationController, DaemonSet and StatefulSet.
func ValidateLongRunning(s *corev1.PodSpec, path *field.Path, kind string) (errs field.ErrorList) {
	if s.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), s.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if s.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("activeDeadlineSeconds"), fmt.Sprintf("activeDeadlineSeconds in %s is not Supported", kind)))
	}
	return errs
}

// ValidateReplicaCounts checks the counts that ReplicaSet and ReplicationController report.
func ValidateReplicaCounts(path *field.Path, replicas, labeled, ready, available int32, observed int64) (errs field.ErrorList) {
	check := func(name string, n int64) {
		errs = append(errs, apivalidation.ValidateNonnegativeField(n, path.Child(name))...)
	}
	check("replicas", int64(replicas))
	check("fullyLabeledReplicas", int64(labeled))
	check("readyReplicas", int64(ready))
	check("availableReplicas", int64(available))
	check("observedGeneration", observed)
	for _, c := range []struct {
		name string
		n    int32
	}{{"fullyLabeledReplicas", labeled}, {"readyReplicas", ready}, {"availableReplicas", available}} {
		if c.n > replicas {
			errs = append(errs, field.Invalid(path.Child(c.name), c.n, "cannot be greater than status.replicas"))
		}
	}
	if available > ready {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), available, "cannot be greater than readyReplicas"))
	}
	return errs
}
