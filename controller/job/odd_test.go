package job

import (
	"math/rand/v2"
	"runtime/debug"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
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
			var j *batchv1.Job = world.Odd(r, newJob(t, ""), "Selector", "UID", "ManagedBy")
			v := View{Job: j, Pods: podsOf("a:Failed,#0 b:Succeeded,#1 c:Running d:Running,deleting", j), Now: world.Start}
			for _, p := range v.Pods {
				world.Odd(r, &p.Status, "Phase")
			}
			v.Pods = append(v.Pods, world.Odd(r, &corev1.Pod{}))
			reconcile(v)
		}()
	}
}
