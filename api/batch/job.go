// Package batch holds the records of the group batch: work that ends.
package batch

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/api/equal"
)

// All lists the resources of the group.
var All = []*api.Info{CronJob, Job}

const group, version = "batch", "v1"

var all = []string{"all"}

func same(a, b any) bool { return equal.Semantic(a, b) }

// Job runs pods until enough of them have succeeded.
var Job = api.Define(api.Resource[*batchv1.Job]{
	Group: group, Version: version, Plural: "jobs", Categories: all, Scope: api.Namespaced, Incomplete: true,
	Default:  defaultJob,
	Prepare:  prepareJob,
	Validate: validateJob,
	Warnings: func(j, old *batchv1.Job) []string {
		list := core.Warnings(&j.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		if old == nil {
			list = append(core.NameWarning(j.Name, core.UsedInNames), list...)
		}
		return list
	},
	GenerationOf: func(j *batchv1.Job) any { return &j.Spec },
	Orphans:      true,
	OrphansWarning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them " +
		"or set propagationPolicy=Orphan to suppress this warning", // Source: what Kubernetes 1.37 says
	Status: &api.Status[*batchv1.Job]{
		Copy: func(dst, src *batchv1.Job) { dst.Status = src.Status }, Validate: validateJobStatus},
	Fields: map[string]func(*batchv1.Job) string{
		"status.successful": func(j *batchv1.Job) string { return strconv.Itoa(int(j.Status.Succeeded)) }},
	Columns: append([]api.Column[*batchv1.Job]{
		{Name: "Status", Help: "Status of the job.", Show: func(j *batchv1.Job) any { return jobStatus(j) }},
		{Name: "Completions", Help: batchv1.JobStatus{}.SwaggerDoc()["succeeded"], Show: func(j *batchv1.Job) any {
			switch s := j.Spec; {
			case s.Completions != nil:
				return fmt.Sprintf("%d/%d", j.Status.Succeeded, *s.Completions)
			case s.Parallelism != nil && *s.Parallelism > 1:
				return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, *s.Parallelism)
			}
			return fmt.Sprintf("%d/1", j.Status.Succeeded)
		}},
		{Name: "Duration", Help: "Time required to complete the job.", Show: func(j *batchv1.Job) any {
			switch s := j.Status; {
			case s.StartTime == nil:
				return ""
			case s.CompletionTime == nil:
				return duration.HumanDuration(time.Since(s.StartTime.Time))
			default:
				return duration.HumanDuration(s.CompletionTime.Sub(s.StartTime.Time))
			}
		}},
	}, core.TemplateColumns(func(j *batchv1.Job) *corev1.PodSpec { return &j.Spec.Template.Spec },
		func(j *batchv1.Job) string { return metav1.FormatLabelSelector(j.Spec.Selector) }, batchv1.JobSpec{}.SwaggerDoc()["selector"])...),
})

func jobStatus(j *batchv1.Job) string {
	switch {
	case is(j, batchv1.JobComplete):
		return "Complete"
	case is(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is(j, batchv1.JobSuspended):
		return "Suspended"
	case is(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case is(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func is(j *batchv1.Job, kind batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	core.DefaultPodTemplate(&s.Template)
	if s.Completions == nil && s.Parallelism == nil {
		core.OrNew(&s.Completions, 1)
	}
	core.OrNew(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		core.OrNew(&s.BackoffLimit, 1<<31-1)
	}
	core.OrNew(&s.BackoffLimit, 6)
	labelLikePods(j)
	core.OrNew(&s.CompletionMode, batchv1.NonIndexedCompletion)
	core.OrNew(&s.Suspend, false)
	core.OrNew(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		defaultFailurePolicy(s.PodFailurePolicy)
		core.OrNew(&s.PodReplacementPolicy, batchv1.Failed)
	}
	core.OrNew(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
}

// labelLikePods gives a job without labels those of its pods.
func labelLikePods(j *batchv1.Job) {
	if len(j.Labels) == 0 && len(j.Spec.Template.Labels) > 0 {
		j.Labels = map[string]string{}
		for key, value := range j.Spec.Template.Labels {
			j.Labels[key] = value
		}
	}
}

func defaultFailurePolicy(p *batchv1.PodFailurePolicy) {
	for i := range p.Rules {
		for k := range p.Rules[i].OnPodConditions {
			core.OrSet(&p.Rules[i].OnPodConditions[k].Status, corev1.ConditionTrue)
		}
	}
}

// podLabels are what a job's pods carry: the names of before 1.27 stay beside those of today.
func podLabels(j *batchv1.Job) map[string]string {
	uid := string(j.UID)
	return map[string]string{
		"controller-uid": uid, batchv1.ControllerUidLabel: uid,
		"job-name": j.Name, batchv1.JobNameLabel: j.Name,
	}
}

// prepareJob gives a new job the selector and labels that tell its pods from all others.
func prepareJob(j, old *batchv1.Job) {
	s := &j.Spec
	s.Scheduling = nil // of a gate that is off
	core.DropDisabled(&s.Template.Spec)
	if old != nil {
		j.Status = old.Status
		return
	}
	j.Status = batchv1.JobStatus{}
	if core.IsTrue(s.ManualSelector) {
		return
	}
	if maps.Equal(j.Labels, s.Template.Labels) { // as defaulting makes them: they go on being the same
		j.Labels = nil
	}
	labels := map[string]string{}
	for key, value := range podLabels(j) {
		labels[key] = value
	}
	for key, value := range s.Template.Labels { // the user's own, if wrong, are for Validate to find
		labels[key] = value
	}
	s.Template.Labels = labels
	if s.Selector == nil {
		s.Selector = &metav1.LabelSelector{}
	}
	if s.Selector.MatchLabels == nil {
		s.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := s.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		s.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
	labelLikePods(j)
}
