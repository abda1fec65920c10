package volumeprotection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClaim(t *testing.T) {
	claim := func(deleted bool, finalizers ...string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: v1.ObjectMeta{Name: "c", Finalizers: finalizers}}
		if deleted {
			c.DeletionTimestamp = &v1.Time{}
		}
		return c
	}
	pod := func(node, claim string, phase corev1.PodPhase) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}}}
		p.Status.Phase = phase
		return p
	}
	own := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n", Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}}}
	named := claim(true, claimFinalizer)
	named.Name = "p-v"
	tests := map[string]struct {
		claim *corev1.PersistentVolumeClaim
		pods  []*corev1.Pod
		goes  bool
	}{
		"nobody uses it":            {claim(true, "other", claimFinalizer), nil, true},
		"not deleted":               {claim(false, claimFinalizer), nil, false},
		"only others hold it":       {claim(true, "other"), nil, false},
		"a pod uses it":             {claim(true, claimFinalizer), []*corev1.Pod{pod("n", "c", corev1.PodRunning)}, false},
		"a pod uses another":        {claim(true, claimFinalizer), []*corev1.Pod{pod("n", "d", corev1.PodRunning)}, true},
		"a pod that has ended":      {claim(true, claimFinalizer), []*corev1.Pod{pod("n", "c", corev1.PodFailed)}, true},
		"a pod that is nowhere yet": {claim(true, claimFinalizer), []*corev1.Pod{pod("", "c", corev1.PodPending)}, true},
		"a pod's own":               {named, []*corev1.Pod{own}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			todo := decideClaim(ClaimView{tt.claim, tt.pods})
			if (len(todo) > 0) != tt.goes {
				t.Fatalf("%v", todo)
			}
			if tt.goes && len(todo[0].Object.GetFinalizers()) != len(tt.claim.Finalizers)-1 {
				t.Errorf("finalizers %v", todo[0].Object.GetFinalizers())
			}
		})
	}
}

func TestVolume(t *testing.T) {
	for phase, goes := range map[corev1.PersistentVolumePhase]bool{corev1.VolumeAvailable: true, corev1.VolumeReleased: true, corev1.VolumeBound: false, "": true} {
		v := &corev1.PersistentVolume{ObjectMeta: v1.ObjectMeta{DeletionTimestamp: &v1.Time{}, Finalizers: []string{volumeFinalizer}}}
		v.Status.Phase = phase
		if todo := decideVolume(v); (len(todo) > 0) != goes {
			t.Errorf("%q: %v", phase, todo)
		}
	}
}
