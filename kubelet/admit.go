package kubelet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/lighter-k8s/lighter/client"
)

// admit decides whether a pod that is new here fits: "" or the reason why not, and its message. It guards
// against what was bound past the scheduler.
func (k *Kubelet) admit(ctx context.Context, w *worker, pod *corev1.Pod) (reason, message string) {
	k.admission.Lock() // one after the other, each seeing the one before
	defer k.admission.Unlock()
	k.mu.Lock()
	var others []*corev1.Pod
	for uid, o := range k.workers {
		if uid == pod.UID {
			continue
		}
		o.mu.Lock()
		p, gone := o.pod, o.gone
		o.mu.Unlock()
		if (o.admitted.Load() || p.Status.StartTime != nil) && !gone && !terminal(p.Status.Phase) {
			others = append(others, p)
		}
	}
	labels := map[string]string{corev1.LabelHostname: k.Hostname, corev1.LabelOSStable: k.machine.info.OperatingSystem, corev1.LabelArchStable: k.machine.info.Architecture}
	maps.Copy(labels, k.NodeLabels)
	if n := k.nodeLabels.Load(); n != nil {
		maps.Copy(labels, *n)
	}
	k.mu.Unlock()
	reason, message = fits(pod, others, k.allocatable(), &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: k.NodeName, Labels: labels}})
	if reason == "NodeAffinity" && k.Client != nil { // the scheduler may have seen labels that are not known here yet
		if node, err := client.Nodes.Get(ctx, k.Client, "", k.NodeName); err == nil {
			maps.Copy(labels, node.Labels)
			reason, message = fits(pod, others, k.allocatable(), &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: k.NodeName, Labels: labels}})
		}
	}
	w.admitted.Store(reason == "")
	return reason, message
}

var oneQuantity = resource.MustParse("1")

// fits decides whether a pod fits on the node beside the others.
func fits(pod *corev1.Pod, others []*corev1.Pod, room corev1.ResourceList, node *corev1.Node) (reason, message string) {
	want := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	want[corev1.ResourcePods] = oneQuantity
	used := corev1.ResourceList{}
	for _, o := range others {
		for name, q := range resourcehelper.PodRequests(o, resourcehelper.PodResourcesOptions{}) {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
		sum := used[corev1.ResourcePods]
		sum.Add(oneQuantity)
		used[corev1.ResourcePods] = sum
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		q := want[name]
		have, known := room[name]
		if q.IsZero() || !known && strings.Contains(string(name), "/") { // nobody here counts it: the scheduler did
			continue
		}
		sum := used[name]
		total := sum.DeepCopy()
		total.Add(q)
		if total.Cmp(have) > 0 {
			n := func(v int64, milli int64) int64 {
				if name == corev1.ResourceCPU {
					return milli
				}
				return v
			}
			return "OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name,
				n(q.Value(), q.MilliValue()), n(sum.Value(), sum.MilliValue()), n(have.Value(), have.MilliValue()))
		}
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok {
		return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	}
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			for _, o := range others {
				if p.HostPort > 0 && takes(o, p) {
					return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
				}
			}
		}
	}
	return "", ""
}

// takes tells whether the pod already has the host's port.
func takes(pod *corev1.Pod, p corev1.ContainerPort) bool {
	all := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	for i := range pod.Spec.Containers {
		for _, q := range pod.Spec.Containers[i].Ports {
			if q.HostPort == p.HostPort && q.Protocol == p.Protocol && (q.HostIP == p.HostIP || all(q.HostIP) || all(p.HostIP)) {
				return true
			}
		}
	}
	return false
}
