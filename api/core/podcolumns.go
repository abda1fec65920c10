package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

var podColumns = []api.Column[*corev1.Pod]{
	{Name: "Ready", Help: "The aggregate readiness state of this pod for accepting traffic.", Show: func(p *corev1.Pod) any { return summarize(p).readiness() }},
	{Name: "Status", Help: "The aggregate status of the containers in this pod.", Show: func(p *corev1.Pod) any { return summarize(p).status }},
	{Name: "Restarts", Help: "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
		Show: func(p *corev1.Pod) any { return summarize(p).restarts() }},
	{Name: "Age"},
	{Name: "IP", Priority: 1, Help: corev1.PodStatus{}.SwaggerDoc()["podIP"], Show: func(p *corev1.Pod) any { return orWord(firstPodIP(p), "<none>") }},
	{Name: "Node", Priority: 1, Help: corev1.PodSpec{}.SwaggerDoc()["nodeName"], Show: func(p *corev1.Pod) any { return orWord(p.Spec.NodeName, "<none>") }},
	{Name: "Nominated Node", Priority: 1, Help: corev1.PodStatus{}.SwaggerDoc()["nominatedNodeName"], Show: func(p *corev1.Pod) any {
		return orWord(p.Status.NominatedNodeName, "<none>")
	}},
	{Name: "Readiness Gates", Priority: 1, Help: corev1.PodSpec{}.SwaggerDoc()["readinessGates"], Show: readinessGates},
}

func readinessGates(p *corev1.Pod) any {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if c := podCondition(p, g.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// summary is one pod in a line of kubectl get pods.
type summary struct {
	status      string
	ready, all  int
	count       int32       // restarts
	lastRestart metav1.Time // zero: none known
}

func (s summary) readiness() string { return fmt.Sprintf("%d/%d", s.ready, s.all) }

func (s summary) restarts() string {
	if s.count == 0 || s.lastRestart.IsZero() {
		return fmt.Sprint(s.count)
	}
	return fmt.Sprintf("%d (%s ago)", s.count, api.Age(s.lastRestart))
}

func (s *summary) restarted(c *corev1.ContainerStatus) {
	s.count += c.RestartCount
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// summarize finds the one word that says most about a pod: of the first init container
// that is not done, else of the first container that waits or has ended, else of the pod.
func summarize(p *corev1.Pod) summary {
	s := summary{status: orWord(p.Status.Reason, string(p.Status.Phase)), all: len(p.Spec.Containers)}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.status = corev1.PodReasonSchedulingGated
	}
	for i := range p.Spec.InitContainers {
		if isSidecar(&p.Spec.InitContainers[i]) {
			s.all++
		}
	}
	var sidecars summary // their restarts alone
	starting := false
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.restarted(c)
		sidecar := hasSidecar(p, c.Name)
		if sidecar {
			sidecars.restarted(c)
		}
		done := c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
		if sidecar && IsTrue(c.Started) && !done {
			done = true
			if c.Ready {
				s.ready++
			}
		}
		if !done {
			s.status, starting = initStatus(c, i, len(p.Spec.InitContainers)), true
			break
		}
	}
	if initialized := podCondition(p, corev1.PodInitialized); !starting || initialized != nil && initialized.Status == corev1.ConditionTrue {
		s.count, s.lastRestart = sidecars.count, sidecars.lastRestart
		s.containers(p)
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == "NodeLost":
			s.status = "Unknown"
		case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded:
			s.status = "Terminating"
		}
	}
	return s
}

func hasSidecar(p *corev1.Pod, name string) bool {
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.Name == name && isSidecar(c) {
			return true
		}
	}
	return false
}

func (s *summary) containers(p *corev1.Pod) {
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.restarted(c)
		switch state := c.State; {
		case state.Waiting != nil && state.Waiting.Reason != "":
			s.status = state.Waiting.Reason
		case state.Terminated != nil:
			s.status = ended(state.Terminated)
		case c.Ready && state.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.status == "Completed" && running {
		s.status = "NotReady"
		if c := podCondition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
			s.status = "Running"
		}
	}
}

func initStatus(c *corev1.ContainerStatus, at, all int) string {
	switch {
	case c.State.Terminated != nil:
		return "Init:" + ended(c.State.Terminated)
	case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
		return "Init:" + c.State.Waiting.Reason
	}
	return fmt.Sprintf("Init:%d/%d", at, all)
}

func ended(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
