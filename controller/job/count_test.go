package job

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

// end gives a pod its last phase.
func end(w *world.World, p *corev1.Pod, phase corev1.PodPhase, at time.Time) {
	p = p.DeepCopy()
	p.Spec.NodeName, p.Status.Phase = "n", phase
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: map[bool]int32{true: 0, false: 1}[phase == corev1.PodSucceeded], FinishedAt: v1.NewTime(at)}}}}
	world.Put(w, client.Pods, p)
}

// B4: whatever happens to pods, and wherever the controller is stopped between two writes, each pod that ended counts once.
func TestEveryPodCountsOnce(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		now := world.Start
		w := world.New(func() time.Time { return now })
		edits := []string{"completions=12 parallelism=5 backoffLimit=99", "completions=12 parallelism=5 indexed backoffLimit=99", "completions=8 parallelism=3 indexed perIndex=2", "parallelism=4 backoffLimit=99"}[r.IntN(4)]
		world.Put(w, client.Jobs, newJob(t, edits))
		get := func() *batchv1.Job { return world.Get(w, client.Jobs, "ns", "pi") }
		decide := func() []controller.Action {
			return reconcile(View{Job: get(), Pods: world.List(w, client.Pods), Now: now})
		}
		good, bad, ended, indexes := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
		var last batchv1.JobStatus
		for n := 0; ; n++ {
			if n > 3000 {
				t.Fatalf("seed %d: it never ends: %s", seed, show(decide()))
			}
			todo := decide()
			if r.IntN(3) == 0 {
				todo = todo[:r.IntN(len(todo)+1)] // the controller dies here
			}
			for _, a := range todo {
				if p, ok := a.Object.(*corev1.Pod); ok && a.Verb == controller.DeleteObject && tracked(p) && !bad[p.Name] {
					ended[p.Name] = true
				}
			}
			if err := w.Do(todo); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			st := get().Status
			if st.Succeeded < last.Succeeded || st.Failed < last.Failed {
				t.Fatalf("seed %d: a count went back: %v to %v", seed, last, st)
			}
			if last = st; finished(get()) != nil {
				break
			}
			now = now.Add(time.Duration(r.IntN(20)) * time.Second)
			for _, p := range world.List(w, client.Pods) {
				switch k := r.IntN(12); {
				case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
					if k == 0 { // somebody tidies up; a pod that was counted goes at once
						_ = w.Delete(context.Background(), client.Pods.Resource, p.Namespace, p.Name, v1.DeleteOptions{})
					}
				case p.DeletionTimestamp != nil || !tracked(p): // is or will be counted, or the Job has let it go
				case k < 3:
					good[p.Name] = true
					indexes[p.Annotations[batchv1.JobCompletionIndexAnnotation]] = true
					end(w, p, corev1.PodSucceeded, now)
				case k < 5:
					bad[p.Name] = true
					end(w, p, corev1.PodFailed, now)
				case k == 5:
					bad[p.Name] = true
					_ = w.Delete(context.Background(), client.Pods.Resource, p.Namespace, p.Name, v1.DeleteOptions{})
				}
			}
		}
		st, wantGood := last, len(good)
		if indexed(get()) {
			delete(indexes, "")
			wantGood = len(indexes)
		}
		// Pods that the Job itself deleted when it ended count as failed too.
		if int(st.Succeeded) != wantGood || int(st.Failed) < len(bad) || int(st.Failed) > len(bad)+len(ended) {
			t.Errorf("seed %d, %s: succeeded %d, want %d; failed %d, want %d and up to %d more", seed, edits, st.Succeeded, wantGood, st.Failed, len(bad), len(ended))
		}
		if todo := decide(); len(todo) != 0 {
			t.Errorf("seed %d: a finished Job has work left: %s", seed, show(todo))
		}
		for _, p := range world.List(w, client.Pods) {
			if tracked(p) {
				t.Errorf("seed %d: %s still has its finalizer", seed, p.Name)
			}
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		env := w.Env()
		var wg sync.WaitGroup
		wg.Go(func() { _ = env.Events.Run(t.Context()) })
		wg.Go(func() { _ = Run(t.Context(), env) })
		t.Cleanup(wg.Wait)
		failures := 2
		client.Pods.View(t.Context(), w, client.Selection{}).Subscribe(t.Context(), func(_, p *corev1.Pod) {
			if p == nil || p.Status.Phase != corev1.PodPending || p.DeletionTimestamp != nil {
				return
			}
			if failures > 0 {
				failures--
				end(w, p, corev1.PodFailed, time.Now())
				return
			}
			end(w, p, corev1.PodSucceeded, time.Now())
		})
		get := func() *batchv1.Job { return world.Get(w, client.Jobs, "ns", "pi") }

		world.Put(w, client.Jobs, newJob(t, "completions=4 parallelism=1 suspend"))
		time.Sleep(time.Minute)
		if job := get(); len(world.List(w, client.Pods)) != 0 || job.Status.StartTime != nil || len(job.Status.Conditions) != 1 {
			t.Errorf("suspended: %d pods, %v", len(world.List(w, client.Pods)), job.Status)
		}
		world.Change(w, client.Jobs, "ns", "pi", func(job *batchv1.Job) { job.Spec.Suspend = ptr.To(false) })
		began := time.Now()
		time.Sleep(28 * time.Second)
		if job := get(); job.Status.Failed != 2 || job.Status.Succeeded != 0 {
			t.Errorf("after 28 s of a back-off of 30: %v", job.Status)
		}
		time.Sleep(5 * time.Second)
		job := get()
		if finished(job) == nil || finished(job).Type != batchv1.JobComplete || job.Status.Succeeded != 4 || job.Status.Failed != 2 ||
			job.Status.Active != 0 || job.Status.StartTime.Before(&v1.Time{Time: began.Truncate(time.Second)}) {
			t.Errorf("at the end: %v", job.Status)
		}
		said := map[string]bool{}
		for _, e := range world.List(w, client.Events) {
			said[e.Reason+" "+e.Message] = true
		}
		for _, want := range []string{"Suspended Job suspended", "Resumed Job resumed", "Completed Job completed"} {
			if !said[want] {
				t.Errorf("no event %q", want)
			}
		}
		w.Remove(client.Jobs.Resource, "ns", "pi")

		// A pod whose Job is gone is let go, whether it ended or not.
		p := podsOf("lost:Running", job)[0]
		world.Put(w, client.Pods, p)
		time.Sleep(time.Second)
		if p = world.Get(w, client.Pods, "ns", "lost"); len(p.Finalizers) != 0 {
			t.Error(fmt.Sprint("finalizers ", p.Finalizers))
		}
	})
}
