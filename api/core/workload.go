package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// TemplateColumns are the wide columns Containers, Images and Selector that workloads
// end with; selector may be nil; help is what its column says.
func TemplateColumns[T api.Object](spec func(T) *corev1.PodSpec, selector func(T) string, help string) []api.Column[T] {
	cols := []api.Column[T]{
		{Name: "Containers", Priority: 1, Help: "Names of each container in the template.", Show: func(o T) any {
			return joinContainers(spec(o), func(c corev1.Container) string { return c.Name })
		}},
		{Name: "Images", Priority: 1, Help: "Images referenced by each container in the template.", Show: func(o T) any {
			return joinContainers(spec(o), func(c corev1.Container) string { return c.Image })
		}},
	}
	if selector != nil {
		cols = append(cols, api.Column[T]{Name: "Selector", Priority: 1, Help: help, Show: func(o T) any { return selector(o) }})
	}
	return cols
}

func joinContainers(s *corev1.PodSpec, word func(corev1.Container) string) string {
	if s == nil {
		return ""
	}
	words := make([]string, len(s.Containers))
	for i, c := range s.Containers {
		words[i] = word(c)
	}
	return strings.Join(words, ",")
}

// SelectorString is a selector as Scale objects carry it.
func SelectorString(s *metav1.LabelSelector) string {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return sel.String()
}
