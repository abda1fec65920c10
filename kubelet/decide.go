package kubelet

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// Verb is what a step does.
type Verb string

// The steps of a pod's life, about in their order.
const (
	Prepare         Verb = "prepare"          // directories, control group, volumes
	RunSandbox      Verb = "run-sandbox"      // the pod's namespaces and network
	Start           Verb = "start"            // pull, create and start one container, and its postStart hook
	Kill            Verb = "kill"             // preStop hook, then end one container
	RemoveContainer Verb = "remove-container" // forget a dead one
	StopSandbox     Verb = "stop-sandbox"     // give back the network
	RemoveSandbox   Verb = "remove-sandbox"   // forget it and its containers
	Clean           Verb = "clean"            // volumes and control group go
	Delete          Verb = "delete"           // the object in the API goes
	Mirror          Verb = "mirror"           // of a static pod, in the API
	Refresh         Verb = "refresh"          // volumes follow what they are made of
	Forget          Verb = "forget"           // logs and directories go; the worker is done
)

// Step is one thing to do for a pod, with its reason.
type Step struct {
	Do      Verb
	Name    string // of the container
	ID      string // of the container or sandbox
	Attempt int    // of what is made
	Grace   time.Duration
	Reason  string  // for people
	Backoff Backoff // Start: the back-off that holds from now on, if Delay > 0
}

func (s Step) key() string {
	switch s.Do {
	case Start:
		return "start/" + s.Name
	case Kill, RemoveContainer, StopSandbox, RemoveSandbox:
		return string(s.Do) + "/" + s.ID
	}
	return string(s.Do)
}

// Decision is what to do now, when to look again although nothing happens (zero: never), and why
// containers that should run do not.
type Decision struct {
	Steps   []Step
	Wake    time.Time
	Waiting map[string]Trouble
}

func (d *Decision) do(v *PodView, s Step) {
	key := s.key()
	if v.Busy[key] {
		return
	}
	if t := v.NotBefore[key]; t.After(v.Now) {
		d.at(t)
		return
	}
	d.Steps = append(d.Steps, s)
}

func (d *Decision) at(t time.Time) {
	if d.Wake.IsZero() || t.Before(d.Wake) {
		d.Wake = t
	}
}

// decide lists what to do for the pod now. It has no clock, no runtime and no memory: same view, same
// decision. A step that is under way is not listed again.
func decide(v *PodView) Decision {
	d := Decision{Waiting: map[string]Trouble{}}
	if v.Stop != nil {
		end(v, &d)
		return d
	}
	if s := v.Pod.Spec.ActiveDeadlineSeconds; s != nil && v.Pod.Status.StartTime != nil {
		d.at(v.Pod.Status.StartTime.Add(time.Duration(*s) * time.Second))
	}
	if !v.Prepared {
		d.do(v, Step{Do: Prepare, Reason: "pod is new here"})
		return d
	}
	if !sandbox(v, &d) {
		return d
	}
	containers(v, &d)
	surplus(v, &d)
	return d
}

// sandbox brings the pod to one ready sandbox and tells whether it has it.
func sandbox(v *PodView, d *Decision) bool {
	box := v.Seen.Current()
	if box != nil && box.Ready {
		return true
	}
	attempt, reason := 0, "pod has none"
	if box != nil {
		attempt, reason = int(box.Attempt)+1, "Pod sandbox changed, it will be killed and re-created."
		if !v.Stopped[box.ID] {
			d.do(v, Step{Do: StopSandbox, ID: box.ID, Reason: "it is not ready"})
			return false
		}
	}
	if !wanted(v) {
		return false
	}
	d.do(v, Step{Do: RunSandbox, Attempt: attempt, Reason: reason})
	return false
}

// wanted tells whether a new sandbox would have anything to run.
func wanted(v *PodView) bool {
	for i := range v.Pod.Spec.Containers {
		spec := &v.Pod.Spec.Containers[i]
		if c := v.Seen.Find(spec.Name); c == nil || c.State == cri.Created || restarts(v.Pod, spec, false, c.ExitCode) {
			return true
		}
	}
	return false
}

