package job

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// burst is the most pods that one decision creates, deletes or counts.
const burst = 500

// decision is one in the making.
type decision struct {
	View
	st  batchv1.JobStatus // as it will be
	ref corev1.ObjectReference

	live, leaving     []*corev1.Pod // unfinished: to stay, and being deleted
	succeeded, failed []*corev1.Pod // that count as such
	done, broken      indexes       // of an Indexed Job: completed and failed for good
	retry             map[int]*corev1.Pod
	failJob           string // why the podFailurePolicy ends the Job

	events, after, untrack []controller.Action
}

// reconcile lists what to do next for the Job.
func reconcile(v View) []controller.Action {
	job, sel := v.Job, selector(v.Job)
	if sel == nil || ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName) != batchv1.JobControllerName {
		return nil
	}
	if finished(job) != nil {
		return nil
	}
	mine, todo := controller.Claim(job, kind, sel, client.Pods, v.Pods, batchv1.JobTrackingFinalizer)
	d := &decision{View: v, ref: client.Reference(kind, job), retry: map[int]*corev1.Pod{}}
	job.Status.DeepCopyInto(&d.st)
	if d.st.UncountedTerminatedPods == nil {
		d.st.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	d.sort(mine)
	d.begin()
	d.count(mine)
	d.judge()
	var work []controller.Action
	if why := d.ending(); why != nil {
		work = d.finish(mine, why)
	} else {
		work = d.manage()
	}
	d.st.Active = int32(len(d.live))
	d.st.Terminating = ptr.To(int32(len(d.leaving)))
	ready := int32(0)
	for _, p := range d.live {
		if pods.Ready(p) {
			ready++
		}
	}
	d.st.Ready = &ready
	// The status is written before any finalizer goes: what it does not know of must stay.
	if !equality.Semantic.DeepEqual(d.st, job.Status) {
		out := *job
		out.Status = d.st
		todo = append(todo, controller.Status(client.Jobs, &out, "status"))
	}
	todo = append(append(todo, d.events...), d.untrack...)
	return append(append(todo, work...), d.after...)
}

// sort tells the states of the Job's pods apart.
func (d *decision) sort(mine []*corev1.Pod) {
	for _, p := range mine {
		switch {
		case p.Status.Phase == corev1.PodSucceeded:
			d.succeeded = append(d.succeeded, p)
		case p.Status.Phase == corev1.PodFailed:
			if tracked(p) || p.DeletionTimestamp == nil { // else we ended it ourselves
				d.failed = append(d.failed, p)
			}
		case p.DeletionTimestamp == nil:
			d.live = append(d.live, p)
		default:
			d.leaving = append(d.leaving, p)
			// One that never ran will never tell how it ended; and others need not be waited for unless the Job says so.
			if tracked(p) && (p.Spec.NodeName == "" || !onlyFailed(d.Job)) {
				d.failed = append(d.failed, p)
			}
		}
	}
}

// begin sets startTime and the condition Suspended.
func (d *decision) begin() {
	now := v1.NewTime(d.Now)
	i := slices.IndexFunc(d.st.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobSuspended })
	suspended := i >= 0 && d.st.Conditions[i].Status == corev1.ConditionTrue
	turn := func(status corev1.ConditionStatus, reason, message, event string) {
		c := batchv1.JobCondition{Type: batchv1.JobSuspended, Status: status, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
		if i >= 0 {
			d.st.Conditions[i] = c
		} else {
			d.st.Conditions = append(d.st.Conditions, c)
		}
		d.events = append(d.events, controller.Say(d.ref, corev1.EventTypeNormal, event, message))
	}
	switch want := d.suspended(); {
	case d.ending() != nil:
	case want && !suspended:
		turn(corev1.ConditionTrue, "JobSuspended", "Job suspended", "Suspended")
	case !want && suspended:
		turn(corev1.ConditionFalse, "JobResumed", "Job resumed", "Resumed")
		d.st.StartTime = &now
	case !want && d.st.StartTime == nil:
		d.st.StartTime = &now
	}
}

func (d *decision) suspended() bool { return ptr.Deref(d.Job.Spec.Suspend, false) }

