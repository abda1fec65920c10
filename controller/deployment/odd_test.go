package deployment

import (
	"math/rand/v2"
	"runtime/debug"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

// B8: no object, however odd, can stop the controller.
func TestOddObjects(t *testing.T) {
	for seed := range uint64(600) {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("seed %d: %v\n%s", seed, p, debug.Stack())
				}
			}()
			r := rand.New(rand.NewPCG(seed, 8))
			d := newDeployment(3, "v9", "1/1")
			v := View{Deployment: d, Sets: sets(d, "v1:3/3 v9:2/1", 3, 4), Pods: []*corev1.Pod{world.Odd(r, &corev1.Pod{})}, Now: world.Start}
			world.Odd(r, d, "Selector", "UID")
			for _, set := range v.Sets {
				if r.IntN(2) == 0 {
					world.Odd(r, &set.Status)
				}
				if r.IntN(2) == 0 {
					world.Odd(r, &set.Spec)
				}
			}
			if r.IntN(2) == 0 {
				v.Namesake = world.Odd(r, &appsv1.ReplicaSet{})
			}
			reconcile(v)
		}()
	}
}
