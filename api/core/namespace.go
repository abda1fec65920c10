package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Namespace is a room for names. Its finalizers are in its spec too: finalize
// writes those, and it goes when both lists are empty.
var Namespace = api.Define(api.Resource[*corev1.Namespace]{
	Version: "v1", Plural: "namespaces", Short: []string{"ns"}, Scope: api.Cluster,
	Verbs: []string{"create", "delete", "get", "list", "patch", "update", "watch"},
	Default: func(n *corev1.Namespace) {
		if n.Name != "" { // not yet known when it is generated
			if n.Labels == nil {
				n.Labels = map[string]string{}
			}
			n.Labels[corev1.LabelMetadataName] = n.Name
		}
	},
	Prepare: func(n, old *corev1.Namespace) {
		if old != nil {
			n.Spec.Finalizers = old.Spec.Finalizers
			n.Status = old.Status
			return
		}
		n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
		if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
			n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
		}
	},
	Validate:     validateNamespace,
	ValidateName: apivalidation.ValidateNamespaceName,
	Status: &api.Status[*corev1.Namespace]{
		Copy: func(dst, src *corev1.Namespace) {
			dst.Status = src.Status
			OrSet(&dst.Status.Phase, corev1.NamespaceActive)
		},
		Validate: func(n, _ *corev1.Namespace) (errs field.ErrorList) {
			phase := field.NewPath("status", "Phase") // upstream's capital
			switch {
			case n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive:
				errs = append(errs, field.Invalid(phase, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty"))
			case !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating:
				errs = append(errs, field.Invalid(phase, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
			}
			return errs
		},
	},
	Subresources: []api.Subresource{{Name: "finalize", Kind: "Namespace", Verbs: []string{"update"}}},
	Fields:       map[string]func(*corev1.Namespace) string{"status.phase": func(n *corev1.Namespace) string { return string(n.Status.Phase) }},
	Columns: []api.Column[*corev1.Namespace]{
		{Name: "Status", Help: "The status of the namespace", Show: func(n *corev1.Namespace) any { return string(n.Status.Phase) }}},
})

// ValidateFinalizers checks what finalize writes.
func ValidateFinalizers(list []corev1.FinalizerName) (errs field.ErrorList) {
	for i, f := range list {
		path := field.NewPath("spec", "finalizers").Index(i)
		errs = append(errs, each(path, string(f), validation.IsQualifiedName(string(f)))...)
		if f != corev1.FinalizerKubernetes && !slices.Contains([]byte(f), '/') {
			errs = append(errs, field.Invalid(path, string(f), "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

func validateNamespace(n, _ *corev1.Namespace) (errs field.ErrorList) {
	for _, f := range n.Spec.Finalizers {
		path := field.NewPath("spec", "finalizers")
		for _, msg := range validation.IsQualifiedName(string(f)) {
			errs = append(errs, field.Invalid(path, string(f), msg))
		}
		if f != corev1.FinalizerKubernetes && !slices.Contains([]byte(f), '/') {
			errs = append(errs, field.Invalid(path, string(f), "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}
