// Package job runs the pods of each Job until enough of them succeeded or too many failed, counts
// every one exactly once. Keys come from changes of Jobs and of pods. That a finished Job goes after its
// ttlSecondsAfterFinished is the ttlafterfinished package's, which has the right to delete Jobs.
//
// Counting has three steps, each a write of its own: the pod's UID goes into status.uncountedTerminatedPods;
// the pod's finalizer goes, and with it perhaps the pod; the UID makes room for a count. Whatever is lost
// between two steps, the next look goes on from there. Source: batch/v1, JobStatus.
package job

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// pace is how often one Job is looked at while its pods change all the time.
const pace = 20 * time.Millisecond

// Run runs all Jobs until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	jobs := client.Jobs.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	q, lost := env.Queue("job"), env.Queue("job_orphan_pod")
	q.Pace = pace
	controller.FeedSelf(ctx, q, jobs)
	children := controller.FeedChildren(ctx, q, all, kind.Kind, pods.Adopters[*corev1.Pod](jobs, selector))
	controller.Feed(ctx, lost, all, func(_, p *corev1.Pod) []string {
		if p == nil || !tracked(p) || !ownerless(jobs, p) {
			return nil
		}
		return []string{controller.KeyOf(p)}
	})
	controller.Feed(ctx, lost, jobs, func(old, now *batchv1.Job) (keys []string) {
		if old != nil && now == nil {
			for _, p := range all.OwnedBy(old.UID) {
				keys = append(keys, controller.KeyOf(p))
			}
		}
		return keys
	})
	views := []client.View{jobs.View, all.View}
	work := controller.Loop[View]{Name: "job", Env: env, Queue: q, Views: views, Decide: reconcile,
		Look: func(key string) (View, bool) {
			job, ok := jobs.Get(controller.SplitKey(key))
			if !ok {
				return View{}, false
			}
			return View{Job: job, Pods: children.Of(job, selector(job)), Now: env.Now()}, true
		}}
	// A pod that outlives its Job must not wait for ever to be counted.
	release := controller.Loop[*corev1.Pod]{Name: "job-pods", Env: env, Queue: lost, Views: views, Workers: 1, Decide: untrack,
		Look: func(key string) (*corev1.Pod, bool) {
			p, ok := all.Get(controller.SplitKey(key))
			return p, ok && tracked(p) && ownerless(jobs, p)
		}}
	var wg sync.WaitGroup
	wg.Go(func() { _ = release.Run(ctx) })
	defer wg.Wait()
	return work.Run(ctx)
}

func selector(job *batchv1.Job) labels.Selector { return pods.Selector(job.Spec.Selector) }

func tracked(p *corev1.Pod) bool {
	return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer)
}

// ownerless tells whether no Job will ever count the pod.
func ownerless(jobs client.TypedView[*batchv1.Job], p *corev1.Pod) bool {
	ref := v1.GetControllerOfNoCopy(p)
	if ref == nil || ref.Kind != kind.Kind {
		return true
	}
	job, _ := jobs.Get(p.Namespace, ref.Name)
	return job == nil || job.UID != ref.UID || job.Spec.ManagedBy == nil && finished(job) != nil
}

// untrack removes the pod's finalizer.
func untrack(p *corev1.Pod) []controller.Action {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"$deleteFromPrimitiveList/finalizers":[%q]}}`, p.UID, batchv1.JobTrackingFinalizer)
	return []controller.Action{controller.Patch(client.Pods, p, "", types.StrategicMergePatchType, []byte(patch), "is accounted for")}
}

// View is everything reconcile may know. Shared: never write to it.
type View struct {
	Job  *batchv1.Job
	Pods []*corev1.Pod // that it controls or may adopt, finished ones too
	Now  time.Time
}

func condition(job *batchv1.Job, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// finished returns the condition that ended the Job, or nil.
func finished(job *batchv1.Job) *batchv1.JobCondition {
	if c := condition(job, batchv1.JobComplete); c != nil {
		return c
	}
	return condition(job, batchv1.JobFailed)
}

func indexed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion && job.Spec.Completions != nil
}

// onlyFailed tells whether a pod is replaced only once it has really ended.
func onlyFailed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}
