package job

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/controller/pods"
)

// Delays before a failed pod is replaced. Source: Kubernetes documentation, Jobs, "Pod backoff failure policy".
const (
	firstDelay = 10 * time.Second
	maxDelay   = 6 * time.Minute
)

// onFailure is what the Job's podFailurePolicy says about a failed pod, and why. Without an answer the failure counts.
func onFailure(job *batchv1.Job, p *corev1.Pod) (batchv1.PodFailurePolicyAction, string) {
	if job.Spec.PodFailurePolicy == nil || p.Status.Phase != corev1.PodFailed {
		return batchv1.PodFailurePolicyActionCount, ""
	}
	for i, rule := range job.Spec.PodFailurePolicy.Rules {
		if on := rule.OnExitCodes; on != nil {
			for _, c := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
				end := c.State.Terminated
				if end == nil || end.ExitCode == 0 || on.ContainerName != nil && *on.ContainerName != c.Name {
					continue
				}
				if slices.Contains(on.Values, end.ExitCode) == (on.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
					return rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
						c.Name, p.Namespace, p.Name, end.ExitCode, rule.Action, i)
				}
			}
			continue
		}
		for _, on := range rule.OnPodConditions {
			if c := pods.Condition(p, on.Type); c != nil && c.Status == on.Status {
				return rule.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d", p.Namespace, p.Name, on.Type, rule.Action, i)
			}
		}
	}
	return batchv1.PodFailurePolicyActionCount, ""
}

// enough tells whether a rule of the Job's successPolicy is met, and which.
func enough(job *batchv1.Job, done indexes) (string, bool) {
	if job.Spec.SuccessPolicy == nil || !indexed(job) {
		return "", false
	}
	for i, rule := range job.Spec.SuccessPolicy.Rules {
		have, want := done.len(), int32(0)
		if rule.SucceededIndexes != nil {
			of := parse(*rule.SucceededIndexes, int(*job.Spec.Completions))
			want, have = int32(of.len()), 0
			for _, s := range of {
				for _, d := range done {
					have += max(0, min(s.last, d.last)-max(s.first, d.first)+1)
				}
			}
		}
		if want = ptr.Deref(rule.SucceededCount, want); want > 0 && have >= int(want) {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}

// backoff is how long after its last failure pods are not replaced: it doubles with each failure since a success.
func backoff(failed, succeeded []*corev1.Pod, now time.Time) time.Duration {
	var good, last time.Time
	for _, p := range succeeded {
		if at := endOf(p); at.After(good) {
			good = at
		}
	}
	n := 0
	for _, p := range failed {
		at := endOf(p)
		if at.After(good) {
			n++
		}
		if at.After(last) {
			last = at
		}
	}
	if n == 0 {
		return 0
	}
	return last.Add(delay(n)).Sub(now)
}

func delay(failures int) time.Duration { return min(maxDelay, firstDelay<<min(failures-1, 10)) }

// endOf is when the pod ended, as well as it is known.
func endOf(p *corev1.Pod) (at time.Time) {
	for _, c := range p.Status.ContainerStatuses {
		if end := c.State.Terminated; end != nil && end.FinishedAt.After(at) {
			at = end.FinishedAt.Time
		}
	}
	if c := pods.Condition(p, corev1.PodReady); at.IsZero() && c != nil {
		at = c.LastTransitionTime.Time
	}
	if at.IsZero() && p.DeletionTimestamp != nil {
		at = p.DeletionTimestamp.Add(-time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	if at.IsZero() {
		at = p.CreationTimestamp.Time
	}
	return at
}

// restartsBeyond tells whether the containers of the pods, which restart in place, were restarted more than the limit allows.
func restartsBeyond(job *batchv1.Job, live []*corev1.Pod, limit int32) bool {
	if job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := int32(0)
	for _, p := range live {
		if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
			for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
				n += c.RestartCount
			}
		}
	}
	if limit == 0 {
		return n > 0
	}
	return n >= limit
}

// failuresOf is how often the pod's index had failed when the pod was made.
func failuresOf(p *corev1.Pod, annotation string) int {
	n, err := strconv.Atoi(p.Annotations[annotation])
	if err != nil || n < 0 {
		return 0
	}
	return n
}
