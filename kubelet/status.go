package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// podStatus is the pod's status as its containers, probes and decisions make it; what others wrote into
// the old one (the pod's own Status) is kept. waiting says why containers that should run do not.
func podStatus(v *PodView, waiting map[string]Trouble) corev1.PodStatus {
	old := &v.Pod.Status
	s := *old.DeepCopy()
	s.ObservedGeneration = v.Pod.Generation
	s.QOSClass = qosClass(v.Pod)
	if s.StartTime == nil {
		s.StartTime = ptr.To(v1.NewTime(v.Now.Truncate(time.Second)))
	}
	s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	initialized := v.initialized()
	for i := range v.Pod.Spec.InitContainers {
		s.InitContainerStatuses = append(s.InitContainerStatuses, containerStatus(v, &v.Pod.Spec.InitContainers[i], old.InitContainerStatuses, waiting, "PodInitializing", true))
	}
	reason := "ContainerCreating"
	if len(v.Pod.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	for i := range v.Pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(v, &v.Pod.Spec.Containers[i], old.ContainerStatuses, waiting, reason, false))
	}
	for i := range v.Pod.Spec.EphemeralContainers {
		spec := corev1.Container(v.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		cs := containerStatus(v, &spec, old.EphemeralContainerStatuses, waiting, "ContainerCreating", false)
		cs.Ready, cs.Started = false, nil
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, cs)
	}
	addresses(v, &s)

	was := old.Phase
	s.Phase = phaseOf(v)
	if v.Stop != nil {
		if v.Stop.Phase != "" {
			s.Phase = v.Stop.Phase
		}
		if v.Stop.Reason != "" {
			s.Reason, s.Message = v.Stop.Reason, v.Stop.Message
		}
	}
	if terminal(was) {
		s.Phase = was // never goes back
	} else if terminal(s.Phase) && v.alive() {
		s.Phase = was // containers are dead before the pod is
		if was == "" {
			s.Phase = corev1.PodPending
		}
	} else if v.Stop != nil && !terminal(s.Phase) && v.ended() {
		// A deleted pod whose containers are dead is finished, whatever its restart policy. Source: KEP-3329.
		s.Phase = verdict(v)
	}
	conditions(v, &s, initialized)
	if v.Stop != nil && v.Stop.Disrupted {
		set(v, &s, corev1.DisruptionTarget, true, corev1.PodReasonTerminationByKubelet, v.Stop.Message)
	}
	return s
}

// ended tells whether the pod was asked to end and nothing of it can run any more.
func (v *PodView) ended() bool { return v.Stop != nil && !v.alive() && v.Cleaned }

