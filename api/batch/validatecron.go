package batch

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api/core"
)

// A CronJob's jobs get its name, a dash and ten digits: 63 characters less eleven.
const maxCronName = 52

func validateCronJob(c, old *batchv1.CronJob) (errs field.ErrorList) {
	s, spec := &c.Spec, field.NewPath("spec")
	if len(c.Name) > maxCronName && old == nil {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", maxCronName)))
	}
	template := spec.Child("jobTemplate", "spec")
	if t := &s.JobTemplate.Spec; t.Selector != nil {
		errs = append(errs, field.Invalid(template.Child("selector"), t.Selector, "`selector` will be auto-generated"))
	}
	if m := s.JobTemplate.Spec.ManualSelector; core.IsTrue(m) {
		errs = append(errs, field.NotSupported(template.Child("manualSelector"), *m, []string{"nil", "false"}))
	}
	errs = append(errs, validateSpec(&s.JobTemplate.Spec, template)...)
	if s.Schedule == "" {
		errs = append(errs, field.Required(spec.Child("schedule"), ""))
	} else if old == nil || old.Spec.Schedule != s.Schedule {
		errs = append(errs, validateSchedule(s.Schedule, s.TimeZone, spec.Child("schedule"))...)
	}
	if s.StartingDeadlineSeconds != nil {
		errs = append(errs, core.NonNegative(*s.StartingDeadlineSeconds, spec.Child("startingDeadlineSeconds"))...)
	}
	if z := s.TimeZone; z != nil && (old == nil || old.Spec.TimeZone == nil || *old.Spec.TimeZone != *z) {
		errs = append(errs, validateZone(*z, spec.Child("timeZone"))...)
	}
	if s.ConcurrencyPolicy == "" {
		errs = append(errs, field.Required(spec.Child("concurrencyPolicy"), ""))
	} else {
		errs = append(errs, core.OneOf(s.ConcurrencyPolicy, spec.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	}
	for name, n := range map[string]*int32{"successfulJobsHistoryLimit": s.SuccessfulJobsHistoryLimit, "failedJobsHistoryLimit": s.FailedJobsHistoryLimit} {
		if n != nil {
			errs = append(errs, core.NonNegative(*n, spec.Child(name))...)
		}
	}
	return errs
}

func validateSchedule(schedule string, zone *string, path *field.Path) (errs field.ErrorList) {
	if _, err := cron.ParseStandard(schedule); err != nil {
		errs = append(errs, field.Invalid(path, schedule, err.Error()))
	}
	switch inside := strings.Contains(schedule, "TZ"); {
	case inside && zone != nil:
		errs = append(errs, field.Invalid(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	case inside:
		errs = append(errs, field.Invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	return errs
}

func validateZone(zone string, path *field.Path) field.ErrorList {
	switch {
	case zone == "":
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be nil or non-empty string")}
	case strings.EqualFold(zone, "Local"):
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")}
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return field.ErrorList{field.Invalid(path, zone, err.Error())}
	}
	return nil
}
