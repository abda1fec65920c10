package pods

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// LeastUseful returns the pods in the order in which they are deleted when there are too many: those that nobody
// misses first. crowd is how many pods of the same owner (or of its siblings) are on each node.
// Source: Kubernetes documentation, ReplicaSet, "Scaling a ReplicaSet".
func LeastUseful(list []*corev1.Pod, crowd map[string]int, now time.Time) []*corev1.Pod {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b *corev1.Pod) int {
		return cmp.Or(
			first(a.Spec.NodeName == "", b.Spec.NodeName == ""),
			cmp.Compare(phase(a), phase(b)),
			first(!Ready(a), !Ready(b)),
			cmp.Compare(cost(a), cost(b)),
			cmp.Compare(crowd[b.Spec.NodeName], crowd[a.Spec.NodeName]),
			cmp.Compare(bucket(readySince(a), now), bucket(readySince(b), now)),
			cmp.Compare(restarts(b), restarts(a)),
			cmp.Compare(bucket(a.CreationTimestamp.Time, now), bucket(b.CreationTimestamp.Time, now)),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return out
}

// Crowd counts the active pods on each node.
func Crowd(list []*corev1.Pod) map[string]int {
	crowd := map[string]int{}
	for _, p := range list {
		if Active(p) && p.Spec.NodeName != "" {
			crowd[p.Spec.NodeName]++
		}
	}
	return crowd
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func phase(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

// cost is the user's say in the matter; what is no number counts as none.
func cost(p *corev1.Pod) int64 {
	n, _ := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	return n
}

// readySince is zero when the pod is not ready.
func readySince(p *corev1.Pod) time.Time {
	if c := Condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// bucket compares ages by their power of two only, so that among pods of about the same age none is always the victim.
func bucket(t, now time.Time) int {
	if t.IsZero() {
		return -1
	}
	age := now.Sub(t)
	if age < 1 {
		return 0
	}
	return 1 + int(math.Log2(float64(age)))
}

func restarts(p *corev1.Pod) (most int32) {
	for _, c := range p.Status.InitContainerStatuses {
		most = max(most, c.RestartCount)
	}
	for _, c := range p.Status.ContainerStatuses {
		most = max(most, c.RestartCount)
	}
	return most
}
