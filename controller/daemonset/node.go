package daemonset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corehelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/lighter-k8s/lighter/controller/pods"
)

// tolerations are what every daemon pod tolerates: it goes on where others have to leave.
// Source: Kubernetes documentation, DaemonSet, "Taints and tolerations".
func tolerations(spec *corev1.PodSpec) []corev1.Toleration {
	out := slices.Clone(spec.Tolerations)
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		if !slices.ContainsFunc(out, func(have corev1.Toleration) bool { return have.MatchToleration(&t) }) {
			out = append(out, t)
		}
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if spec.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return out
}

// eligibility tells of a node whether the set's pod should be started there, and whether it may stay.
func eligibility(set *appsv1.DaemonSet) func(*corev1.Node) (run, stay bool) {
	spec := &set.Spec.Template.Spec
	affinity := nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, spec.Affinity)
	tolerates := tolerations(spec)
	return func(n *corev1.Node) (run, stay bool) {
		if ok, err := affinity.Match(n); err != nil || !ok || spec.NodeName != "" && spec.NodeName != n.Name {
			return false, false
		}
		_, kept := corehelpers.FindMatchingUntoleratedTaint(klog.Logger{}, n.Spec.Taints, tolerates, func(t *corev1.Taint) bool {
			return t.Effect == corev1.TaintEffectNoSchedule
		}, false)
		_, driven := corehelpers.FindMatchingUntoleratedTaint(klog.Logger{}, n.Spec.Taints, tolerates, func(t *corev1.Taint) bool {
			return t.Effect == corev1.TaintEffectNoExecute
		}, false)
		return !kept && !driven, !driven
	}
}

// newPod makes the set's pod for a node; the scheduler binds it, to that node alone.
func newPod(set *appsv1.DaemonSet, node, hash string) *corev1.Pod {
	p := pods.New(&set.Spec.Template, set, kind)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	p.Spec.Tolerations = tolerations(&p.Spec)
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	if p.Spec.Affinity.NodeAffinity == nil {
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: v1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}
	return p
}

// nodeOf is the node that the pod runs on or is meant for, or "".
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return p.Spec.NodeName
	}
	required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return ""
	}
	for _, term := range required.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == v1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// of notes the set's failed pods and says when each may be replaced.
func (d *delays) of(key string, list []*corev1.Pod, now time.Time) map[types.UID]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out map[types.UID]time.Time
	for _, p := range list {
		if p.Status.Phase != corev1.PodFailed {
			continue
		}
		nodes := d.sets[key]
		if nodes == nil {
			nodes = map[string]*failure{}
			d.sets[key] = nodes
		}
		name := nodeOf(p)
		switch f := nodes[name]; {
		case f == nil || f.pod != p.UID && now.Sub(f.at) > 2*maxDelay:
			nodes[name] = &failure{pod: p.UID, at: now}
		case f.pod != p.UID:
			nodes[name] = &failure{pod: p.UID, at: now, delay: min(maxDelay, max(firstDelay, 2*f.delay))}
		}
		if out == nil {
			out = map[types.UID]time.Time{}
		}
		out[p.UID] = nodes[name].at.Add(nodes[name].delay)
	}
	return out
}

func (d *delays) forget(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sets, key)
}
