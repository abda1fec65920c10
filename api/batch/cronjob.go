package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// CronJob makes a Job each time its schedule says so.
var CronJob = api.Define(api.Resource[*batchv1.CronJob]{
	Group: group, Version: version, Plural: "cronjobs", Short: []string{"cj"}, Categories: all, Scope: api.Namespaced,
	Default: func(c *batchv1.CronJob) {
		s := &c.Spec
		core.OrSet(&s.ConcurrencyPolicy, batchv1.AllowConcurrent)
		core.OrNew(&s.Suspend, false)
		core.OrNew(&s.SuccessfulJobsHistoryLimit, 3)
		core.OrNew(&s.FailedJobsHistoryLimit, 1)
		core.DefaultPodTemplate(&s.JobTemplate.Spec.Template)
		if p := s.JobTemplate.Spec.PodFailurePolicy; p != nil {
			defaultFailurePolicy(p)
		}
	},
	Prepare: func(c, old *batchv1.CronJob) {
		c.Spec.JobTemplate.Spec.Scheduling = nil // of a gate that is off
		core.DropDisabled(&c.Spec.JobTemplate.Spec.Template.Spec)
		c.Status = batchv1.CronJobStatus{}
		if old != nil {
			c.Status = old.Status
		}
	},
	Validate: validateCronJob,
	Warnings: func(c, old *batchv1.CronJob) (list []string) {
		if old == nil {
			list = core.NameWarning(c.Name, core.UsedInNames)
		}
		return append(list, core.Warnings(&c.Spec.JobTemplate.Spec.Template.Spec, field.NewPath("spec", "jobTemplate", "spec", "template", "spec"))...)
	},
	GenerationOf: func(c *batchv1.CronJob) any { return &c.Spec },
	Status:       &api.Status[*batchv1.CronJob]{Copy: func(dst, src *batchv1.CronJob) { dst.Status = src.Status }},
	Columns: append([]api.Column[*batchv1.CronJob]{
		{Name: "Schedule", Help: batchv1.CronJobSpec{}.SwaggerDoc()["schedule"], Show: func(c *batchv1.CronJob) any { return c.Spec.Schedule }},
		{Name: "Timezone", Help: batchv1.CronJobSpec{}.SwaggerDoc()["timeZone"], Show: func(c *batchv1.CronJob) any {
			if c.Spec.TimeZone == nil {
				return "<none>"
			}
			return *c.Spec.TimeZone
		}},
		{Name: "Suspend", Type: "boolean", Help: batchv1.CronJobSpec{}.SwaggerDoc()["suspend"], Show: func(c *batchv1.CronJob) any {
			switch {
			case c.Spec.Suspend == nil:
				return "<unset>"
			case *c.Spec.Suspend:
				return "True"
			}
			return "False"
		}},
		{Name: "Active", Type: "integer", Help: batchv1.CronJobStatus{}.SwaggerDoc()["active"], Show: func(c *batchv1.CronJob) any { return int64(len(c.Status.Active)) }},
		{Name: "Last Schedule", Help: batchv1.CronJobStatus{}.SwaggerDoc()["lastScheduleTime"], Show: func(c *batchv1.CronJob) any {
			if c.Status.LastScheduleTime == nil {
				return "<none>"
			}
			return api.Age(*c.Status.LastScheduleTime)
		}},
	}, core.TemplateColumns(func(c *batchv1.CronJob) *corev1.PodSpec { return &c.Spec.JobTemplate.Spec.Template.Spec },
		func(c *batchv1.CronJob) string { return metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector) }, batchv1.JobSpec{}.SwaggerDoc()["selector"])...),
})