// containers starts what should run and kills what should not go on as it is.
func containers(v *PodView, d *Decision) {
	for i := range v.Pod.Spec.EphemeralContainers {
		spec := corev1.Container(v.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if c := v.Seen.Find(spec.Name); c == nil || c.State == cri.Created {
			start(v, d, &spec, c, "it was added")
		}
	}
	past := false // a main container is there: plain init containers are history
	for i := range v.Pod.Spec.Containers {
		past = past || v.current(v.Pod.Spec.Containers[i].Name) != nil
	}
	for i := range v.Pod.Spec.InitContainers {
		spec := &v.Pod.Spec.InitContainers[i]
		c := v.current(spec.Name)
		switch {
		case sidecar(spec):
			if !keep(v, d, spec, c, true) && !past {
				return
			}
		case past:
		case c != nil && c.State == cri.Exited && c.ExitCode == 0:
		default:
			keep(v, d, spec, c, true)
			return
		}
	}
	for i := range v.Pod.Spec.Containers {
		spec := &v.Pod.Spec.Containers[i]
		keep(v, d, spec, v.current(spec.Name), false)
	}
}

// keep starts, restarts or kills one container as its spec and its probes want, and tells whether it
// runs and has started.
func keep(v *PodView, d *Decision, spec *corev1.Container, c *cri.Container, init bool) bool {
	switch {
	case c == nil || c.State == cri.Created:
		start(v, d, spec, c, "it does not exist")
	case c.State == cri.Exited:
		if restarts(v.Pod, spec, init, c.ExitCode) {
			restart(v, d, spec, c)
		}
	case c.State == cri.Unknown:
		d.do(v, Step{Do: Kill, Name: spec.Name, ID: c.ID, Grace: minGrace, Reason: "its state is unknown"})
	case v.Busy["start/"+spec.Name]: // its postStart hook runs
	case c.Hash != "" && c.Hash != hash(spec):
		d.do(v, Step{Do: Kill, Name: spec.Name, ID: c.ID, Grace: grace(v.Pod), Reason: fmt.Sprintf("Container %s definition changed", spec.Name)})
	default:
		h, ok := v.health(c)
		if !ok {
			return false
		}
		if h.Failed != "" {
			g := grace(v.Pod)
			if h.Grace != nil {
				g = time.Duration(*h.Grace) * time.Second
			}
			d.do(v, Step{Do: Kill, Name: spec.Name, ID: c.ID, Grace: g, Reason: fmt.Sprintf("Container %s failed %s probe", spec.Name, h.Failed)})
			return false
		}
		return h.Started
	}
	return false
}

// start begins a container that never ran in this sandbox; old is a created one to go on with, or nil.
func start(v *PodView, d *Decision, spec *corev1.Container, old *cri.Container, reason string) {
	s := Step{Do: Start, Name: spec.Name, Attempt: attempts(v, spec.Name), Reason: reason}
	if old != nil && old.Hash == hash(spec) {
		s.ID, s.Attempt = old.ID, old.Attempt
	}
	begin(v, d, s)
}

// restart begins a container anew that ended, when its back-off is over.
func restart(v *PodView, d *Decision, spec *corev1.Container, c *cri.Container) {
	b := v.Crashes[spec.Name]
	if due := b.until(c.FinishedAt); due.After(v.Now) {
		d.at(due)
		d.Waiting[spec.Name] = Trouble{"CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", b.Delay, spec.Name, formatPod(v.Pod))}
		return
	}
	begin(v, d, Step{Do: Start, Name: spec.Name, Attempt: c.Attempt + 1, Reason: fmt.Sprintf("it ended with exit code %d", c.ExitCode),
		Backoff: b.next(v.Now, c.FinishedAt)})
}

// pullErrorShown is how long a failed pull is shown as such before it is shown as waiting.
const pullErrorShown = 2 * time.Second

// begin lists a Start unless its image's back-off or another container's start is in the way: containers
// start one after the other, in the order of the spec.
func begin(v *PodView, d *Decision, s Step) {
	t, troubled := v.Trouble[s.Name]
	if troubled {
		d.Waiting[s.Name] = t
	}
	if b, ok := v.Pulls[s.Name]; ok {
		if due := b.Last.Add(b.Delay); due.After(v.Now) {
			if shown := b.Last.Add(pullErrorShown); shown.After(v.Now) && !b.Told {
				d.at(shown)
			} else if troubled {
				d.Waiting[s.Name] = Trouble{"ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: %s: %s", findContainer(v.Pod, s.Name).Image, t.Reason, t.Message)}
			}
			d.at(due)
			return
		}
	}
	for key := range v.Busy {
		if len(key) > 6 && key[:6] == "start/" {
			return
		}
	}
	for _, other := range d.Steps {
		if other.Do == Start {
			return
		}
	}
	d.do(v, s)
}

