package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// podUsage adds what a pod requests and may use at most, unless it is over.
func podUsage(use corev1.ResourceList, pod *corev1.Pod, now time.Time) {
	if over(pod, now) {
		return
	}
	use["pods"] = one()
	o := resource.PodResourcesOptions{UseStatusResources: true}
	for name, q := range resource.PodRequests(pod, o) {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			use[name], use["requests."+name] = q, q
		case strings.Contains(string(name), "/"): // an extended resource has no shorter name
			use["requests."+name] = q
		}
	}
	for name, q := range resource.PodLimits(pod, o) {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			use["limits."+name] = q
		}
	}
}

// over tells whether a pod runs no more, or should not.
func over(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return false
	}
	return now.After(pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
}

// Unsaid lists what a quota needs a pod's containers to say and they do not: "limits.cpu for: web; memory for: web,db".
// It is empty when the quota counts nothing that containers may leave out.
func Unsaid(hard corev1.ResourceList, pod *corev1.Pod) string {
	var words []string
	for _, name := range []corev1.ResourceName{"cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"} {
		if _, ok := hard[name]; !ok {
			continue
		}
		kind, what, long := strings.Cut(string(name), ".")
		if !long {
			kind, what = "requests", string(name)
		}
		says := func(r corev1.ResourceRequirements) bool {
			list := r.Requests
			if kind == "limits" {
				list = r.Limits
			}
			_, ok := list[corev1.ResourceName(what)]
			return ok
		}
		if pod.Spec.Resources != nil && says(*pod.Spec.Resources) {
			continue
		}
		var silent []string
		for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for _, c := range containers {
				if !says(c.Resources) {
					silent = append(silent, c.Name)
				}
			}
		}
		if slices.Sort(silent); len(silent) > 0 {
			words = append(words, string(name)+" for: "+strings.Join(silent, ","))
		}
	}
	return strings.Join(words, "; ")
}
