package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// DaemonSet runs a pod on every node that its template admits.
var DaemonSet = api.Define(api.Resource[*appsv1.DaemonSet]{
	Group: group, Version: version, Plural: "daemonsets", Short: []string{"ds"}, Categories: all, Scope: api.Namespaced,
	Default:  defaultDaemonSet,
	Prepare:  prepareDaemonSet,
	Validate: validateDaemonSet,
	Warnings: func(d, _ *appsv1.DaemonSet) []string {
		return core.Warnings(&d.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
	},
	GenerationOf: func(d *appsv1.DaemonSet) any { return &d.Spec },
	Status: &api.Status[*appsv1.DaemonSet]{
		Copy: func(dst, src *appsv1.DaemonSet) { dst.Status = src.Status },
		Validate: func(d, _ *appsv1.DaemonSet) field.ErrorList {
			s := d.Status
			return append(counts(field.NewPath("status"), named{"currentNumberScheduled", int64(s.CurrentNumberScheduled)}, named{"numberMisscheduled", int64(s.NumberMisscheduled)},
				named{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)}, named{"numberReady", int64(s.NumberReady)}, named{"observedGeneration", s.ObservedGeneration},
				named{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)}, named{"numberAvailable", int64(s.NumberAvailable)}, named{"numberUnavailable", int64(s.NumberUnavailable)}), collisions(s.CollisionCount)...)
		},
	},
	Columns: append([]api.Column[*appsv1.DaemonSet]{
		{Name: "Desired", Type: "integer", Help: appsv1.DaemonSetStatus{}.SwaggerDoc()["desiredNumberScheduled"], Show: func(d *appsv1.DaemonSet) any { return int64(d.Status.DesiredNumberScheduled) }},
		{Name: "Current", Type: "integer", Help: appsv1.DaemonSetStatus{}.SwaggerDoc()["currentNumberScheduled"], Show: func(d *appsv1.DaemonSet) any { return int64(d.Status.CurrentNumberScheduled) }},
		{Name: "Ready", Type: "integer", Help: appsv1.DaemonSetStatus{}.SwaggerDoc()["numberReady"], Show: func(d *appsv1.DaemonSet) any { return int64(d.Status.NumberReady) }},
		{Name: "Up-to-date", Type: "integer", Help: appsv1.DaemonSetStatus{}.SwaggerDoc()["updatedNumberScheduled"], Show: func(d *appsv1.DaemonSet) any { return int64(d.Status.UpdatedNumberScheduled) }},
		{Name: "Available", Type: "integer", Help: appsv1.DaemonSetStatus{}.SwaggerDoc()["numberAvailable"], Show: func(d *appsv1.DaemonSet) any { return int64(d.Status.NumberAvailable) }},
		{Name: "Node Selector", Help: corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], Show: func(d *appsv1.DaemonSet) any {
			return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
		}},
	}, core.TemplateColumns(func(d *appsv1.DaemonSet) *corev1.PodSpec { return &d.Spec.Template.Spec },
		func(d *appsv1.DaemonSet) string { return metav1.FormatLabelSelector(d.Spec.Selector) }, appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"])...),
})

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	core.DefaultPodTemplate(&s.Template)
	core.OrSet(&s.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		r := core.OrNew(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		core.OrNew(&r.MaxUnavailable, intstr.FromInt32(1))
		core.OrNew(&r.MaxSurge, intstr.FromInt32(0))
	}
	core.OrNew(&s.RevisionHistoryLimit, 10)
}

// prepareDaemonSet counts changes of the template in an annotation that older
// clients read: it was a field before apps/v1.
func prepareDaemonSet(d, old *appsv1.DaemonSet) {
	core.DropDisabled(&d.Spec.Template.Spec)
	d.Status = appsv1.DaemonSetStatus{}
	n := int64(1)
	if old != nil {
		d.Status = old.Status
		if had, err := strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64); err == nil {
			n = had
		}
		if !same(d.Spec.Template, old.Spec.Template) {
			n++
		}
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

func validateDaemonSet(d, old *appsv1.DaemonSet) (errs field.ErrorList) {
	s, spec := &d.Spec, field.NewPath("spec")
	if old != nil {
		errs = append(errs, core.Immutable(s.Selector, old.Spec.Selector, spec.Child("selector"))...)
	}
	selector, bad := core.ReadSelector(s.Selector, spec.Child("selector"), "daemonset")
	errs = append(errs, bad...)
	if selector != nil {
		errs = append(errs, core.ValidateReplicaTemplate(&s.Template, selector, spec.Child("template"), "DaemonSet")...)
	}
	errs = append(errs, core.NonNegative(s.MinReadySeconds, spec.Child("minReadySeconds"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, core.NonNegative(*s.RevisionHistoryLimit, spec.Child("revisionHistoryLimit"))...)
	}
	path := spec.Child("updateStrategy")
	switch s.UpdateStrategy.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		rolling := path.Child("rollingUpdate")
		r := s.UpdateStrategy.RollingUpdate
		if r == nil {
			errs = append(errs, field.Required(rolling, ""))
			break
		}
		errs = append(errs, core.ValidateIntOrPercent(*r.MaxUnavailable, rolling.Child("maxUnavailable"))...)
		errs = append(errs, core.ValidateAtMost100Percent(*r.MaxUnavailable, rolling.Child("maxUnavailable"))...)
		errs = append(errs, core.ValidateIntOrPercent(*r.MaxSurge, rolling.Child("maxSurge"))...)
		errs = append(errs, core.ValidateAtMost100Percent(*r.MaxSurge, rolling.Child("maxSurge"))...)
		switch {
		case !isZero(r.MaxUnavailable) && !isZero(r.MaxSurge):
			errs = append(errs, field.Invalid(rolling.Child("maxSurge"), *r.MaxSurge, "may not be set when maxUnavailable is non-zero"))
		case isZero(r.MaxUnavailable) && isZero(r.MaxSurge):
			errs = append(errs, field.Required(rolling.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
		}
	default:
		errs = append(errs, field.NotSupported(path, s.UpdateStrategy, []string{string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType)}))
	}
	return errs
}