// attempts is how often the container has been made before, as far as anyone remembers.
func attempts(v *PodView, name string) int {
	n := 0
	if c := v.Seen.Find(name); c != nil {
		n = c.Attempt + 1
	}
	for _, list := range [][]corev1.ContainerStatus{v.Pod.Status.ContainerStatuses, v.Pod.Status.InitContainerStatuses} {
		for _, s := range list {
			if s.Name == name && s.ContainerID != "" {
				n = max(n, int(s.RestartCount)+1)
			}
		}
	}
	return n
}

// surplus forgets dead containers but the last two of each name, and old sandboxes that hold none.
func surplus(v *PodView, d *Decision) {
	count, held := map[string]int{}, map[string]bool{}
	for i := range v.Seen.Containers {
		c := &v.Seen.Containers[i]
		if count[c.Name]++; count[c.Name] > 2 && c.State == cri.Exited {
			d.do(v, Step{Do: RemoveContainer, Name: c.Name, ID: c.ID, Reason: "it is not the last nor the one before"})
			continue
		}
		held[c.SandboxID] = true
	}
	for i := range v.Seen.Sandboxes {
		if s := &v.Seen.Sandboxes[i]; i > 0 && !held[s.ID] {
			if s.Ready && !v.Stopped[s.ID] {
				d.do(v, Step{Do: StopSandbox, ID: s.ID, Reason: "a newer one is in use"})
			} else {
				d.do(v, Step{Do: RemoveSandbox, ID: s.ID, Reason: "a newer one is in use"})
			}
		}
	}
}

// minGrace is the least time a container gets between SIGTERM and SIGKILL.
const minGrace = 2 * time.Second

// end takes the pod down: main containers, then sidecars in reverse, then the sandbox, volumes and
// control group; then the API object, when its deletion was asked for and its last status is known there.
func end(v *PodView, d *Decision) {
	left := max(v.Stop.Deadline.Sub(v.Now), 0)
	order := map[string]int{}
	for i := range v.Pod.Spec.InitContainers {
		if sidecar(&v.Pod.Spec.InitContainers[i]) {
			order[v.Pod.Spec.InitContainers[i].Name] = len(v.Pod.Spec.InitContainers) - i
		}
	}
	first := -1
	for i := range v.Seen.Containers {
		if c := &v.Seen.Containers[i]; c.Alive() && (first < 0 || order[c.Name] < first) {
			first = order[c.Name]
		}
	}
	if first >= 0 {
		for i := range v.Seen.Containers {
			if c := &v.Seen.Containers[i]; c.Alive() && (order[c.Name] == first || left == 0) {
				d.do(v, Step{Do: Kill, Name: c.Name, ID: c.ID, Grace: left, Reason: "Stopping container " + c.Name})
			}
		}
		if left > 0 {
			d.at(v.Stop.Deadline) // then those that wait for others go too
		}
		return
	}
	for key := range v.Busy {
		if key == string(Prepare) || key == string(RunSandbox) || len(key) > 6 && key[:6] == "start/" {
			return // what it makes has to be seen before it can be taken down
		}
	}
	for i := range v.Seen.Sandboxes {
		if s := &v.Seen.Sandboxes[i]; !v.Stopped[s.ID] {
			d.do(v, Step{Do: StopSandbox, ID: s.ID, Reason: "pod ends"})
		}
	}
	for i := range v.Seen.Sandboxes {
		if !v.Stopped[v.Seen.Sandboxes[i].ID] {
			return
		}
	}
	if !v.Cleaned {
		d.do(v, Step{Do: Clean, Reason: "pod has ended"})
		return
	}
	if !v.Gone {
		if v.Pod.DeletionTimestamp != nil && v.Told {
			d.do(v, Step{Do: Delete, Reason: "pod has ended"})
		}
		return
	}
	if len(v.Seen.Sandboxes) > 0 {
		for i := range v.Seen.Sandboxes {
			d.do(v, Step{Do: RemoveSandbox, ID: v.Seen.Sandboxes[i].ID, Reason: "pod is gone"})
		}
		return
	}
	d.do(v, Step{Do: Forget, Reason: "pod is gone"})
}

// grace is the pod's own time to end.
func grace(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// formatPod names a pod in messages.
func formatPod(p *corev1.Pod) string { return fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID) }