// count takes the Job's ended pods into its status, each exactly once.
func (d *decision) count(mine []*corev1.Pod) {
	un := d.st.UncountedTerminatedPods
	waiting := map[types.UID]bool{} // pods that still have their finalizer
	for _, p := range mine {
		if tracked(p) {
			waiting[p.UID] = true
		}
	}
	settle := func(list []types.UID, n *int32) []types.UID {
		return slices.DeleteFunc(list, func(uid types.UID) bool {
			if waiting[uid] {
				return false
			}
			*n++
			return true
		})
	}
	un.Succeeded, un.Failed = settle(un.Succeeded, &d.st.Succeeded), settle(un.Failed, &d.st.Failed)

	limit := 0
	if indexed(d.Job) {
		limit = int(*d.Job.Spec.Completions)
		d.done, d.broken = parse(d.st.CompletedIndexes, limit), parse(ptr.Deref(d.st.FailedIndexes, ""), limit)
	}
	left := burst
	var fresh []int
	for _, p := range d.succeeded {
		if !tracked(p) || left == 0 {
			continue
		}
		left--
		d.release(p)
		if !indexed(d.Job) {
			if !slices.Contains(un.Succeeded, p.UID) && !slices.Contains(un.Failed, p.UID) {
				un.Succeeded = append(un.Succeeded, p.UID)
			}
		} else if i := indexOf(p, limit); i >= 0 && !d.broken.has(i) {
			fresh = append(fresh, i)
		}
	}
	if indexed(d.Job) {
		d.done = d.done.with(fresh...)
		d.st.CompletedIndexes, d.st.Succeeded = d.done.String(), int32(d.done.len())
	}
	last := d.lastFailures(limit)
	fresh = nil
	for _, p := range d.failed {
		if !tracked(p) {
			continue
		}
		action, why := onFailure(d.Job, p)
		if action == batchv1.PodFailurePolicyActionFailJob && d.failJob == "" {
			d.failJob = why
		}
		if i := indexOf(p, limit); d.Job.Spec.BackoffLimitPerIndex != nil && i >= 0 && last[i] == p && !d.done.has(i) && !d.broken.has(i) && d.ending() == nil {
			n := failuresOf(p, batchv1.JobIndexFailureCountAnnotation)
			if action == batchv1.PodFailurePolicyActionFailIndex || action != batchv1.PodFailurePolicyActionIgnore && n >= int(*d.Job.Spec.BackoffLimitPerIndex) {
				fresh = append(fresh, i)
			} else if d.failJob == "" {
				d.retry[i] = p // its finalizer keeps it until its replacement knows how often the index failed
				continue
			}
		}
		if left == 0 {
			continue
		}
		left--
		d.release(p)
		if action != batchv1.PodFailurePolicyActionIgnore && !slices.Contains(un.Failed, p.UID) && !slices.Contains(un.Succeeded, p.UID) {
			un.Failed = append(un.Failed, p.UID)
		}
	}
	if d.Job.Spec.BackoffLimitPerIndex != nil && indexed(d.Job) {
		d.broken = d.broken.with(fresh...)
		d.st.FailedIndexes = ptr.To(d.broken.String())
	}
}

// lastFailures is the newest failed pod of each index that has no newer one: those that are to be replaced.
func (d *decision) lastFailures(limit int) map[int]*corev1.Pod {
	if d.Job.Spec.BackoffLimitPerIndex == nil {
		return nil
	}
	last := map[int]*corev1.Pod{}
	for _, p := range slices.Concat(d.failed, d.live) {
		if i := indexOf(p, limit); i >= 0 && (last[i] == nil || attempts(p) > attempts(last[i])) {
			last[i] = p
		}
	}
	return last
}

// release lets go of a pod that the status knows of.
func (d *decision) release(p *corev1.Pod) { d.untrack = append(d.untrack, untrack(p)...) }

func (d *decision) failures() int32 {
	return d.st.Failed + int32(len(d.st.UncountedTerminatedPods.Failed))
}

func (d *decision) successes() int32 {
	if indexed(d.Job) {
		return d.st.Succeeded
	}
	return d.st.Succeeded + int32(len(d.st.UncountedTerminatedPods.Succeeded))
}

