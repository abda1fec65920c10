package scheduler

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// cause is a set of what can refuse a pod; each one names what has to change before another look is worth it.
type cause uint32

const (
	byNode       cause = 1 << iota // the node itself: cordoned, tainted, not matching
	byResources                    // requests, number of pods
	byPorts                        // host ports
	bySpread                       // topology spread constraints
	byNeighbours                   // affinity and anti-affinity between pods
	byVolumes                      // claims and volumes
	byAnything   = byNode | byResources | byPorts | bySpread | byNeighbours | byVolumes

	causes = 6
)

// count adds n for each cause of the set.
func (by cause) count(list *[causes]int, n int) {
	for i := range causes {
		if by&(1<<i) != 0 {
			list[i] += n
		}
	}
}

// reason is why a node cannot take a pod, in the words of Kubernetes.
type reason struct {
	text  string
	by    cause
	final bool // taking pods off the node would not help
}

var (
	isUnschedulable = reason{"node(s) were unschedulable", byNode, true}
	isNotNamed      = reason{"node(s) didn't match the requested node name", byNode, true}
	isTainted       = reason{"node(s) had untolerated taint(s)", byNode, true}
	isNotSelected   = reason{"node(s) didn't match Pod's node affinity/selector", byNode, true}
	hasNoPorts      = reason{"node(s) didn't have free ports for the requested pod ports", byPorts, false}
	hasTooManyPods  = reason{"Too many pods", byResources, false}
)

// A filter appends its reasons why a node cannot take a pod; none: it can. Filters are asked in the
// order of this list and the first one that has a reason is the last one asked.
var filters = []func(c *cache, a *ask, n *node, why []reason) []reason{
	unschedulable, named, tainted, selected, portsFree, fit, reachesVolumes, even, befriended,
}

// refusal lists why a node cannot take the pod, appended to the empty list why; none: it can.
func (c *cache) refusal(a *ask, n *node, why []reason) []reason {
	for _, f := range filters {
		if why = f(c, a, n, why); len(why) > 0 {
			break
		}
	}
	return why
}

func unschedulable(_ *cache, a *ask, n *node, why []reason) []reason {
	if n.cordoned {
		cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
		if !tolerated(a.obj.Spec.Tolerations, &cordon) {
			return append(why, isUnschedulable)
		}
	}
	return why
}

func named(_ *cache, a *ask, n *node, why []reason) []reason {
	if name := a.obj.Spec.NodeName; name != "" && name != n.name {
		return append(why, isNotNamed)
	}
	return why
}

func tainted(_ *cache, a *ask, n *node, why []reason) []reason {
	for i := range n.taints {
		t := &n.taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(a.obj.Spec.Tolerations, t) {
			return append(why, isTainted)
		}
	}
	return why
}

// tolerated tells whether one of the tolerations matches the taint. Source: API type comments of Toleration.
func tolerated(list []corev1.Toleration, t *corev1.Taint) bool {
	return slices.ContainsFunc(list, func(o corev1.Toleration) bool {
		if o.Effect != "" && o.Effect != t.Effect || o.Key != "" && o.Key != t.Key {
			return false
		}
		switch o.Operator {
		case "", corev1.TolerationOpEqual:
			return o.Value == t.Value && (o.Key != "" || t.Key == "")
		case corev1.TolerationOpExists:
			return true
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			has, err1 := strconv.ParseInt(t.Value, 10, 64)
			limit, err2 := strconv.ParseInt(o.Value, 10, 64)
			return err1 == nil && err2 == nil && (o.Operator == corev1.TolerationOpLt && has < limit || o.Operator == corev1.TolerationOpGt && has > limit)
		}
		return false
	})
}

// selected is spec.nodeSelector and required node affinity.
func selected(_ *cache, a *ask, n *node, why []reason) []reason {
	if a.selective {
		if ok, err := a.required.Match(n.obj); !ok || err != nil {
			return append(why, isNotSelected)
		}
	}
	return why
}

func portsFree(_ *cache, a *ask, n *node, why []reason) []reason {
	for _, p := range a.ports {
		if slices.ContainsFunc(n.ports, p.clash) {
			return append(why, hasNoPorts)
		}
	}
	return why
}

// fit is NodeResourcesFit: every resource that is short gets its own reason.
func fit(c *cache, a *ask, n *node, why []reason) []reason {
	if len(n.pods)+1 > n.allowed {
		why = append(why, hasTooManyPods)
	}
	short := func(name corev1.ResourceName, want, has, used int64) {
		if want > 0 && want > has-used {
			why = append(why, reason{"Insufficient " + string(name), byResources, want > has})
		}
	}
	r := &a.requests
	short(corev1.ResourceCPU, r.cpu, n.allocatable.cpu, n.requested.cpu)
	short(corev1.ResourceMemory, r.memory, n.allocatable.memory, n.requested.memory)
	short(corev1.ResourceEphemeralStorage, r.storage, n.allocatable.storage, n.requested.storage)
	for i, want := range r.extended {
		short(c.resources.names[i], want, at(n.allocatable.extended, i), at(n.requested.extended, i))
	}
	return why
}

func at(list []int64, i int) int64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}
