// Package ttlafterfinished deletes finished Jobs when their ttlSecondsAfterFinished is over,
// their pods first. Keys come from changes of Jobs, and from the clock.
package ttlafterfinished

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Run deletes Jobs until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	jobs := client.Jobs.View(ctx, env.Client, client.Selection{})
	q := env.Queue("ttl_jobs_to_delete")
	controller.Feed(ctx, q, jobs, func(_, job *batchv1.Job) []string {
		if job == nil || job.Spec.TTLSecondsAfterFinished == nil || finished(job) == nil {
			return nil
		}
		return []string{controller.KeyOf(job)}
	})
	look := func(key string) (View, bool) {
		job, ok := jobs.Get(controller.SplitKey(key))
		return View{Job: job, Now: env.Now()}, ok
	}
	loop := controller.Loop[View]{Name: "ttl-after-finished", Env: env, Queue: q, Views: []client.View{jobs.View}, Workers: 1, Look: look, Decide: reconcile}
	return loop.Run(ctx)
}

// View is everything reconcile may know. Shared: never write to it.
type View struct {
	Job *batchv1.Job
	Now time.Time
}

// finished returns the condition that ended the Job, or nil.
func finished(job *batchv1.Job) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// reconcile deletes the Job if its time is over, or waits until it is.
func reconcile(v View) []controller.Action {
	end, ttl := finished(v.Job), v.Job.Spec.TTLSecondsAfterFinished
	if end == nil || ttl == nil || v.Job.DeletionTimestamp != nil {
		return nil
	}
	if left := end.LastTransitionTime.Add(time.Duration(*ttl) * time.Second).Sub(v.Now); left > 0 {
		return []controller.Action{controller.After(left)}
	}
	a := controller.Delete(client.Jobs, v.Job, "ttlSecondsAfterFinished is over")
	a.Delete.PropagationPolicy = ptr.To(v1.DeletePropagationForeground)
	return []controller.Action{a}
}
