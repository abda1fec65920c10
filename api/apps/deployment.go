package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// Deployment rolls replica sets from one template to the next. Its generation
// counts changes of its annotations too.
var Deployment = api.Define(api.Resource[*appsv1.Deployment]{
	Group: group, Version: version, Plural: "deployments", Short: []string{"deploy"}, Categories: all, Scope: api.Namespaced,
	Default: defaultDeployment,
	Prepare: func(d, old *appsv1.Deployment) {
		core.DropDisabled(&d.Spec.Template.Spec)
		d.Status = appsv1.DeploymentStatus{}
		if old != nil {
			d.Status = old.Status
		}
	},
	Validate: validateDeployment,
	Warnings: func(d, old *appsv1.Deployment) []string { return warnings(d, old, &d.Spec.Template.Spec) },
	GenerationOf: func(d *appsv1.Deployment) any {
		return struct {
			Spec        *appsv1.DeploymentSpec
			Annotations map[string]string
		}{&d.Spec, d.Annotations}
	},
	Status: &api.Status[*appsv1.Deployment]{
		Copy: func(dst, src *appsv1.Deployment) { dst.Status = src.Status }, Validate: validateDeploymentStatus},
	Scale: &api.Scale[*appsv1.Deployment]{
		Get: func(d *appsv1.Deployment) api.ScaleView {
			return api.ScaleView{Spec: count(d.Spec.Replicas), Status: d.Status.Replicas, Selector: core.SelectorString(d.Spec.Selector)}
		},
		Set: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
	},
	Columns: append([]api.Column[*appsv1.Deployment]{
		{Name: "Ready", Help: "Number of the pod with ready state", Show: func(d *appsv1.Deployment) any {
			return ratio(d.Status.ReadyReplicas, count(d.Spec.Replicas))
		}},
		{Name: "Up-to-date", Help: appsv1.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"], Show: func(d *appsv1.Deployment) any { return int64(d.Status.UpdatedReplicas) }},
		{Name: "Available", Help: appsv1.DeploymentStatus{}.SwaggerDoc()["availableReplicas"], Show: func(d *appsv1.Deployment) any { return int64(d.Status.AvailableReplicas) }},
	}, core.TemplateColumns(func(d *appsv1.Deployment) *corev1.PodSpec { return &d.Spec.Template.Spec },
		func(d *appsv1.Deployment) string { return metav1.FormatLabelSelector(d.Spec.Selector) }, appsv1.DeploymentSpec{}.SwaggerDoc()["selector"])...),
})

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	core.DefaultPodTemplate(&s.Template)
	core.OrNew(&s.Replicas, 1)
	core.OrSet(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		r := core.OrNew(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		core.OrNew(&r.MaxUnavailable, intstr.FromString("25%"))
		core.OrNew(&r.MaxSurge, intstr.FromString("25%"))
	}
	core.OrNew(&s.RevisionHistoryLimit, 10)
	core.OrNew(&s.ProgressDeadlineSeconds, 600)
}

func validateDeployment(d, old *appsv1.Deployment) (errs field.ErrorList) {
	s, spec := &d.Spec, field.NewPath("spec")
	errs = append(errs, core.NonNegative(*s.Replicas, spec.Child("replicas"))...)
	selector, bad := core.ValidateSelector(s.Selector, spec.Child("selector"), "deployment")
	errs = append(errs, bad...)
	errs = append(errs, core.ValidateReplicaTemplate(&s.Template, selector, spec.Child("template"), "ReplicaSet")...)
	errs = append(errs, validateStrategy(&s.Strategy, spec.Child("strategy"))...)
	errs = append(errs, core.NonNegative(s.MinReadySeconds, spec.Child("minReadySeconds"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, core.NonNegative(*s.RevisionHistoryLimit, spec.Child("revisionHistoryLimit"))...)
	}
	if p := s.ProgressDeadlineSeconds; p != nil {
		errs = append(errs, core.NonNegative(*p, spec.Child("progressDeadlineSeconds"))...)
		if *p <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(spec.Child("progressDeadlineSeconds"), *p, "must be greater than minReadySeconds"))
		}
	}
	if old != nil {
		errs = append(errs, core.Immutable(s.Selector, old.Spec.Selector, spec.Child("selector"))...)
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) (errs field.ErrorList) {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			errs = append(errs, field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'"))
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		r := s.RollingUpdate
		if r == nil {
			return append(errs, field.Required(rolling, "this should be defaulted and never be nil"))
		}
		errs = append(errs, core.ValidateIntOrPercent(*r.MaxUnavailable, rolling.Child("maxUnavailable"))...)
		errs = append(errs, core.ValidateIntOrPercent(*r.MaxSurge, rolling.Child("maxSurge"))...)
		if isZero(r.MaxUnavailable) && isZero(r.MaxSurge) {
			errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), *r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
		}
		errs = append(errs, core.ValidateAtMost100Percent(*r.MaxUnavailable, rolling.Child("maxUnavailable"))...)
	default:
		errs = append(errs, field.NotSupported(path, s, []string{string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType)}))
	}
	return errs
}

func validateDeploymentStatus(d, old *appsv1.Deployment) (errs field.ErrorList) {
	s, path := d.Status, field.NewPath("status")
	errs = counts(path, named{"observedGeneration", s.ObservedGeneration}, named{"replicas", int64(s.Replicas)}, named{"updatedReplicas", int64(s.UpdatedReplicas)},
		named{"readyReplicas", int64(s.ReadyReplicas)}, named{"availableReplicas", int64(s.AvailableReplicas)}, named{"unavailableReplicas", int64(s.UnavailableReplicas)})
	errs = append(errs, optional("terminatingReplicas", s.TerminatingReplicas)...)
	errs = append(errs, collisions(s.CollisionCount)...)
	errs = append(errs, atMost(path.Child("updatedReplicas"), s.UpdatedReplicas, s.Replicas, "status.replicas")...)
	errs = append(errs, atMost(path.Child("readyReplicas"), s.ReadyReplicas, s.Replicas, "status.replicas")...)
	errs = append(errs, atMost(path.Child("availableReplicas"), s.AvailableReplicas, s.Replicas, "status.replicas")...)
	errs = append(errs, atMost(path.Child("availableReplicas"), s.AvailableReplicas, s.ReadyReplicas, "readyReplicas")...)
	if old != nil && s.CollisionCount != nil && old.Status.CollisionCount != nil && *s.CollisionCount < *old.Status.CollisionCount {
		errs = append(errs, field.Invalid(path.Child("collisionCount"), s.CollisionCount, "cannot be decremented"))
	}
	return errs
}
