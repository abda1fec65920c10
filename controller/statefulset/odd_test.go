package statefulset

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
			set := world.Odd(r, newSet(t, 3, "v1", ""), "Selector", "UID", "Name")
			v := View{Set: set, Pods: world.Pods("db-0:ready db-1:Failed db-7:Running", set, kind, app), Now: world.Start}
			v.Pods = append(v.Pods, world.Odd(r, &corev1.Pod{}))
			v.Revisions = []*appsv1.ControllerRevision{world.Odd(r, &appsv1.ControllerRevision{})}
			reconcile(v)
		}()
	}
}
