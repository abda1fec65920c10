package cronjob

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// decision is one in the making.
type decision struct {
	View
	ref    corev1.ObjectReference
	active []*batchv1.Job
	st     batchv1.CronJobStatus // as it will be
	todo   []controller.Action
}

// reconcile lists what to do now for the CronJob, and when to look again.
func reconcile(v View) []controller.Action {
	c := v.Cron
	if c.DeletionTimestamp != nil {
		return nil
	}
	d := &decision{View: v, ref: client.Reference(kind, c)}
	c.Status.DeepCopyInto(&d.st)
	d.observe()
	d.tidy()
	next := time.Duration(0)
	if !ptr.Deref(c.Spec.Suspend, false) {
		next = d.start()
	}
	if !equality.Semantic.DeepEqual(d.st, c.Status) {
		out := *c
		out.Status = d.st
		d.todo = append(d.todo, controller.Status(client.CronJobs, &out, "status"))
	}
	if next > 0 {
		d.todo = append(d.todo, controller.After(next))
	}
	return d.todo
}

// ended is the type of the condition that ended the Job, or "".
func ended(job *batchv1.Job) batchv1.JobConditionType {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

func (d *decision) say(kindOf, reason, message string) {
	d.todo = append(d.todo, controller.Say(d.ref, kindOf, reason, message))
}

// observe takes over from the Jobs which of them run, and the last success.
func (d *decision) observe() {
	was := map[string]bool{}
	for _, ref := range d.st.Active {
		was[string(ref.UID)] = true
	}
	d.st.Active = nil
	for _, job := range d.Jobs {
		how, known := ended(job), was[string(job.UID)]
		delete(was, string(job.UID))
		switch {
		case how == "":
			d.active = append(d.active, job)
			d.st.Active = append(d.st.Active, corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: job.Namespace, Name: job.Name, UID: job.UID})
		case known:
			d.say(corev1.EventTypeNormal, "SawCompletedJob", fmt.Sprintf("Saw completed job: %s, condition: %s", job.Name, how))
		}
		if at := job.Status.CompletionTime; how == batchv1.JobComplete && at != nil && (d.st.LastSuccessfulTime == nil || d.st.LastSuccessfulTime.Before(at)) {
			d.st.LastSuccessfulTime = at
		}
	}
	for _, ref := range d.Cron.Status.Active {
		if was[string(ref.UID)] {
			d.say(corev1.EventTypeNormal, "MissingJob", "Active job went missing: "+ref.Name)
		}
	}
	for i, ref := range d.st.Active { // as it was written, if it was
		for _, old := range d.Cron.Status.Active {
			if old.UID == ref.UID {
				d.st.Active[i] = old
			}
		}
	}
}

// tidy deletes the oldest finished Jobs beyond the history limits.
func (d *decision) tidy() {
	for how, limit := range map[batchv1.JobConditionType]int32{
		batchv1.JobComplete: ptr.Deref(d.Cron.Spec.SuccessfulJobsHistoryLimit, 3), batchv1.JobFailed: ptr.Deref(d.Cron.Spec.FailedJobsHistoryLimit, 1)} {
		list := slices.DeleteFunc(slices.Clone(d.Jobs), func(job *batchv1.Job) bool { return ended(job) != how || job.DeletionTimestamp != nil })
		slices.SortFunc(list, func(a, b *batchv1.Job) int {
			return cmp.Or(begin(a).Compare(begin(b)), cmp.Compare(a.Name, b.Name))
		})
		for _, job := range list[:max(0, len(list)-int(max(0, limit)))] {
			d.delete(job, "beyond the history limit")
		}
	}
	slices.SortFunc(d.todo, func(a, b controller.Action) int { return cmp.Compare(a.String(), b.String()) }) // not in a map's order
}

func begin(job *batchv1.Job) time.Time {
	if job.Status.StartTime != nil {
		return job.Status.StartTime.Time
	}
	return job.CreationTimestamp.Time
}

func (d *decision) delete(job *batchv1.Job, reason string) {
	d.todo = append(d.todo, controller.Delete(client.Jobs, job, reason).With(d.ref,
		controller.Event{Type: corev1.EventTypeNormal, Reason: "SuccessfulDelete", Message: "Deleted job " + job.Name},
		controller.Event{Type: corev1.EventTypeWarning, Reason: "FailedDelete", Message: "Deleted job: %e"}))
}

// start starts the Job that is due, if the concurrency policy lets it, and returns when the next will be.
func (d *decision) start() (next time.Duration) {
	c := d.Cron
	s, err := schedule(c)
	switch {
	case errors.Is(err, errTimeZone):
		d.say(corev1.EventTypeWarning, "UnknownTimeZone", fmt.Sprintf("invalid timeZone: %q: %s", *c.Spec.TimeZone, err))
		return 0
	case err != nil:
		d.say(corev1.EventTypeWarning, "UnparseableSchedule", fmt.Sprintf("unparseable schedule: %q : %s", c.Spec.Schedule, err))
		return 0
	}
	if t := s.Next(d.Now); !t.IsZero() {
		next = max(t.Sub(d.Now), time.Millisecond)
	}
	at, due := d.due()
	if !due {
		return next
	}
	from := c.CreationTimestamp.Time
	if c.Status.LastScheduleTime != nil {
		from = c.Status.LastScheduleTime.Time
	}
	if c.Spec.StartingDeadlineSeconds == nil && tooMany(s, from, at) {
		d.say(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	name := jobName(c, at)
	if d.Namesake != nil { // it was started, or will never be: the name is taken
		d.st.LastScheduleTime = &v1.Time{Time: at}
		if !v1.IsControlledBy(d.Namesake, c) {
			d.say(corev1.EventTypeWarning, "FailedCreate", fmt.Sprintf("Error creating job: jobs.batch %q already exists", name))
		}
		return next
	}
	switch {
	case len(d.active) > 0 && c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent:
		d.say(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return next
	case c.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent:
		for _, job := range d.active {
			if job.DeletionTimestamp == nil {
				d.delete(job, "replaced by "+name)
			}
		}
	}
	d.todo = append(d.todo, controller.Create(client.Jobs, newJob(c, at), "it is "+at.Format(time.RFC3339)).With(d.ref,
		controller.Event{Type: corev1.EventTypeNormal, Reason: "SuccessfulCreate", Message: "Created job " + name},
		controller.Event{Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: "Error creating job: %e"}))
	d.st.LastScheduleTime = &v1.Time{Time: at}
	return next
}

// newJob makes the Job of a scheduled time.
func newJob(c *batchv1.CronJob, at time.Time) *batchv1.Job {
	t := c.Spec.JobTemplate.DeepCopy()
	job := &batchv1.Job{ObjectMeta: v1.ObjectMeta{Namespace: c.Namespace, Name: jobName(c, at), Labels: t.Labels,
		Annotations: maps.Clone(t.Annotations), OwnerReferences: []v1.OwnerReference{*v1.NewControllerRef(c, kind)}}, Spec: t.Spec}
	if job.Annotations == nil {
		job.Annotations = map[string]string{}
	}
	zone := time.UTC
	if c.Spec.TimeZone != nil {
		if z, err := time.LoadLocation(*c.Spec.TimeZone); err == nil {
			zone = z
		}
	}
	job.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.In(zone).Format(time.RFC3339)
	return job
}