// verdict is the terminal phase of a pod that was ended from outside.
func verdict(v *PodView) corev1.PodPhase {
	for i := range v.Pod.Spec.Containers {
		if c := v.Seen.Find(v.Pod.Spec.Containers[i].Name); c == nil || c.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func terminal(p corev1.PodPhase) bool { return p == corev1.PodFailed || p == corev1.PodSucceeded }

// phaseOf reads the phase off the containers. Source: Pod lifecycle, "Pod phase".
func phaseOf(v *PodView) corev1.PodPhase {
	if !v.initialized() {
		for i := range v.Pod.Spec.InitContainers {
			spec := &v.Pod.Spec.InitContainers[i]
			if c := v.Seen.Find(spec.Name); c != nil && c.State == cri.Exited && c.ExitCode != 0 && !restarts(v.Pod, spec, true, c.ExitCode) {
				return corev1.PodFailed
			}
		}
	}
	var missing, running, failed int
	for i := range v.Pod.Spec.Containers {
		spec := &v.Pod.Spec.Containers[i]
		c := v.Seen.Find(spec.Name)
		switch {
		case c == nil || c.State == cri.Created:
			missing++
		case c.State == cri.Exited && !restarts(v.Pod, spec, false, c.ExitCode):
			if c.ExitCode != 0 {
				failed++
			}
		case c.State == cri.Running && c.Attempt == 0 && v.Busy["start/"+spec.Name]:
			missing++ // until its postStart hook is through
		default:
			running++
		}
	}
	switch {
	case missing > 0:
		return corev1.PodPending
	case running > 0:
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}

// containerStatus is the status of one container; idle is the reason it waits when nothing better is known.
func containerStatus(v *PodView, spec *corev1.Container, olds []corev1.ContainerStatus, waiting map[string]Trouble, idle string, init bool) corev1.ContainerStatus {
	var old corev1.ContainerStatus
	if i := slices.IndexFunc(olds, func(s corev1.ContainerStatus) bool { return s.Name == spec.Name }); i >= 0 {
		old = olds[i]
	}
	s := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, ImageID: old.ImageID, RestartCount: old.RestartCount,
		ContainerID: old.ContainerID, LastTerminationState: old.LastTerminationState, Started: ptr.To(false)}
	c := v.Seen.Find(spec.Name)
	if c == nil {
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: idle}
		switch {
		case old.State.Terminated != nil && (v.Stop != nil || terminal(v.Pod.Status.Phase)):
			s.State = old.State // its container was cleaned away
			s.Ready = init && old.State.Terminated.ExitCode == 0
			return s
		case old.State.Terminated != nil:
			s.LastTerminationState = old.State
		case old.State.Running != nil:
			lost := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown",
				Message: "The container could not be located when the pod was terminated", ContainerID: old.ContainerID}}
			if v.Stop != nil {
				s.State = lost
				return s
			}
			lost.Terminated.Message = "The container could not be located when the pod was deleted.  The container used to be Running"
			s.LastTerminationState = lost
		}
		if t, ok := waiting[spec.Name]; ok {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: t.Reason, Message: t.Message}
		}
		return s
	}
	s.Image, s.ImageID, s.ContainerID, s.RestartCount = c.Image, c.ImageID, "containerd://"+c.ID, int32(c.Attempt)
	if p := v.Seen.Previous(spec.Name); p != nil && p.State == cri.Exited {
		s.LastTerminationState = terminated(p)
	} else if c.Attempt == 0 {
		s.LastTerminationState = corev1.ContainerState{}
	}
	switch {
	case c.State == cri.Running && v.Busy["start/"+spec.Name], c.State == cri.Created:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: idle}
		if t, ok := waiting[spec.Name]; ok {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: t.Reason, Message: t.Message}
		}
	case c.Alive():
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: v1.NewTime(c.StartedAt.Truncate(time.Second))}
		if h, ok := v.health(c); ok {
			s.Started, s.Ready = ptr.To(h.Started), h.Started && h.Ready && !(init && !sidecar(spec))
		}
		if init && !sidecar(spec) {
			s.Started = ptr.To(true)
		}
		s.Resources = &corev1.ResourceRequirements{Limits: spec.Resources.Limits, Requests: spec.Resources.Requests}
		s.AllocatedResources = spec.Resources.Requests
		if u := c.User; u != nil {
			s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: u.Uid, GID: u.Gid, SupplementalGroups: u.SupplementalGroups}}
		}
	default:
		s.State = terminated(c)
		s.Ready = init && c.ExitCode == 0 && !sidecar(spec)
		t, ok := waiting[spec.Name]
		if ok && v.Stop == nil && !terminal(v.Pod.Status.Phase) {
			s.LastTerminationState, s.State = s.State, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: t.Reason, Message: t.Message}}
		}
	}
	for _, m := range spec.VolumeMounts {
		ms := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			ms.RecursiveReadOnly = ptr.To(corev1.RecursiveReadOnlyDisabled)
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
				ms.RecursiveReadOnly = ptr.To(corev1.RecursiveReadOnlyEnabled)
			}
		}
		s.VolumeMounts = append(s.VolumeMounts, ms)
	}
	return s
}

func terminated(c *cri.Container) corev1.ContainerState {
	t := &corev1.ContainerStateTerminated{ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message, ContainerID: "containerd://" + c.ID}
	if !c.StartedAt.IsZero() {
		t.StartedAt = v1.NewTime(c.StartedAt.Truncate(time.Second))
	}
	if !c.FinishedAt.IsZero() {
		t.FinishedAt = v1.NewTime(c.FinishedAt.Truncate(time.Second))
	}
	if t.Reason == "" {
		if t.Reason = "Error"; c.ExitCode == 0 {
			t.Reason = "Completed"
		}
	}
	return corev1.ContainerState{Terminated: t}
}

