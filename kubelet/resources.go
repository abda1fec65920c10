package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/kubelet/cgroup"
)

// quotaPeriod is the period of CPU limits in microseconds.
const quotaPeriod = 100000

// shares turns milli-CPU into a relative weight, within the kernel's bounds.
func shares(milli int64) int64 { return min(max(milli*1024/1000, 2), 262144) }

// quota turns a limit in milli-CPU into microseconds per period; the kernel takes no less than 1 ms.
func quota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*quotaPeriod/1000, 1000)
}

// containerResources are the limits of one container. memory is the node's, in bytes.
func containerResources(pod *corev1.Pod, c *corev1.Container, memory int64, v2 bool) *runtimev1.LinuxContainerResources {
	cpu, ok := c.Resources.Requests[corev1.ResourceCPU]
	if !ok {
		cpu = c.Resources.Limits[corev1.ResourceCPU]
	}
	r := &runtimev1.LinuxContainerResources{CpuPeriod: quotaPeriod, CpuShares: shares(cpu.MilliValue()),
		CpuQuota: quota(c.Resources.Limits.Cpu().MilliValue()), MemoryLimitInBytes: c.Resources.Limits.Memory().Value(),
		OomScoreAdj: oomScore(pod, c, memory)}
	if v2 {
		r.Unified = map[string]string{"memory.oom.group": "1"}
		r.MemorySwapLimitInBytes = r.MemoryLimitInBytes // a pod gets no swap
	}
	return r
}

// oomScore is how readily the kernel kills the container when the node's memory is used up: the less
// of it the pod asked for, the sooner. Source: "Node out of memory behavior".
func oomScore(pod *corev1.Pod, c *corev1.Container, memory int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= 2000000000 {
		return -997
	}
	switch qosClass(pod) {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if memory <= 0 {
		return 999
	}
	return min(max(1000-1000*c.Resources.Requests.Memory().Value()/memory, 3), 999)
}

// podLimits are the limits of the pod's own group: what is limited for each container is limited for all.
func podLimits(pod *corev1.Pod, pids int64) cgroup.Limits {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	l := cgroup.Limits{Shares: shares(requests.Cpu().MilliValue()), QuotaMicros: -1, Memory: -1, Pids: pids}
	all := func(name corev1.ResourceName) bool {
		if pod.Spec.Resources != nil {
			if q, ok := pod.Spec.Resources.Limits[name]; ok {
				return !q.IsZero()
			}
		}
		for i := range pod.Spec.Containers {
			if q := pod.Spec.Containers[i].Resources.Limits[name]; q.IsZero() {
				return false
			}
		}
		for i := range pod.Spec.InitContainers {
			if q := pod.Spec.InitContainers[i].Resources.Limits[name]; q.IsZero() {
				return false
			}
		}
		return true
	}
	if all(corev1.ResourceCPU) {
		l.QuotaMicros = quota(limits.Cpu().MilliValue())
	}
	if all(corev1.ResourceMemory) {
		l.Memory = limits.Memory().Value()
	}
	return l
}

// balance gives the group of all burstable pods the CPU weight that they ask for together, and the group
// of all pods what the node has for them. It is called when pods come and go.
func (k *Kubelet) balance() error {
	var milli int64
	for _, p := range k.Pods() {
		if qosClass(p) == corev1.PodQOSBurstable && !terminal(p.Status.Phase) {
			requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
			milli += requests.Cpu().MilliValue()
		}
	}
	k.balancing.Lock()
	defer k.balancing.Unlock()
	want := shares(milli)
	if want == k.burstable {
		return nil
	}
	if k.burstable == 0 { // the first time
		room := k.allocatable()
		l := cgroup.Limits{Shares: shares(room.Cpu().MilliValue())}
		if _, ok := k.Reserved[corev1.ResourceMemory]; ok {
			l.Memory = room.Memory().Value()
		}
		if err := k.cgroups.Set(k.cgroups.Parent(), l); err != nil {
			return err
		}
	}
	if err := k.cgroups.Set(k.cgroups.Class(corev1.PodQOSBurstable), cgroup.Limits{Shares: want}); err != nil {
		return err
	}
	k.burstable = want
	return nil
}

// podResources are the same in the words of CRI, for the runtime's eyes.
func podResources(l cgroup.Limits) *runtimev1.LinuxContainerResources {
	return &runtimev1.LinuxContainerResources{CpuPeriod: quotaPeriod, CpuShares: l.Shares, CpuQuota: max(l.QuotaMicros, 0), MemoryLimitInBytes: max(l.Memory, 0)}
}
