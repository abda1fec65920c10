package ttlafterfinished

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func TestRun(t *testing.T) {
	tests := map[string]struct {
		ttl  *int32
		end  batchv1.JobConditionType
		gone time.Duration // 0: never
	}{
		"complete":           {ptr.To[int32](90), batchv1.JobComplete, 90 * time.Second},
		"failed":             {ptr.To[int32](30), batchv1.JobFailed, 30 * time.Second},
		"at once":            {ptr.To[int32](0), batchv1.JobComplete, time.Millisecond},
		"kept without a ttl": {nil, batchv1.JobComplete, 0},
		"not finished":       {ptr.To[int32](0), batchv1.JobSuccessCriteriaMet, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world.New(time.Now)
				var wg sync.WaitGroup
				wg.Go(func() { _ = Run(t.Context(), w.Env()) })
				t.Cleanup(wg.Wait)
				job := &batchv1.Job{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "pi"}, Spec: batchv1.JobSpec{TTLSecondsAfterFinished: tt.ttl}}
				job.Status.Conditions = []batchv1.JobCondition{{Type: tt.end, Status: corev1.ConditionTrue, LastTransitionTime: v1.Now()}}
				world.Put(w, client.Jobs, job)
				there := func() bool { synctest.Wait(); return world.Get(w, client.Jobs, "ns", "pi") != nil }
				if tt.gone > time.Second {
					if time.Sleep(tt.gone - time.Second); !there() {
						t.Error("deleted too early")
					}
				}
				time.Sleep(max(tt.gone, 2*time.Second))
				if there() != (tt.gone == 0) {
					t.Errorf("there: %v", there())
				}
			})
		})
	}
}
