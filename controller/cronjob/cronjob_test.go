package cronjob

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func newCron(schedule string, policy batchv1.ConcurrencyPolicy) *batchv1.CronJob {
	c := &batchv1.CronJob{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "tick", UID: "cron", CreationTimestamp: v1.NewTime(world.Start)}}
	c.Spec = batchv1.CronJobSpec{Schedule: schedule, ConcurrencyPolicy: policy, SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](1)}
	return c
}

// jobs reads words such as "a:Complete b:active c:Failed", oldest first.
func jobs(words string, c *batchv1.CronJob) (out []*batchv1.Job) {
	for i, word := range strings.Fields(words) {
		name, how, _ := strings.Cut(word, ":")
		at := v1.NewTime(world.Start.Add(time.Duration(i) * time.Second))
		job := &batchv1.Job{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), CreationTimestamp: at, OwnerReferences: []v1.OwnerReference{*v1.NewControllerRef(c, kind)}}}
		if how != "active" {
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobConditionType(how), Status: corev1.ConditionTrue}}
		}
		if how == "Complete" {
			job.Status.CompletionTime = &at
		}
		out = append(out, job)
	}
	return out
}

func TestReconcile(t *testing.T) {
	const hourly = "0 * * * *"
	at := world.Start.Add // 03:00 on January 2nd
	name := func(d time.Duration) string { return fmt.Sprintf("create Job tick-%d", at(d).Unix()/60) }
	tests := map[string]struct {
		schedule, jobs string
		policy         batchv1.ConcurrencyPolicy
		last, now      time.Duration // since Start; last 0: never
		deadline       int64
		suspend        bool
		zone           string
		taken          bool
		want           string // status writes left out
	}{
		"not yet":                        {schedule: hourly, now: 30 * time.Minute, want: "again in 30m0s"},
		"it is time":                     {schedule: hourly, now: time.Hour, want: name(time.Hour) + ", again in 1h0m0s"},
		"once":                           {schedule: hourly, last: time.Hour, now: time.Hour + time.Minute, want: "again in 59m0s"},
		"of missed times the newest":     {schedule: hourly, last: time.Hour, now: 5*time.Hour + time.Minute, want: name(5*time.Hour) + ", again in 59m0s"},
		"a year of missed minutes":       {schedule: "* * * * *", last: time.Hour, now: 8760 * time.Hour, want: "event TooManyMissedTimes, " + name(8760*time.Hour) + ", again in 1m0s"},
		"too late":                       {schedule: hourly, now: time.Hour + time.Minute, deadline: 30, want: "again in 59m0s"},
		"not too late":                   {schedule: hourly, now: time.Hour + time.Minute, deadline: 90, want: name(time.Hour) + ", again in 59m0s"},
		"a clock that went back":         {schedule: hourly, last: 24 * time.Hour, now: 90 * time.Minute, want: "again in 30m0s"},
		"suspended":                      {schedule: hourly, now: time.Hour, suspend: true, want: ""},
		"forbid: while one runs":         {schedule: hourly, now: time.Hour, policy: batchv1.ForbidConcurrent, jobs: "a:active", want: "event JobAlreadyActive, again in 1h0m0s"},
		"forbid: when it has ended":      {schedule: hourly, now: time.Hour, policy: batchv1.ForbidConcurrent, jobs: "a:Failed", want: name(time.Hour) + ", again in 1h0m0s"},
		"replace":                        {schedule: hourly, now: time.Hour, policy: batchv1.ReplaceConcurrent, jobs: "a:active", want: "delete Job a, " + name(time.Hour) + ", again in 1h0m0s"},
		"allow":                          {schedule: hourly, now: time.Hour, policy: batchv1.AllowConcurrent, jobs: "a:active", want: name(time.Hour) + ", again in 1h0m0s"},
		"the oldest are deleted":         {schedule: hourly, jobs: "a:Complete b:Complete c:Failed d:Complete e:Complete f:Failed", want: "delete Job a, delete Job c, again in 1h0m0s"},
		"in its own time zone":           {schedule: "30 4 * * *", zone: "Europe/Berlin", now: 30 * time.Minute, want: name(30*time.Minute) + ", again in 24h0m0s"},
		"a schedule that is none":        {schedule: "every day", want: "event UnparseableSchedule"},
		"one that is not even that":      {schedule: "TZ=UTC", want: "event UnparseableSchedule"},
		"a time zone that is none":       {schedule: hourly, zone: "Moon/Base", want: "event UnknownTimeZone"},
		"a day that never comes":         {schedule: "0 0 30 2 *", now: time.Hour, want: ""},
		"the name is taken by its own":   {schedule: hourly, now: time.Hour, taken: true, want: "again in 1h0m0s"},
		"daylight saving: skipped hour":  {schedule: "30 2 * * *", zone: "Europe/Berlin", last: 86*24*time.Hour - 90*time.Minute, now: 86*24*time.Hour + time.Hour, want: "again in 20h30m0s"},
		"daylight saving: repeated hour": {schedule: "30 2 * * *", zone: "Europe/Berlin", last: 295*24*time.Hour + 21*time.Hour + 30*time.Minute, now: 295*24*time.Hour + 22*time.Hour + 30*time.Minute, want: "again in 24h0m0s"},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			c := newCron(tt.schedule, tt.policy)
			c.Spec.Suspend = &tt.suspend
			if tt.zone != "" {
				c.Spec.TimeZone = &tt.zone
			}
			if tt.deadline > 0 {
				c.Spec.StartingDeadlineSeconds = &tt.deadline
			}
			if tt.last > 0 {
				c.Status.LastScheduleTime = &v1.Time{Time: at(tt.last)}
			}
			v := View{Cron: c, Jobs: jobs(tt.jobs, c), Now: at(tt.now)}
			if tt.taken {
				v.Namesake = jobs("x:active", c)[0]
			}
			var got []string
			for _, s := range strings.Split(world.Show(reconcile(v)), ", ") {
				if !strings.HasPrefix(s, "update status") {
					got = append(got, s)
				}
			}
			if got := strings.Join(got, ", "); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// B4: two hours of every minute, with a clock that jumps a day ahead and back: no time has two Jobs, and no jump makes a storm.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump atomic.Int64
		w := world.New(func() time.Time { return time.Now().Add(time.Duration(jump.Load())) })
		var wg sync.WaitGroup
		env := w.Env()
		wg.Go(func() { _ = env.Events.Run(t.Context()) })
		wg.Go(func() { _ = Run(t.Context(), env) })
		t.Cleanup(wg.Wait)
		started := map[string]int{}
		client.Jobs.View(t.Context(), w, client.Selection{}).Subscribe(t.Context(), func(old, job *batchv1.Job) {
			if old == nil && job != nil {
				started[job.Annotations[batchv1.CronJobScheduledTimestampAnnotation]]++
				job = job.DeepCopy()
				now := v1.NewTime(w.Now())
				job.Status.CompletionTime = &now
				job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
				world.Put(w, client.Jobs, job)
			}
		})
		c := newCron("* * * * *", batchv1.AllowConcurrent)
		c.CreationTimestamp = v1.NewTime(time.Now())
		world.Put(w, client.CronJobs, c)
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if n := len(started); n != 60 {
			t.Errorf("%d Jobs within an hour of minutes", n)
		}
		jump.Store(int64(24 * time.Hour))
		time.Sleep(time.Hour)
		jump.Store(0)
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		for at, n := range started {
			if n > 1 {
				t.Errorf("%d Jobs for %s", n, at)
			}
		}
		if n := len(started); n < 120+5*60-70 || n > 120+6*60 {
			t.Errorf("%d Jobs in all", n)
		}
		st := world.Get(w, client.CronJobs, "ns", "tick").Status
		if len(st.Active) != 0 || st.LastSuccessfulTime == nil || len(world.List(w, client.Jobs)) > 3 {
			t.Errorf("status %v, %d Jobs kept", st, len(world.List(w, client.Jobs)))
		}
	})
}
