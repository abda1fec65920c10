package cronjob

import (
	"math/rand/v2"
	"runtime/debug"
	"testing"

	batchv1 "k8s.io/api/batch/v1"

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
			c := world.Odd(r, newCron("* * * * *", ""), "UID", "CreationTimestamp")
			v := View{Cron: c, Jobs: []*batchv1.Job{world.Odd(r, &batchv1.Job{})}, Now: world.Start}
			v.due()
			reconcile(v)
		}()
	}
}
