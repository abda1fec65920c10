package admission

import (
	"context"
	"slices"
)

// Finalizers of volumes and claims that pods may still use, and of classes that those may; controller/volumeprotection takes them away.
const (
	claimProtection  = "kubernetes.io/pvc-protection"
	volumeProtection = "kubernetes.io/pv-protection"
	classProtection  = "kubernetes.io/vac-protection"
)

// StorageObjectInUseProtection lets no claim go while a pod uses it, no volume while it is bound, and no class of volume attributes while one has it.
// Source: Kubernetes documentation, Persistent Volumes, Storage Object in Use Protection.
func StorageObjectInUseProtection() Plugin {
	finalizers := map[string]string{"persistentvolumeclaims": claimProtection, "persistentvolumes": volumeProtection,
		"volumeattributesclasses.storage.k8s.io": classProtection}
	return Plugin{Name: "StorageObjectInUseProtection", Mutate: func(_ context.Context, a *Attributes) error {
		f := finalizers[a.Resource()]
		if a.Operation == Create && f != "" && !slices.Contains(a.Object.GetFinalizers(), f) {
			a.Object.SetFinalizers(append(a.Object.GetFinalizers(), f))
		}
		return nil
	}}
}
