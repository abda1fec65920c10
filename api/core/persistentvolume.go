package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// PersistentVolume is storage that a claim can bind.
var PersistentVolume = api.Define(api.Resource[*corev1.PersistentVolume]{
	Version: "v1", Plural: "persistentvolumes", Short: []string{"pv"}, Scope: api.Cluster,
	Default: func(v *corev1.PersistentVolume) {
		OrSet(&v.Status.Phase, corev1.VolumePending)
		OrSet(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
		OrNew(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		roundUp(v.Spec.Capacity)
		defaultVolumeSource(&v.Spec.PersistentVolumeSource)
	},
	Prepare: func(v, old *corev1.PersistentVolume) {
		if old != nil {
			v.Status = old.Status
			return
		}
		now := metav1.Now()
		v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
	},
	Validate: validateVolume,
	Status: &api.Status[*corev1.PersistentVolume]{Copy: func(dst, src *corev1.PersistentVolume) {
		was := dst.Status
		dst.Status = src.Status
		if dst.Status.LastPhaseTransitionTime == nil || was.Phase != dst.Status.Phase && equalTime(was.LastPhaseTransitionTime, dst.Status.LastPhaseTransitionTime) {
			now := metav1.Now()
			dst.Status.LastPhaseTransitionTime = &now
		}
	}},
	Columns: []api.Column[*corev1.PersistentVolume]{
		{Name: "Capacity", Help: corev1.PersistentVolumeSpec{}.SwaggerDoc()["capacity"], Show: func(v *corev1.PersistentVolume) any {
			return quantity(v.Spec.Capacity, corev1.ResourceStorage)
		}},
		{Name: "Access Modes", Help: corev1.PersistentVolumeSpec{}.SwaggerDoc()["accessModes"], Show: func(v *corev1.PersistentVolume) any { return accessModes(v.Spec.AccessModes) }},
		{Name: "Reclaim Policy", Help: corev1.PersistentVolumeSpec{}.SwaggerDoc()["persistentVolumeReclaimPolicy"], Show: func(v *corev1.PersistentVolume) any {
			return string(v.Spec.PersistentVolumeReclaimPolicy)
		}},
		{Name: "Status", Help: corev1.PersistentVolumeStatus{}.SwaggerDoc()["phase"], Show: func(v *corev1.PersistentVolume) any {
			return phaseOrTerminating(v, string(v.Status.Phase))
		}},
		{Name: "Claim", Help: corev1.PersistentVolumeSpec{}.SwaggerDoc()["claimRef"], Show: func(v *corev1.PersistentVolume) any {
			if r := v.Spec.ClaimRef; r != nil {
				return r.Namespace + "/" + r.Name
			}
			return ""
		}},
		{Name: "StorageClass", Help: "StorageClass of the pv", Show: func(v *corev1.PersistentVolume) any {
			if class, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			return v.Spec.StorageClassName
		}},
		{Name: "VolumeAttributesClass", Help: "VolumeAttributesClass of the pv", Show: func(v *corev1.PersistentVolume) any {
			return orUnset(v.Spec.VolumeAttributesClassName)
		}},
		{Name: "Reason", Help: corev1.PersistentVolumeStatus{}.SwaggerDoc()["reason"], Show: func(v *corev1.PersistentVolume) any { return v.Status.Reason }},
		{Name: "Age"},
		{Name: "VolumeMode", Priority: 1, Help: corev1.PersistentVolumeSpec{}.SwaggerDoc()["volumeMode"], Show: func(v *corev1.PersistentVolume) any {
			return orUnset(v.Spec.VolumeMode)
		}},
	},
})

func defaultVolumeSource(v *corev1.PersistentVolumeSource) {
	switch {
	case v.HostPath != nil:
		OrNew(&v.HostPath.Type, corev1.HostPathUnset)
	case v.ISCSI != nil:
		OrSet(&v.ISCSI.ISCSIInterface, "default")
	case v.RBD != nil:
		OrSet(&v.RBD.RBDPool, "rbd")
		OrSet(&v.RBD.RadosUser, "admin")
		OrSet(&v.RBD.Keyring, "/etc/ceph/keyring")
	case v.ScaleIO != nil:
		OrSet(&v.ScaleIO.StorageMode, "ThinProvisioned")
		OrSet(&v.ScaleIO.FSType, "xfs")
	case v.AzureDisk != nil:
		defaultAzureDisk(v.AzureDisk)
	}
}

func equalTime(a, b *metav1.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(b)
}

func orUnset[T ~string](p *T) string {
	if p == nil {
		return "<unset>"
	}
	return string(*p)
}

func quantity(l corev1.ResourceList, name corev1.ResourceName) string {
	q, ok := l[name]
	if !ok {
		return "0"
	}
	return q.String()
}

func phaseOrTerminating(o metav1.Object, phase string) string {
	if o.GetDeletionTimestamp() != nil {
		return "Terminating"
	}
	return phase
}

// accessModes shows them in their short forms, each once, in a fixed order.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var words []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		word string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			words = append(words, m.word)
		}
	}
	return strings.Join(words, ",")
}
