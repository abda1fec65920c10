package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

// PersistentVolumeClaimResize lets claims grow only where their class can do it.
// Source: Kubernetes documentation, Admission Control, PersistentVolumeClaimResize.
func PersistentVolumeClaimResize(classes client.TypedView[*storagev1.StorageClass]) Plugin {
	return Plugin{Name: "PersistentVolumeClaimResize", Validate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Update || a.Resource() != "persistentvolumeclaims" {
			return nil
		}
		claim, old := a.Object.(*corev1.PersistentVolumeClaim), a.Old.(*corev1.PersistentVolumeClaim)
		was, is := old.Spec.Resources.Requests[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if is.Cmp(was) <= 0 {
			return nil
		}
		refuse := func(text string) error {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("%s", text))
		}
		if old.Status.Phase != corev1.ClaimBound {
			return refuse("Only bound persistent volume claims can be expanded")
		}
		name := claim.Annotations[corev1.BetaStorageClassAnnotation]
		if name == "" && claim.Spec.StorageClassName != nil {
			name = *claim.Spec.StorageClassName
		}
		if class, ok := classes.Get("", name); !ok || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
			return refuse("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
		}
		return nil
	}}
}