// ending is the condition that says how the Job will end once its pods have, or nil.
func (d *decision) ending() *batchv1.JobCondition {
	for i, c := range d.st.Conditions {
		if (c.Type == batchv1.JobFailureTarget || c.Type == batchv1.JobSuccessCriteriaMet) && c.Status == corev1.ConditionTrue {
			return &d.st.Conditions[i]
		}
	}
	return nil
}

// judge decides whether the Job has to end, and how.
func (d *decision) judge() {
	if d.ending() != nil {
		return
	}
	now, spec := v1.NewTime(d.Now), d.Job.Spec
	end := func(t batchv1.JobConditionType, reason, message string) {
		d.st.Conditions = append(d.st.Conditions, batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			LastProbeTime: now, LastTransitionTime: now})
	}
	limit := ptr.Deref(spec.BackoffLimit, 6)
	perIndex := spec.BackoffLimitPerIndex != nil && indexed(d.Job)
	rule, enough := enough(d.Job, d.done)
	var late time.Duration = -1
	if spec.ActiveDeadlineSeconds != nil && d.st.StartTime != nil && !d.suspended() {
		late = d.Now.Sub(d.st.StartTime.Add(time.Duration(*spec.ActiveDeadlineSeconds) * time.Second))
		if late < 0 {
			d.after = append(d.after, controller.After(-late))
		}
	}
	switch {
	case d.failJob != "":
		end(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, d.failJob)
	case d.failures() > limit || restartsBeyond(d.Job, d.live, limit):
		end(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case late >= 0:
		end(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case perIndex && spec.MaxFailedIndexes != nil && d.broken.len() > int(*spec.MaxFailedIndexes):
		end(batchv1.JobFailureTarget, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case enough:
		end(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, rule)
	case perIndex && d.broken.len() > 0 && d.broken.len()+d.done.len() >= int(*spec.Completions):
		end(batchv1.JobFailureTarget, batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	case spec.Completions != nil && d.successes() >= *spec.Completions, spec.Completions == nil && d.successes() > 0 && len(d.live) == 0:
		end(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	}
}

// finish ends all pods, and then the Job.
func (d *decision) finish(mine []*corev1.Pod, why *batchv1.JobCondition) (work []controller.Action) {
	d.after = nil
	for _, p := range d.live[:min(len(d.live), burst)] {
		work = append(work, pods.Delete(p, d.ref, string(why.Type)+": "+why.Reason))
	}
	un := d.st.UncountedTerminatedPods
	if len(d.live)+len(d.leaving)+len(un.Failed)+len(un.Succeeded) > 0 || slices.ContainsFunc(mine, tracked) {
		return work
	}
	now := v1.NewTime(d.Now)
	t, event := batchv1.JobFailed, controller.Say(d.ref, corev1.EventTypeWarning, why.Reason, why.Message)
	if why.Type == batchv1.JobSuccessCriteriaMet {
		t, event = batchv1.JobComplete, controller.Say(d.ref, corev1.EventTypeNormal, "Completed", "Job completed")
		d.st.CompletionTime = &now
	}
	if d.st.StartTime == nil {
		d.st.StartTime = &now // a Job that ended before it began
	}
	d.st.Conditions = append(d.st.Conditions, batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, Reason: why.Reason, Message: why.Message,
		LastProbeTime: now, LastTransitionTime: now})
	d.st.UncountedTerminatedPods = nil
	d.events = append(d.events, event)
	return work
}

// manage creates the pods that are missing and deletes those that are too many.
func (d *decision) manage() (work []controller.Action) {
	if d.Job.DeletionTimestamp != nil {
		return nil
	}
	del := func(list []*corev1.Pod, reason string) {
		list = list[:min(len(list), burst)]
		for _, p := range list { // without its finalizer nobody counts it as failed
			if tracked(p) {
				work = append(work, untrack(p)...)
			}
		}
		for _, p := range list {
			work = append(work, pods.Delete(p, d.ref, reason))
		}
	}
	if d.suspended() {
		del(d.live, "suspended")
		return work
	}
	want := d.wanted()
	reason := fmt.Sprintf("%d of %d active, %d succeeded", len(d.live), want, d.successes())
	if extra := d.superfluous(want); len(extra) > 0 {
		del(extra, reason)
		return work
	}
	missing := want - len(d.live)
	if onlyFailed(d.Job) {
		missing -= len(d.leaving)
	}
	if missing = min(missing, burst); missing <= 0 {
		return work
	}
	if d.Job.Spec.BackoffLimitPerIndex == nil || !indexed(d.Job) {
		if wait := backoff(d.failed, d.succeeded, d.Now); wait > 0 {
			d.after = append(d.after, controller.After(wait))
			return work
		}
	}
	if !indexed(d.Job) {
		for range missing {
			work = append(work, pods.Create(newPod(d.Job, -1), d.ref, reason))
		}
		return work
	}
	for _, i := range d.nextIndexes(missing) {
		p := newPod(d.Job, i)
		if d.Job.Spec.BackoffLimitPerIndex != nil {
			d.heir(p, i)
		}
		work = append(work, pods.Create(p, d.ref, reason))
	}
	return work
}

// wanted is how many pods should be active now.
func (d *decision) wanted() int {
	parallel, spec := int(max(0, ptr.Deref(d.Job.Spec.Parallelism, 1))), d.Job.Spec
	if spec.Completions == nil { // a work queue: after a success nobody is replaced
		if d.successes() > 0 {
			return min(len(d.live), parallel)
		}
		return parallel
	}
	left := int(*spec.Completions) - int(d.successes()) - d.broken.len()
	return max(0, min(parallel, left))
}

// superfluous lists the pods to delete: of an Indexed Job those whose index nobody needs, then the least useful.
func (d *decision) superfluous(want int) (extra []*corev1.Pod) {
	keep := pods.LeastUseful(d.live, pods.Crowd(d.live), d.Now)
	if indexed(d.Job) {
		slices.Reverse(keep) // of two with one index the more useful stays
		seen := map[int]bool{}
		keep = slices.DeleteFunc(keep, func(p *corev1.Pod) bool {
			i := indexOf(p, int(*d.Job.Spec.Completions))
			if i < 0 || seen[i] || d.done.has(i) || d.broken.has(i) {
				extra = append(extra, p)
				return true
			}
			seen[i] = true
			return false
		})
		slices.Reverse(keep)
	}
	return append(extra, keep[:max(0, len(keep)-want)]...)
}

// nextIndexes lists the lowest indexes that need a pod now.
func (d *decision) nextIndexes(n int) []int {
	limit := int(*d.Job.Spec.Completions)
	busy := map[int]bool{}
	for _, p := range d.live {
		busy[indexOf(p, limit)] = true
	}
	if onlyFailed(d.Job) {
		for _, p := range d.leaving {
			busy[indexOf(p, limit)] = true
		}
	}
	var soonest time.Duration
	free := func(i int) bool {
		if busy[i] {
			return false
		}
		p := d.retry[i]
		if p == nil {
			return true
		}
		wait := endOf(p).Add(delay(attempts(p) + 1)).Sub(d.Now)
		if wait > 0 && (soonest == 0 || wait < soonest) {
			soonest = wait
		}
		return wait <= 0
	}
	out := missing(limit, n, free, d.done, d.broken)
	if soonest > 0 {
		d.after = append(d.after, controller.After(soonest))
	}
	return out
}

// attempts is how often the pod's index had failed, for whatever cause, when the pod was made.
func attempts(p *corev1.Pod) int {
	return failuresOf(p, batchv1.JobIndexFailureCountAnnotation) + failuresOf(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// heir tells the new pod how often its index has failed.
func (d *decision) heir(p *corev1.Pod, i int) {
	failed, ignored := 0, 0
	if old := d.retry[i]; old != nil {
		failed, ignored = failuresOf(old, batchv1.JobIndexFailureCountAnnotation), failuresOf(old, batchv1.JobIndexIgnoredFailureCountAnnotation)
		if action, _ := onFailure(d.Job, old); action == batchv1.PodFailurePolicyActionIgnore {
			ignored++
		} else {
			failed++
		}
	}
	p.Annotations = with(p.Annotations, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(failed))
	if ignored > 0 {
		p.Annotations = with(p.Annotations, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(ignored))
	}
}
