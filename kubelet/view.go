package kubelet

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// PodView is everything that decide and podStatus may know about one pod. Shared: never written to by them.
type PodView struct {
	Pod       *corev1.Pod
	Now       time.Time
	Seen      *cri.Pod             // what the runtime has
	Probes    map[string]Health    // by container name
	Crashes   map[string]Backoff   // by container name
	Pulls     map[string]Backoff   // by container name
	Trouble   map[string]Trouble   // by container name: why its last start did not succeed
	Busy      map[string]bool      // keys of steps under way
	NotBefore map[string]time.Time // keys of steps that failed, and when to try again
	Stopped   map[string]bool      // IDs of sandboxes that StopSandbox has taken down
	Stop      *Stop                // not nil: the pod is to end
	Prepared  bool                 // directories, control group and volumes are there
	Cleaned   bool                 // and are gone again
	Gone      bool                 // the API server has it no more
	Told      bool                 // the API server has the final status
	HostIPs   []string
}

// Stop says that a pod is to end, and how its status tells it.
type Stop struct {
	Phase           corev1.PodPhase // Failed, or "" to let the containers' exit codes decide
	Reason, Message string
	Disrupted       bool      // by the kubelet, for the node's sake: the condition DisruptionTarget says so
	Deadline        time.Time // when the last container is to be dead
	Grace           time.Duration
}

// Health is what the probes say of one running container.
type Health struct {
	ID      string // of the container that was probed
	Started bool   // the startup probe has succeeded, or there is none
	Ready   bool   // the readiness probe succeeds, or there is none
	Failed  string // "liveness" or "startup" when that probe says to kill it
	Grace   *int64 // seconds, the failed probe's own
}

// Trouble is why a start did not succeed, in the words of the container's waiting state.
type Trouble struct{ Reason, Message string }

// Backoff is how long to wait between two tries of what keeps failing.
type Backoff struct {
	Delay time.Duration
	Last  time.Time // when Delay was last raised
	Told  bool      // an event has said that we wait
}

// Bounds of back-off for crashing containers and image pulls. Source: Pod lifecycle, "Container restarts".
const (
	backoffFirst = 10 * time.Second
	backoffMax   = 300 * time.Second
	backoffReset = 10 * time.Minute
)

// until is when the next try is due after a failure at the given time; not after it: at once.
func (b Backoff) until(failed time.Time) time.Time {
	if b.Delay == 0 || failed.Sub(b.Last) > backoffReset {
		return failed
	}
	return failed.Add(b.Delay)
}

// next is the back-off after another failure at the given time.
func (b Backoff) next(now, failed time.Time) Backoff {
	d := backoffFirst
	if b.Delay > 0 && failed.Sub(b.Last) <= backoffReset {
		d = min(2*b.Delay, backoffMax)
	}
	return Backoff{Delay: d, Last: now}
}

// sidecar tells whether an init container runs beside the main ones. Source: KEP-753.
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// restarts tells whether a container that ended is to run again.
func restarts(pod *corev1.Pod, c *corev1.Container, init bool, exit int32) bool {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil {
			continue
		}
		in := false
		for _, v := range r.ExitCodes.Values {
			in = in || v == exit
		}
		if in == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := string(pod.Spec.RestartPolicy)
	if c.RestartPolicy != nil {
		policy = string(*c.RestartPolicy)
	}
	switch corev1.RestartPolicy(policy) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exit != 0
	}
	return !init || exit != 0 || sidecar(c)
}

// current returns the newest container of the name if it is in the current sandbox, else nil.
func (v *PodView) current(name string) *cri.Container {
	c, box := v.Seen.Find(name), v.Seen.Current()
	if c == nil || box == nil || c.SandboxID != box.ID {
		return nil
	}
	return c
}

// healthy tells whether what the probes say is about this very container, and what.
func (v *PodView) health(c *cri.Container) (Health, bool) {
	h, ok := v.Probes[c.Name]
	return h, ok && h.ID == c.ID
}

// initialized tells whether all init containers have done their work in the current sandbox.
func (v *PodView) initialized() bool {
	for i := range v.Pod.Spec.Containers {
		if v.current(v.Pod.Spec.Containers[i].Name) != nil {
			return true
		}
	}
	for i := range v.Pod.Spec.InitContainers {
		spec := &v.Pod.Spec.InitContainers[i]
		c := v.current(spec.Name)
		if c == nil {
			return false
		}
		if sidecar(spec) {
			if h, ok := v.health(c); c.State != cri.Running || !ok || !h.Started {
				return false
			}
		} else if c.State != cri.Exited || c.ExitCode != 0 {
			return false
		}
	}
	return true
}

// alive tells whether any container of the pod may have a process.
func (v *PodView) alive() bool {
	for i := range v.Seen.Containers {
		if v.Seen.Containers[i].Alive() {
			return true
		}
	}
	return false
}
