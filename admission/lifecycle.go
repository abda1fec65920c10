package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NamespaceLifecycle keeps the namespaces that a cluster cannot be without. That nothing is
// created in a namespace which is missing or ends is the registry's own check, in the write's transaction.
func NamespaceLifecycle() Plugin {
	immortal := []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
	return Plugin{Name: "NamespaceLifecycle", Validate: func(_ context.Context, a *Attributes) error {
		if a.Operation == Delete && a.Resource() == "namespaces" && slices.Contains(immortal, a.Name) {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("this namespace may not be deleted"))
		}
		return nil
	}}
}
