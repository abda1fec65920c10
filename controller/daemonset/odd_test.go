package daemonset

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
			set := world.Odd(r, newSet("v1", "1/0"), "Selector", "UID")
			v := View{Set: set, Nodes: nodes("n1 n2:blue n3:NoSchedule=x"), Pods: world.Pods("a:ready,@n1 b:Failed,@n2", set, kind, app), Now: world.Start}
			v.Nodes = append(v.Nodes, world.Odd(r, &corev1.Node{}))
			v.Pods = append(v.Pods, world.Odd(r, &corev1.Pod{}))
			v.Revisions = []*appsv1.ControllerRevision{world.Odd(r, &appsv1.ControllerRevision{})}
			reconcile(v)
		}()
	}
}
