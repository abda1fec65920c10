package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/client"
)

// DefaultStorageClass gives claims that name no class the cluster's default one; a claim that names "" wants none.
// Source: Kubernetes documentation, Storage Classes, Default StorageClass.
func DefaultStorageClass(classes client.TypedView[*storagev1.StorageClass]) Plugin {
	return Plugin{Name: "DefaultStorageClass", Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create || a.Resource() != "persistentvolumeclaims" {
			return nil
		}
		claim := a.Object.(*corev1.PersistentVolumeClaim)
		if _, old := claim.Annotations[corev1.BetaStorageClassAnnotation]; old || claim.Spec.StorageClassName != nil {
			return nil
		}
		if class := newestDefault(classes.List(""), "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"); class != nil {
			claim.Spec.StorageClassName = &class.Name
		}
		return nil
	}}
}

// newestDefault is the object that one of the annotations makes the default: of several the newest, or the first by name.
func newestDefault[T interface {
	comparable
	client.Object
}](all []T, annotations ...string) (found T) {
	var none T
	for _, o := range all { // by name
		for _, key := range annotations {
			if o.GetAnnotations()[key] != "true" {
				continue
			}
			if found == none || o.GetCreationTimestamp().After(found.GetCreationTimestamp().Time) {
				found = o
			}
		}
	}
	return found
}
