package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// PodTemplate keeps a pod template by itself.
var PodTemplate = api.Define(api.Resource[*corev1.PodTemplate]{
	Version: "v1", Plural: "podtemplates", Scope: api.Namespaced,
	Default: func(t *corev1.PodTemplate) { DefaultPodTemplate(&t.Template) },
	Prepare: func(t, _ *corev1.PodTemplate) { DropDisabled(&t.Template.Spec) },
	Validate: func(t, _ *corev1.PodTemplate) field.ErrorList {
		return ValidatePodTemplate(&t.Template, field.NewPath("template"))
	},
	GenerationOf: func(t *corev1.PodTemplate) any { return &t.Template },
	Columns: []api.Column[*corev1.PodTemplate]{
		{Name: "Name"},
		{Name: "Containers", Help: "Names of each container in the template.", Show: func(t *corev1.PodTemplate) any {
			return joinContainers(&t.Template.Spec, func(c corev1.Container) string { return c.Name })
		}},
		{Name: "Images", Help: "Images referenced by each container in the template.", Show: func(t *corev1.PodTemplate) any {
			return joinContainers(&t.Template.Spec, func(c corev1.Container) string { return c.Image })
		}},
		{Name: "Pod Labels", Help: "The labels for the pod template.", Show: func(t *corev1.PodTemplate) any { return labels.FormatLabels(t.Template.Labels) }},
	},
})