// addresses fills in the node's and the pod's addresses. A pod keeps the last it had when its sandbox is gone.
func addresses(v *PodView, s *corev1.PodStatus) {
	if len(v.HostIPs) > 0 {
		s.HostIP, s.HostIPs = v.HostIPs[0], nil
		for _, ip := range v.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	ips := podIPs(v.Pod, v.Seen, v.HostIPs)
	if len(ips) == 0 {
		return
	}
	s.PodIP, s.PodIPs = ips[0], nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
}

// podIPs are the addresses of the pod's sandbox, or the node's for the host's network; of the node's
// first address's family first.
func podIPs(pod *corev1.Pod, seen *cri.Pod, host []string) []string {
	box := seen.Current()
	if box == nil || !box.Ready {
		return nil
	}
	if pod.Spec.HostNetwork {
		return host
	}
	ips := slices.Clone(box.IPs)
	if len(host) > 0 {
		six := strings.Contains(host[0], ":")
		slices.SortStableFunc(ips, func(a, b string) int {
			return rank(strings.Contains(a, ":") == six) - rank(strings.Contains(b, ":") == six)
		})
	}
	return ips
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// conditions sets the kubelet's own conditions and leaves the others.
func conditions(v *PodView, s *corev1.PodStatus, initialized bool) {
	box := v.Seen.Current()
	set(v, s, corev1.PodReadyToStartContainers, box != nil && box.Ready && (v.Pod.Spec.HostNetwork || len(box.IPs) > 0), "", "")

	switch {
	case s.Phase == corev1.PodSucceeded:
		set(v, s, corev1.PodInitialized, true, "PodCompleted", "")
	case initialized || len(v.Pod.Spec.InitContainers) == 0 || began(s.ContainerStatuses):
		set(v, s, corev1.PodInitialized, true, "", "")
	default:
		var names []string
		for i, c := range s.InitContainerStatuses {
			ok := c.Ready
			if sidecar(&v.Pod.Spec.InitContainers[i]) {
				ok = c.Started != nil && *c.Started
			}
			if !ok {
				names = append(names, c.Name)
			}
		}
		set(v, s, corev1.PodInitialized, false, "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %s", names))
	}

	var unready []string
	for i, c := range s.InitContainerStatuses {
		if sidecar(&v.Pod.Spec.InitContainers[i]) && !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	for _, c := range s.ContainerStatuses {
		if !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	ok, reason, message := len(unready) == 0, "", ""
	switch {
	case s.Phase == corev1.PodSucceeded:
		ok, reason = false, "PodCompleted"
	case s.Phase == corev1.PodFailed:
		ok, reason = false, "PodFailed"
	case !ok:
		reason, message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
	}
	set(v, s, corev1.ContainersReady, ok, reason, message)

	if ok {
		var missing []string
		for _, gate := range v.Pod.Spec.ReadinessGates {
			i := slices.IndexFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == gate.ConditionType })
			if i < 0 {
				missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
			} else if s.Conditions[i].Status != corev1.ConditionTrue {
				missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, s.Conditions[i].Status))
			}
		}
		if len(missing) > 0 {
			ok, reason, message = false, "ReadinessGatesNotReady", strings.Join(missing, ", ")
		}
	}
	set(v, s, corev1.PodReady, ok, reason, message)
	if i := slices.IndexFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled }); i < 0 || s.Conditions[i].Status != corev1.ConditionTrue {
		set(v, s, corev1.PodScheduled, true, "", "")
	} else {
		s.Conditions[i].ObservedGeneration = v.Pod.Generation
	}
	slices.SortStableFunc(s.Conditions, func(a, b corev1.PodCondition) int { return order(a.Type) - order(b.Type) })
}

func began(list []corev1.ContainerStatus) bool {
	return slices.ContainsFunc(list, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	})
}

func order(t corev1.PodConditionType) int {
	i := slices.Index([]corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled}, t)
	if i < 0 {
		return 9
	}
	return i
}

func set(v *PodView, s *corev1.PodStatus, t corev1.PodConditionType, ok bool, reason, message string) {
	c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		LastTransitionTime: v1.NewTime(v.Now.Truncate(time.Second)), ObservedGeneration: v.Pod.Generation}
	if ok {
		c.Status = corev1.ConditionTrue
	}
	i := slices.IndexFunc(s.Conditions, func(o corev1.PodCondition) bool { return o.Type == t })
	if i < 0 {
		s.Conditions = append(s.Conditions, c)
		return
	}
	c.LastProbeTime = s.Conditions[i].LastProbeTime
	if s.Conditions[i].Status == c.Status {
		c.LastTransitionTime = s.Conditions[i].LastTransitionTime
	}
	s.Conditions[i] = c
}

// qosClass is the pod's quality of service class. Source: Pod QoS classes.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	any, guaranteed := false, true
	check := func(r corev1.ResourceRequirements) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			req, lim := r.Requests[name], r.Limits[name]
			any = any || !req.IsZero() || !lim.IsZero()
			if lim.IsZero() || !req.IsZero() && req.Cmp(lim) != 0 {
				guaranteed = false
			}
		}
	}
	if r := pod.Spec.Resources; r != nil {
		check(*r)
	} else {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				check(list[i].Resources)
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
