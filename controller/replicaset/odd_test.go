package replicaset

import (
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"testing"

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
			v := View{Set: world.Odd(r, newSet(1), "Selector", "UID"), Kind: Kind, Now: world.Start}
			v.Pods = world.Pods("a:ready b:Failed c:deleting", v.Set, Kind, web)
			v.Pods = append(v.Pods, world.Odd(r, &corev1.Pod{}), world.Odd(r, &corev1.Pod{}))
			todo := Decide(v)
			for _, a := range todo {
				if a.Resource.Resource == "pods" {
					Failed(v, a, errors.New("no"))
				}
			}
		}()
	}
}
