package node

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditionTaints are the NoSchedule taints that conditions mean.
// Source: Kubernetes documentation, Taints and Tolerations, Taint Nodes by Condition.
var conditionTaints = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
}

// wantNoSchedule are the keys that the node's taints of effect NoSchedule are to have, of those that we look after.
func wantNoSchedule(n *corev1.Node) (keys []string) {
	for _, c := range conditionTaints {
		if got := condition(n, c.condition); got != nil && got.Status == c.status {
			keys = append(keys, c.key)
		}
	}
	if ready(n) == "" && hasTaint(n, corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule) {
		keys = append(keys, corev1.TaintNodeNotReady) // as it was registered: nothing is known of it yet
	}
	if n.Spec.Unschedulable {
		keys = append(keys, corev1.TaintNodeUnschedulable)
	}
	return keys
}

// wantNoExecute is the key of the NoExecute taint that the node's readiness means; "" is none.
func wantNoExecute(n *corev1.Node) string {
	switch ready(n) {
	case corev1.ConditionFalse:
		return corev1.TaintNodeNotReady
	case corev1.ConditionUnknown:
		return corev1.TaintNodeUnreachable
	}
	return ""
}

func hasTaint(n *corev1.Node, key string, effect corev1.TaintEffect) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key && t.Effect == effect })
}

// ours tells whether a taint is one that follows from the node's conditions.
func ours(t corev1.Taint) bool {
	switch t.Effect {
	case corev1.TaintEffectNoSchedule:
		return t.Key == corev1.TaintNodeUnschedulable || slices.ContainsFunc(conditionTaints, func(c struct {
			condition corev1.NodeConditionType
			status    corev1.ConditionStatus
			key       string
		}) bool {
			return c.key == t.Key
		})
	case corev1.TaintEffectNoExecute:
		return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	}
	return false
}

// evicting tells whether the node already has one of our NoExecute taints.
func evicting(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute && ours(t) })
}

// taints are what the node's taints are to be: those of others as they are, and ours as its conditions say.
// noExecute is the key of our NoExecute taint, or "". changed is false when they are so already.
func taints(n *corev1.Node, noExecute string, now time.Time) (want []corev1.Taint, changed bool) {
	keys := wantNoSchedule(n)
	wanted := func(t corev1.Taint) bool {
		if t.Effect == corev1.TaintEffectNoExecute {
			return t.Key == noExecute
		}
		return slices.Contains(keys, t.Key)
	}
	for _, t := range n.Spec.Taints {
		if ours(t) && !wanted(t) {
			changed = true
			continue
		}
		want = append(want, t)
	}
	at := metav1.NewTime(now)
	add := func(key string, effect corev1.TaintEffect) {
		if !hasTaint(n, key, effect) {
			want, changed = append(want, corev1.Taint{Key: key, Effect: effect, TimeAdded: &at}), true
		}
	}
	for _, key := range keys {
		add(key, corev1.TaintEffectNoSchedule)
	}
	if noExecute != "" {
		add(noExecute, corev1.TaintEffectNoExecute)
	}
	return want, changed
}
