package volumeprotection

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClass(t *testing.T) {
	class := func(deleted bool, finalizers ...string) *storagev1.VolumeAttributesClass {
		c := &storagev1.VolumeAttributesClass{ObjectMeta: v1.ObjectMeta{Name: "gold", Finalizers: finalizers}}
		if deleted {
			c.DeletionTimestamp = &v1.Time{}
		}
		return c
	}
	name := func(s string) *string { return &s }
	has := func(spec, current, target string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{}
		c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName = name(spec), name(current)
		if target != "" {
			c.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: target}
		}
		return c
	}
	volume := func(of string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{VolumeAttributesClassName: name(of)}}
	}
	tests := map[string]struct {
		class   *storagev1.VolumeAttributesClass
		claims  []*corev1.PersistentVolumeClaim
		volumes []*corev1.PersistentVolume
		goes    bool
	}{
		"nobody has it":             {class: class(true, "other", classFinalizer), goes: true},
		"not deleted":               {class: class(false, classFinalizer)},
		"only others hold it":       {class: class(true, "other")},
		"a claim wants it":          {class: class(true, classFinalizer), claims: []*corev1.PersistentVolumeClaim{has("gold", "", "")}},
		"a claim has it still":      {class: class(true, classFinalizer), claims: []*corev1.PersistentVolumeClaim{has("silver", "gold", "")}},
		"a claim is changed to it":  {class: class(true, classFinalizer), claims: []*corev1.PersistentVolumeClaim{has("silver", "silver", "gold")}},
		"a volume has it":           {class: class(true, classFinalizer), volumes: []*corev1.PersistentVolume{volume("gold")}},
		"others have other classes": {class: class(true, classFinalizer), claims: []*corev1.PersistentVolumeClaim{has("silver", "silver", "")}, volumes: []*corev1.PersistentVolume{volume("")}, goes: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			todo := decideClass(ClassView{tt.class, tt.claims, tt.volumes})
			if (len(todo) > 0) != tt.goes {
				t.Fatalf("%v", todo)
			}
			if tt.goes && len(todo[0].Object.GetFinalizers()) != len(tt.class.Finalizers)-1 {
				t.Errorf("finalizers %v", todo[0].Object.GetFinalizers())
			}
		})
	}
	if got := fmt.Sprint(left(classesOfClaim(has("gold", "silver", "")), classesOfClaim(has("gold", "", "bronze")))); got != "[silver]" {
		t.Errorf("a claim left %s", got)
	}
}
