package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
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
		errs = append(errs, field.Invalid(spec.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")) // which nothing matches
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
	if err == nil && selector.String() != (labels.Set{uid: want[uid]}).String() {
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
		if *m > maxFailedWithLimit && indexed(s) {
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
		errs = append(errs, core.OneOf(*m, spec.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
	}
	errs = append(errs, validateIndexed(s, spec)...)
	errs = append(errs, core.ValidatePodTemplate(&s.Template, spec.Child("template"))...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(s, spec.Child("podFailurePolicy"))...)
	}
	switch at := spec.Child("template", "spec", "restartPolicy"); s.Template.Spec.RestartPolicy {
	case corev1.RestartPolicyAlways:
		errs = append(errs, field.Required(at, `valid values: "OnFailure", "Never"`))
	case corev1.RestartPolicyNever:
	case corev1.RestartPolicyOnFailure:
		if s.PodFailurePolicy != nil {
			errs = append(errs, field.Invalid(at, s.Template.Spec.RestartPolicy, "only \"Never\" is supported when podFailurePolicy is specified"))
		}
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
	if s.SuccessPolicy != nil && indexed(s) {
		errs = append(errs, validateSuccessPolicy(s, spec.Child("successPolicy"))...)
	}
	return errs
}

func validateIndexed(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	if !indexed(s) {
		plain := s.CompletionMode != nil && *s.CompletionMode == batchv1.NonIndexedCompletion
		if n := s.BackoffLimitPerIndex; n != nil && (plain || s.CompletionMode == nil) {
			errs = append(errs, field.Invalid(spec.Child("backoffLimitPerIndex"), *n, "requires indexed completion mode"))
		}
		if n := s.MaxFailedIndexes; n != nil && (plain || s.CompletionMode == nil) {
			errs = append(errs, field.Invalid(spec.Child("maxFailedIndexes"), *n, "requires indexed completion mode"))
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
	if unstarted(old) {
		errs = append(errs, core.Immutable(s.Template.Spec, template.Spec, spec.Child("template", "spec"))...)
	} else {
		errs = append(errs, core.Immutable(s.Template, *template, spec.Child("template"))...)
	}
	errs = append(errs, core.Immutable(s.CompletionMode, o.CompletionMode, spec.Child("completionMode"))...)
	errs = append(errs, core.Immutable(s.PodFailurePolicy, o.PodFailurePolicy, spec.Child("podFailurePolicy"))...)
	errs = append(errs, core.Immutable(s.BackoffLimitPerIndex, o.BackoffLimitPerIndex, spec.Child("backoffLimitPerIndex"))...)
	errs = append(errs, core.Immutable(s.ManagedBy, o.ManagedBy, spec.Child("managedBy"))...)
	return append(errs, core.Immutable(s.SuccessPolicy, o.SuccessPolicy, spec.Child("successPolicy"))...)
}

func unstarted(j *batchv1.Job) bool {
	return core.IsTrue(j.Spec.Suspend) && j.Status.StartTime == nil
}

// validateUncounted wants each pod once in both lists.
func validateUncounted(u *batchv1.UncountedTerminatedPods, path *field.Path) (errs field.ErrorList) {
	seen := map[types.UID]bool{}
	for _, list := range []struct {
		name string
		of   []types.UID
	}{{"succeeded", u.Succeeded}, {"failed", u.Failed}} {
		for i, uid := range list.of {
			at := path.Child(list.name).Index(i)
			if uid == "" {
				errs = append(errs, field.Invalid(at, uid, "must not be empty"))
			} else if seen[uid] {
				errs = append(errs, field.Duplicate(at, uid))
			}
			seen[uid] = true
		}
	}
	return errs
}

func validateJobStatus(j, old *batchv1.Job) (errs field.ErrorList) {
	status := field.NewPath("status")
	errs = append(errs, core.NonNegative(j.Status.Active, status.Child("active"))...)
	errs = append(errs, core.NonNegative(j.Status.Succeeded, status.Child("succeeded"))...)
	errs = append(errs, core.NonNegative(j.Status.Failed, status.Child("failed"))...)
	if j.Status.Ready != nil {
		errs = append(errs, core.NonNegative(*j.Status.Ready, status.Child("ready"))...)
	}
	if j.Status.Terminating != nil {
		errs = append(errs, core.NonNegative(*j.Status.Terminating, status.Child("terminating"))...)
	}
	if old != nil && j.Status.Ready != nil && *j.Status.Ready > j.Status.Active {
		errs = append(errs, field.Invalid(status.Child("ready"), *j.Status.Ready, "cannot set more ready pods than active"))
	}
	if u := j.Status.UncountedTerminatedPods; u != nil {
		errs = append(errs, validateUncounted(u, status.Child("uncountedTerminatedPods"))...)
	}
	if c := j.Spec.Completions; c != nil {
		if list := j.Status.CompletedIndexes; list != "" {
			if _, err := countIndexes(list, *c); err != nil {
				errs = append(errs, field.Invalid(status.Child("completedIndexes"), list, "error parsing completedIndexes: "+err.Error()))
			}
		}
		if list := j.Status.FailedIndexes; list != nil && *list != "" {
			if _, err := countIndexes(*list, *c); err != nil {
				errs = append(errs, field.Invalid(status.Child("failedIndexes"), *list, "error parsing failedIndexes: "+err.Error()))
			}
		}
	}
	if old != nil && j.Status.Failed < old.Status.Failed {
		errs = append(errs, field.Invalid(status.Child("failed"), j.Status.Failed, "cannot decrease the failed counter"))
	}
	if old != nil && j.Status.Succeeded < old.Status.Succeeded {
		errs = append(errs, field.Invalid(status.Child("succeeded"), j.Status.Succeeded, "cannot decrease the succeeded counter"))
	}
	if is(j, batchv1.JobComplete) && is(j, batchv1.JobFailed) {
		errs = append(errs, field.Invalid(status.Child("conditions"), field.OmitValueType{}, "cannot set Complete=True and Failed=true conditions"))
	}
	if j.Status.CompletionTime != nil && !is(j, batchv1.JobComplete) {
		errs = append(errs, field.Invalid(status.Child("completionTime"), j.Status.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	return errs
}
