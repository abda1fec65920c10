// Package cronjob starts a Job for each time of a CronJob's schedule, at most one per time: its name
// is made of the time. Keys come from changes of CronJobs and of their Jobs, and from the clock.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// Run keeps all CronJobs until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	crons := client.CronJobs.View(ctx, env.Client, client.Selection{})
	jobs := client.Jobs.View(ctx, env.Client, client.Selection{})
	q := env.Queue("cronjob")
	controller.FeedSelf(ctx, q, crons)
	children := controller.FeedChildren(ctx, q, jobs, kind.Kind, func(*batchv1.Job) []string { return nil }) // it adopts none
	look := func(key string) (View, bool) {
		c, ok := crons.Get(controller.SplitKey(key))
		if !ok {
			return View{}, false
		}
		v := View{Cron: c, Jobs: children.Of(c, nil), Now: env.Now()}
		if at, ok := v.due(); ok {
			v.Namesake, _ = jobs.Get(c.Namespace, jobName(c, at))
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "cronjob", Env: env, Queue: q, Views: []client.View{crons.View, jobs.View}, Look: look, Decide: reconcile}
	return loop.Run(ctx)
}

// View is everything reconcile may know. Shared: never write to it.
type View struct {
	Cron     *batchv1.CronJob
	Jobs     []*batchv1.Job // that it controls
	Namesake *batchv1.Job   // whoever has the name that a Job for the time that is due would get, or nil
	Now      time.Time
}

// errTimeZone is that spec.timeZone is none that this machine knows.
var errTimeZone = errors.New("unknown time zone")

// schedule reads spec.schedule in its time zone.
func schedule(c *batchv1.CronJob) (cron.Schedule, error) {
	text := strings.TrimSpace(c.Spec.Schedule)
	if zone := c.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			return nil, fmt.Errorf("%w: %w", errTimeZone, err)
		}
		text = "TZ=" + *zone + " " + text
	}
	if strings.Contains(text, "TZ=") && !strings.Contains(text, " ") {
		return nil, errors.New("a time zone and no schedule") // the parser would panic
	}
	s, err := cron.ParseStandard(text)
	if spec, ok := s.(*cron.SpecSchedule); ok && spec.Hour&everyHour == 0 {
		return once{spec}, nil
	}
	return s, err
}

const everyHour = 1 << 63 // the bit by which the parser marks a field that is *

// once is a schedule for certain hours. Of an hour that the end of daylight saving time repeats, it takes the first.
type once struct{ *cron.SpecSchedule }

func (o once) Next(t time.Time) time.Time {
	for {
		if t = o.SpecSchedule.Next(t); t.IsZero() {
			return t
		}
		local := t.In(o.Location)
		if o.Location == time.Local {
			local = t
		}
		if earlier := local.Add(-time.Hour); earlier.Hour() != local.Hour() || earlier.Minute() != local.Minute() {
			return t
		}
	}
}

// due is the newest time of the schedule that has come and for which no Job was started.
func (v View) due() (time.Time, bool) {
	s, err := schedule(v.Cron)
	if err != nil {
		return time.Time{}, false
	}
	from := v.Cron.CreationTimestamp.Time
	if last := v.Cron.Status.LastScheduleTime; last != nil {
		from = last.Time
	}
	if d := v.Cron.Spec.StartingDeadlineSeconds; d != nil {
		if earliest := v.Now.Add(-time.Duration(*d) * time.Second); earliest.After(from) {
			from = earliest
		}
	}
	return newest(s, from, v.Now)
}

// newest is the last time of the schedule after from and not after now. It looks back in ever greater steps, so that a
// year of missed minutes costs no more than one.
func newest(s cron.Schedule, from, now time.Time) (at time.Time, ok bool) {
	if !from.Before(now) {
		return time.Time{}, false
	}
	for back := time.Minute; ; back *= 2 {
		start := now.Add(-back)
		last := start.Before(from)
		if last {
			start = from
		}
		for t := s.Next(start); !t.IsZero() && !t.After(now); t = s.Next(t) {
			at, ok = t, true
		}
		if ok || last {
			return at, ok
		}
	}
}

// tooMany tells whether more than a hundred times were missed.
func tooMany(s cron.Schedule, from, until time.Time) bool {
	n := 0
	for t := s.Next(from); !t.IsZero() && !t.After(until); t = s.Next(t) {
		if n++; n > 100 {
			return true
		}
	}
	return false
}

func jobName(c *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, at.Unix()/60)
}
