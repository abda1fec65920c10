package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api/core"
)

// Limits of indexed jobs. Source: Job documentation, completion mode and backoff per index.
const (
	maxIndexedParallelism = 100000
	maxFailedWithLimit    = 100000
	manyCompletions       = 100000
	manyParallelism       = 10000
	maxPolicyRules        = 20
)

func validateJob(j, old *batchv1.Job) (errs field.ErrorList) {
	s, spec := &j.Spec, field.NewPath("spec")
	if old == nil {
		errs = append(errs, validateGenerated(j)...)
	}
	errs = append(errs, validateSpec(s, spec)...)
	if s.Selector == nil {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	} else {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("selector"))...)
		if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
			errs = append(errs, field.Invalid(spec.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
		}
	}
	if indexed(s) && s.Completions != nil && *s.Completions > 0 {
		// The name of the last pod is its host name too.
		last := fmt.Sprintf("%s-%d", j.Name, *s.Completions-1)
		if msgs := validation.IsDNS1123Label(last); len(msgs) > 0 && old == nil {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), j.Name, fmt.Sprintf("will not able to create pod with invalid DNS label: %s", last)))
		}
	}
	if old != nil {
		errs = append(errs, validateUpdate(j, old, spec)...)
	}
	return errs
}

// validateGenerated checks that a user did not write what the system writes.
func validateGenerated(j *batchv1.Job) (errs field.ErrorList) {
	if core.IsTrue(j.Spec.ManualSelector) || j.Spec.Selector == nil {
		return nil
	}
	at := field.NewPath("spec", "template", "metadata", "labels")
	want := podLabels(j)
	for _, key := range []string{"controller-uid", "job-name", batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		if got, ok := j.Spec.Template.Labels[key]; !ok {
			errs = append(errs, field.Required(at.Key(key), fmt.Sprintf("must be '%s'", want[key])))
		} else if got != want[key] {
			errs = append(errs, field.Invalid(at.Key(key), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", want[key])))
		}
	}
	uid := batchv1.ControllerUidLabel
	selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
	if err != nil || selector.String() != (labels.Set{uid: want[uid]}).String() {
		errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

func indexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

// validateSpec checks what a job's spec and one in a CronJob share.
func validateSpec(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	count := func(n *int32, name string) {
		if n != nil {
			errs = append(errs, core.NonNegative(*n, spec.Child(name))...)
		}
	}
	count(s.Parallelism, "parallelism")
	count(s.Completions, "completions")
	if s.ActiveDeadlineSeconds != nil {
		errs = append(errs, core.NonNegative(*s.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds"))...)
	}
	count(s.BackoffLimit, "backoffLimit")
	count(s.TTLSecondsAfterFinished, "ttlSecondsAfterFinished")
	count(s.BackoffLimitPerIndex, "backoffLimitPerIndex")
	if m := s.MaxFailedIndexes; m != nil {
		at := spec.Child("maxFailedIndexes")
		count(m, "maxFailedIndexes")
		if s.BackoffLimitPerIndex == nil {
			errs = append(errs, field.Required(spec.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
		}
		if s.Completions != nil && *m > *s.Completions {
			errs = append(errs, field.Invalid(at, *m, "must be less than or equal to completions"))
		}
		if *m > maxFailedWithLimit {
			errs = append(errs, field.Invalid(at, *m, fmt.Sprintf("must be less than or equal to %d", maxFailedWithLimit)))
		}
	}
	if m := s.ManagedBy; m != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(spec.Child("managedBy"), *m)...)
		if len(*m) > 63 {
			errs = append(errs, field.TooLongMaxLength(spec.Child("managedBy"), *m, 63))
		}
	}
	if m := s.CompletionMode; m != nil {
		errs = append(errs, core.OneOf(*m, spec.Child("completionMode"), batchv1.IndexedCompletion, batchv1.NonIndexedCompletion)...)
	}
	errs = append(errs, validateIndexed(s, spec)...)
	errs = append(errs, core.ValidatePodTemplate(&s.Template, spec.Child("template"))...)
	switch at := spec.Child("template", "spec", "restartPolicy"); s.Template.Spec.RestartPolicy {
	case corev1.RestartPolicyAlways:
		errs = append(errs, field.Required(at, `valid values: "OnFailure", "Never"`))
	case corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	default:
		errs = append(errs, field.NotSupported(at, s.Template.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}))
	}
	if p := s.PodReplacementPolicy; p != nil {
		at := spec.Child("podReplacementPolicy")
		if s.PodFailurePolicy != nil {
			errs = append(errs, core.OneOf(*p, at, batchv1.Failed)...)
		} else {
			errs = append(errs, core.OneOf(*p, at, batchv1.Failed, batchv1.TerminatingOrFailed)...)
		}
	}
	if s.PodFailurePolicy != nil {
		if s.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
			errs = append(errs, field.Invalid(spec.Child("template", "spec", "restartPolicy"), s.Template.Spec.RestartPolicy, "only \"Never\" is supported when podFailurePolicy is specified"))
		}
		errs = append(errs, validateFailurePolicy(s, spec.Child("podFailurePolicy"))...)
	}
	if s.SuccessPolicy != nil {
		errs = append(errs, validateSuccessPolicy(s, spec.Child("successPolicy"))...)
	}
	return errs
}

func validateIndexed(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	if !indexed(s) {
		for name, set := range map[string]bool{"backoffLimitPerIndex": s.BackoffLimitPerIndex != nil, "maxFailedIndexes": s.MaxFailedIndexes != nil} {
			if set {
				errs = append(errs, field.Invalid(spec.Child(name), 0, "requires indexed completion mode"))
			}
		}
		if s.SuccessPolicy != nil {
			errs = append(errs, field.Invalid(spec.Child("successPolicy"), *s.SuccessPolicy, "requires indexed completion mode"))
		}
		return errs
	}
	if s.Completions == nil {
		errs = append(errs, field.Required(spec.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion)))
	}
	if p := s.Parallelism; p != nil && *p > maxIndexedParallelism {
		errs = append(errs, field.Invalid(spec.Child("parallelism"), *p, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxIndexedParallelism, batchv1.IndexedCompletion)))
	}
	if c := s.Completions; c != nil && *c > manyCompletions && s.BackoffLimitPerIndex != nil {
		if s.MaxFailedIndexes == nil {
			errs = append(errs, field.Required(spec.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
		}
		if p := s.Parallelism; p != nil && *p > manyParallelism {
			errs = append(errs, field.Invalid(spec.Child("parallelism"), *p, fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", manyParallelism, manyCompletions)))
		}
		if m := s.MaxFailedIndexes; m != nil && *m > manyParallelism {
			errs = append(errs, field.Invalid(spec.Child("maxFailedIndexes"), *m, fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", manyParallelism, manyCompletions)))
		}
	}
	return errs
}

func validateFailurePolicy(s *batchv1.JobSpec, path *field.Path) (errs field.ErrorList) {
	rules := path.Child("rules")
	if len(s.PodFailurePolicy.Rules) > maxPolicyRules {
		errs = append(errs, field.TooMany(rules, len(s.PodFailurePolicy.Rules), maxPolicyRules))
	}
	for i, r := range s.PodFailurePolicy.Rules {
		at := rules.Index(i)
		if r.Action == "" {
			errs = append(errs, field.Required(at.Child("action"), "valid values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""))
		} else {
			errs = append(errs, core.OneOf(r.Action, at.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
				batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
			if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
				errs = append(errs, field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
			}
		}
		switch {
		case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
		case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
		case r.OnExitCodes != nil:
			errs = append(errs, validateExitCodes(r.OnExitCodes, &s.Template.Spec, at.Child("onExitCodes"))...)
		}
		for k, c := range r.OnPodConditions {
			in := at.Child("onPodConditions").Index(k)
			for _, msg := range validation.IsQualifiedName(string(c.Type)) {
				errs = append(errs, field.Invalid(in.Child("type"), c.Type, msg))
			}
			errs = append(errs, core.OneOf(c.Status, in.Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
		}
	}
	return errs
}

func validateExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if r.Operator == "" {
		errs = append(errs, field.Required(path.Child("operator"), "valid values: \"In\", \"NotIn\""))
	} else {
		errs = append(errs, core.OneOf(r.Operator, path.Child("operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)...)
	}
	if n := r.ContainerName; n != nil {
		named := func(c corev1.Container) bool { return c.Name == *n }
		if !slices.ContainsFunc(pod.Containers, named) && !slices.ContainsFunc(pod.InitContainers, named) {
			errs = append(errs, field.Invalid(path.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template"))
		}
	}
	values := path.Child("values")
	if len(r.Values) == 0 {
		errs = append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	} else if len(r.Values) > 255 {
		errs = append(errs, field.TooMany(values, len(r.Values), 255))
	}
	for i, v := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			errs = append(errs, field.Invalid(values.Index(i), v, "must not be 0 for the In operator"))
		}
		if i > 0 && slices.Contains(r.Values[:i], v) {
			errs = append(errs, field.Duplicate(values.Index(i), v))
		} else if i > 0 && v < r.Values[i-1] {
			errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
		}
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, path *field.Path) (errs field.ErrorList) {
	rules := path.Child("rules")
	if len(s.SuccessPolicy.Rules) == 0 {
		errs = append(errs, field.Required(rules, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(s.SuccessPolicy.Rules) > maxPolicyRules {
		errs = append(errs, field.TooMany(rules, len(s.SuccessPolicy.Rules), maxPolicyRules))
	}
	for i, r := range s.SuccessPolicy.Rules {
		at := rules.Index(i)
		if r.SucceededCount == nil && r.SucceededIndexes == nil {
			errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
		}
		total := int32(-1)
		if r.SucceededIndexes != nil && s.Completions != nil {
			n, err := countIndexes(*r.SucceededIndexes, *s.Completions)
			if err != nil {
				errs = append(errs, field.Invalid(at.Child("succeededIndexes"), *r.SucceededIndexes, "error parsing succeededIndexes: "+err.Error()))
			} else {
				total = n
			}
		}
		if c := r.SucceededCount; c != nil {
			errs = append(errs, core.NonNegative(*c, at.Child("succeededCount"))...)
			if s.Completions != nil && *c > *s.Completions {
				errs = append(errs, field.Invalid(at.Child("succeededCount"), *c, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", *s.Completions)))
			}
			if total >= 0 && *c > total {
				errs = append(errs, field.Invalid(at.Child("succeededCount"), *c, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total)))
			}
		}
	}
	return errs
}

// countIndexes counts a list such as "0,2-4" of rising indexes below completions.
func countIndexes(list string, completions int32) (n int32, err error) {
	last := int64(-1)
	for _, part := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.ParseInt(from, 10, 32)
		b, err2 := strconv.ParseInt(to, 10, 32)
		switch {
		case err1 != nil:
			return 0, fmt.Errorf("cannot convert string to integer for index: %q", from)
		case err2 != nil:
			return 0, fmt.Errorf("cannot convert string to integer for index: %q", to)
		case a <= last:
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, a)
		case ranged && b <= a:
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", a, b)
		case b >= int64(completions):
			return 0, fmt.Errorf("too large index: %q", to)
		}
		n += int32(b - a + 1)
		last = b
	}
	return n, nil
}

// validateUpdate holds still what a running job's pods rest on.
func validateUpdate(j, old *batchv1.Job, spec *field.Path) (errs field.ErrorList) {
	s, o := &j.Spec, &old.Spec
	if !same(s.Completions, o.Completions) {
		at := spec.Child("completions")
		// An indexed job may grow and shrink when both counts move together.
		switch {
		case !indexed(s), s.Completions == nil, o.Completions == nil, s.Parallelism == nil:
			errs = append(errs, core.Immutable(s.Completions, o.Completions, at)...)
		case o.Parallelism != nil && *s.Completions == *s.Parallelism && *o.Completions == *o.Parallelism:
		default:
			errs = append(errs, field.Invalid(at, s.Completions, fmt.Sprintf("can only be modified in tandem with %s", spec.Child("parallelism").String())))
		}
	}
	errs = append(errs, core.Immutable(s.Selector, o.Selector, spec.Child("selector"))...)
	template := o.Template.DeepCopy()
	if unstarted(old) {
		// Before its first pod a suspended job may be placed anew, and sized anew.
		t, n := template, &s.Template
		t.Spec.Affinity, t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates = n.Spec.Affinity, n.Spec.NodeSelector, n.Spec.Tolerations, n.Spec.SchedulingGates
		t.Annotations, t.Labels = n.Annotations, n.Labels
		for i := range min(len(t.Spec.Containers), len(n.Spec.Containers)) {
			t.Spec.Containers[i].Resources = n.Spec.Containers[i].Resources
		}
		for i := range min(len(t.Spec.InitContainers), len(n.Spec.InitContainers)) {
			t.Spec.InitContainers[i].Resources = n.Spec.InitContainers[i].Resources
		}
	}
	errs = append(errs, core.Immutable(s.Template, *template, spec.Child("template"))...)
	errs = append(errs, core.Immutable(s.CompletionMode, o.CompletionMode, spec.Child("completionMode"))...)
	errs = append(errs, core.Immutable(s.PodFailurePolicy, o.PodFailurePolicy, spec.Child("podFailurePolicy"))...)
	errs = append(errs, core.Immutable(s.BackoffLimitPerIndex, o.BackoffLimitPerIndex, spec.Child("backoffLimitPerIndex"))...)
	errs = append(errs, core.Immutable(s.ManagedBy, o.ManagedBy, spec.Child("managedBy"))...)
	return append(errs, core.Immutable(s.SuccessPolicy, o.SuccessPolicy, spec.Child("successPolicy"))...)
}

func unstarted(j *batchv1.Job) bool {
	return core.IsTrue(j.Spec.Suspend) && j.Status.StartTime == nil
}

func validateJobStatus(j, _ *batchv1.Job) (errs field.ErrorList) {
	status := field.NewPath("status")
	errs = append(errs, core.NonNegative(j.Status.Active, status.Child("active"))...)
	errs = append(errs, core.NonNegative(j.Status.Succeeded, status.Child("succeeded"))...)
	errs = append(errs, core.NonNegative(j.Status.Failed, status.Child("failed"))...)
	if j.Status.Ready != nil {
		errs = append(errs, core.NonNegative(*j.Status.Ready, status.Child("ready"))...)
	}
	if is(j, batchv1.JobComplete) && is(j, batchv1.JobFailed) {
		errs = append(errs, field.Invalid(status.Child("conditions"), field.OmitValueType{}, "cannot set Complete=True and Failed=true conditions"))
	}
	if j.Status.CompletionTime != nil && !is(j, batchv1.JobComplete) {
		errs = append(errs, field.Invalid(status.Child("completionTime"), j.Status.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	return errs
}

// A CronJob's jobs get its name, a dash and ten digits: 63 characters less eleven.
const maxCronName = 52

func validateCronJob(c, old *batchv1.CronJob) (errs field.ErrorList) {
	s, spec := &c.Spec, field.NewPath("spec")
	if len(c.Name) > maxCronName && old == nil {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", maxCronName)))
	}
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
	template := spec.Child("jobTemplate", "spec")
	if t := &s.JobTemplate.Spec; t.Selector != nil {
		errs = append(errs, field.Invalid(template.Child("selector"), t.Selector, "`selector` will be auto-generated"))
	}
	if m := s.JobTemplate.Spec.ManualSelector; core.IsTrue(m) {
		errs = append(errs, field.NotSupported(template.Child("manualSelector"), strconv.FormatBool(*m), []string{"nil", "false"}))
	}
	errs = append(errs, validateSpec(&s.JobTemplate.Spec, template)...)
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
