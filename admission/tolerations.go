package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// DefaultTolerationSeconds lets pods stay for so many seconds on a node that is not ready or not
// reachable, unless they say themselves for how long.
func DefaultTolerationSeconds(seconds int64) Plugin {
	return Plugin{Name: "DefaultTolerationSeconds", Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create && a.Operation != Update || a.Resource() != "pods" {
			return nil
		}
		pod := a.Object.(*corev1.Pod)
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if !tolerates(pod, key) {
				pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists,
					Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
			}
		}
		return nil
	}}
}

func tolerates(pod *corev1.Pod, key string) bool {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}

// TaintNodesByCondition begins each node as not ready: nothing is scheduled there before its conditions are known.
func TaintNodesByCondition() Plugin {
	return Plugin{Name: "TaintNodesByCondition", Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create || a.Resource() != "nodes" {
			return nil
		}
		node := a.Object.(*corev1.Node)
		for _, t := range node.Spec.Taints {
			if t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoSchedule {
				return nil
			}
		}
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
		return nil
	}}
}
