package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Pod is a group of containers on one node.
var Pod = api.Define(api.Resource[*corev1.Pod]{
	Version: "v1", Plural: "pods", Short: []string{"po"}, Categories: []string{"all"}, Scope: api.Namespaced,
	Default:  defaultPod,
	Prepare:  preparePod,
	Validate: validatePod,
	Completed: func(p *corev1.Pod) (reason, message string) {
		switch p.Status.Phase {
		case corev1.PodSucceeded:
			return string(corev1.PodSucceeded), "The pod has completed successfully."
		case corev1.PodFailed:
			return string(corev1.PodFailed), "The pod failed."
		}
		return "", ""
	},
	Warnings: func(p, old *corev1.Pod) []string {
		list := Warnings(&p.Spec, field.NewPath("spec"))
		if old == nil {
			list = append(NameWarning(p.Name, "this is used in the Pod's hostname"), list...)
		}
		return list
	},
	GenerationOf: func(p *corev1.Pod) any { return &p.Spec },
	Status:       &api.Status[*corev1.Pod]{Copy: copyPodStatus, Validate: validatePodStatus},
	Grace:        podGrace,
	Subresources: []api.Subresource{
		{Name: "attach", Kind: "PodAttachOptions", Verbs: connect},
		{Name: "binding", Kind: "Binding", Verbs: create},
		{Name: "ephemeralcontainers", Kind: "Pod", Verbs: change, Validate: func(p, old api.Object) field.ErrorList {
			return validateEphemeralContainers(p.(*corev1.Pod), old.(*corev1.Pod))
		}},
		{Name: "eviction", Kind: "Eviction", Group: "policy", Version: "v1", Verbs: create},
		{Name: "exec", Kind: "PodExecOptions", Verbs: connect},
		{Name: "log", Kind: "Pod", Verbs: []string{"get"}},
		{Name: "portforward", Kind: "PodPortForwardOptions", Verbs: connect},
		{Name: "proxy", Kind: "PodProxyOptions", Verbs: proxy},
		{Name: "resize", Kind: "Pod", Verbs: change, Validate: func(p, old api.Object) field.ErrorList {
			return validateResize(p.(*corev1.Pod), old.(*corev1.Pod))
		}},
	},
	Fields: map[string]func(*corev1.Pod) string{
		"spec.nodeName":            func(p *corev1.Pod) string { return p.Spec.NodeName },
		"spec.restartPolicy":       func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) },
		"spec.schedulerName":       func(p *corev1.Pod) string { return p.Spec.SchedulerName },
		"spec.serviceAccountName":  func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
		"spec.hostNetwork":         func(p *corev1.Pod) string { return fmt.Sprint(p.Spec.HostNetwork) },
		"status.phase":             func(p *corev1.Pod) string { return string(p.Status.Phase) },
		"status.podIP":             func(p *corev1.Pod) string { return firstPodIP(p) },
		"status.podIPs":            podIPs,
		"status.nominatedNodeName": func(p *corev1.Pod) string { return p.Status.NominatedNodeName },
	},
	Columns: podColumns,
	Shown: []string{"spec.nodeName", "spec.readinessGates", "spec.containers.name", "spec.initContainers.name", "spec.initContainers.restartPolicy",
		"status.phase", "status.reason", "status.conditions.type", "status.conditions.status", "status.conditions.reason",
		"status.podIP", "status.podIPs", "status.nominatedNodeName",
		"status.initContainerStatuses.name", "status.initContainerStatuses.state", "status.initContainerStatuses.lastState",
		"status.initContainerStatuses.ready", "status.initContainerStatuses.restartCount", "status.initContainerStatuses.started",
		"status.containerStatuses.state", "status.containerStatuses.lastState", "status.containerStatuses.ready", "status.containerStatuses.restartCount"},
})

func defaultPod(p *corev1.Pod) {
	DefaultPodSpec(&p.Spec)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			defaultRequests(&list[i].Resources)
		}
	}
	defaultPodRequests(&p.Spec)
	OrNew(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	defaultHostPorts(&p.Spec)
}

// preparePod gives a new pod its first status, and an updated one the status it has.
// Admission may have named a service account since Default: its twin follows.
func preparePod(p, old *corev1.Pod) {
	mirrorServiceAccount(&p.Spec)
	DropDisabled(&p.Spec)
	if old != nil {
		p.Status = old.Status
		return
	}
	spellLabelKeys(p)
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOS(&p.Spec)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			LastTransitionTime: metav1.Now(), Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

// copyPodStatus keeps podIP the first of podIPs, and the class of service as it is.
func copyPodStatus(dst, src *corev1.Pod) {
	qos := dst.Status.QOSClass
	dst.Status = src.Status
	if dst.Status.QOSClass == "" {
		dst.Status.QOSClass = qos
	}
	s := &dst.Status
	s.NodeAllocatableResourceClaimStatuses, s.VolumeHealth = nil, nil // of features that are off
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
	if s.HostIP != "" && len(s.HostIPs) == 0 {
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
}

// podGrace: what was asked for, else what the pod's spec says; none for a pod that
// no node has or that is over.
func podGrace(p *corev1.Pod, requested *int64) int64 {
	var grace int64
	switch {
	case p.Spec.NodeName == "", p.Status.Phase == corev1.PodFailed, p.Status.Phase == corev1.PodSucceeded:
		return 0
	case requested != nil:
		grace = *requested
	case p.Spec.TerminationGracePeriodSeconds != nil:
		grace = *p.Spec.TerminationGracePeriodSeconds
	}
	if grace < 0 {
		return 1
	}
	return grace
}

// QOS is a pod's class of service, by the CPU and memory of its containers, or of the
// pod as a whole where that says something: Guaranteed when every one has equal requests
// and limits for both, BestEffort when none has any.
func QOS(s *corev1.PodSpec) corev1.PodQOSClass {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	count := func(r *corev1.ResourceRequirements) {
		limited := sets.New[corev1.ResourceName]()
		add := func(sum, list corev1.ResourceList, limit bool) {
			for name, q := range list {
				if (name == corev1.ResourceCPU || name == corev1.ResourceMemory) && q.Sign() > 0 {
					total := sum[name]
					total.Add(q)
					sum[name] = total
					if limit {
						limited.Insert(name)
					}
				}
			}
		}
		add(requests, r.Requests, false)
		add(limits, r.Limits, true)
		guaranteed = guaranteed && limited.Len() == 2
	}
	if s.Resources != nil && (len(s.Resources.Requests) > 0 || len(s.Resources.Limits) > 0) {
		count(s.Resources)
	} else {
		for _, list := range [][]corev1.Container{s.Containers, s.InitContainers} {
			for i := range list {
				count(&list[i].Resources)
			}
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return corev1.PodQOSBestEffort
	}
	if guaranteed && len(requests) == len(limits) {
		for name, want := range requests {
			if have, ok := limits[name]; !ok || have.Cmp(want) != 0 {
				return corev1.PodQOSBurstable
			}
		}
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func firstPodIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return p.Status.PodIP
}

func podIPs(p *corev1.Pod) string {
	words := make([]string, len(p.Status.PodIPs))
	for i, ip := range p.Status.PodIPs {
		words[i] = ip.IP
	}
	return strings.Join(words, ",")
}
