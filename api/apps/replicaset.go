package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// ReplicaSet keeps a number of pods alive.
var ReplicaSet = api.Define(api.Resource[*appsv1.ReplicaSet]{
	Group: group, Version: version, Plural: "replicasets", Short: []string{"rs"}, Categories: all, Scope: api.Namespaced,
	Default: func(r *appsv1.ReplicaSet) {
		core.OrNew(&r.Spec.Replicas, 1)
		core.DefaultPodTemplate(&r.Spec.Template)
	},
	Prepare: func(r, old *appsv1.ReplicaSet) {
		core.DropDisabled(&r.Spec.Template.Spec)
		r.Status = appsv1.ReplicaSetStatus{}
		if old != nil {
			r.Status = old.Status
		}
	},
	Validate:     validateReplicaSet,
	Warnings:     func(r, old *appsv1.ReplicaSet) []string { return warnings(r, old, &r.Spec.Template.Spec) },
	GenerationOf: func(r *appsv1.ReplicaSet) any { return &r.Spec },
	Status: &api.Status[*appsv1.ReplicaSet]{
		Copy: func(dst, src *appsv1.ReplicaSet) { dst.Status = src.Status },
		Validate: func(r, _ *appsv1.ReplicaSet) field.ErrorList {
			s := r.Status
			return append(core.ValidateReplicaCounts(field.NewPath("status"), s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration),
				optional("terminatingReplicas", s.TerminatingReplicas)...)
		},
	},
	Scale: &api.Scale[*appsv1.ReplicaSet]{
		Get: func(r *appsv1.ReplicaSet) api.ScaleView {
			return api.ScaleView{Spec: count(r.Spec.Replicas), Status: r.Status.Replicas, Selector: core.SelectorString(r.Spec.Selector)}
		},
		Set: func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n },
	},
	Fields: map[string]func(*appsv1.ReplicaSet) string{
		"status.replicas": func(r *appsv1.ReplicaSet) string { return strconv.Itoa(int(r.Status.Replicas)) }},
	Columns: append([]api.Column[*appsv1.ReplicaSet]{
		{Name: "Desired", Type: "integer", Help: appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"], Show: func(r *appsv1.ReplicaSet) any { return int64(count(r.Spec.Replicas)) }},
		{Name: "Current", Type: "integer", Help: appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"], Show: func(r *appsv1.ReplicaSet) any { return int64(r.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Help: appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"], Show: func(r *appsv1.ReplicaSet) any { return int64(r.Status.ReadyReplicas) }},
	}, core.TemplateColumns(func(r *appsv1.ReplicaSet) *corev1.PodSpec { return &r.Spec.Template.Spec },
		func(r *appsv1.ReplicaSet) string { return metav1.FormatLabelSelector(r.Spec.Selector) }, appsv1.ReplicaSetSpec{}.SwaggerDoc()["selector"])...),
})

func validateReplicaSet(r, old *appsv1.ReplicaSet) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, core.NonNegative(*r.Spec.Replicas, spec.Child("replicas"))...)
	errs = append(errs, core.NonNegative(r.Spec.MinReadySeconds, spec.Child("minReadySeconds"))...)
	selector, bad := core.ValidateSelector(r.Spec.Selector, spec.Child("selector"), "deployment") // upstream's word
	errs = append(errs, bad...)
	errs = append(errs, core.ValidateReplicaTemplate(&r.Spec.Template, selector, spec.Child("template"), "ReplicaSet")...)
	if old != nil {
		errs = append(errs, core.Immutable(r.Spec.Selector, old.Spec.Selector, spec.Child("selector"))...)
	}
	return errs
}
