package kubelet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// pod makes a pod from words: "init:i sidecar:s a b" and a restart policy.
func podOf(spec string, policy corev1.RestartPolicy) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Generation: 3}, Spec: corev1.PodSpec{RestartPolicy: policy, TerminationGracePeriodSeconds: ptr.To(int64(30))}}
	for _, w := range strings.Fields(spec) {
		kind, name, ok := strings.Cut(w, ":")
		c := corev1.Container{Name: name, Image: "img"}
		switch {
		case !ok:
			c.Name = kind
			p.Spec.Containers = append(p.Spec.Containers, c)
		case kind == "sidecar":
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			fallthrough
		default:
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		}
	}
	return p
}

// seenOf makes what the runtime has from words, oldest first: "box" a ready sandbox, "dead-box" one that is
// not, "a=running", "a=created", "a=unknown", "a=3" a container that ended with 3. All have ended 5 s ago.
func seenOf(pod *corev1.Pod, words string) *cri.Pod {
	s := &cri.Pod{UID: "u", At: noon}
	count := map[string]int{}
	for i, w := range strings.Fields(words) {
		at := noon.Add(time.Duration(i)*time.Second - time.Hour)
		if w == "box" || w == "dead-box" {
			s.Sandboxes = slices.Insert(s.Sandboxes, 0, cri.Sandbox{ID: fmt.Sprint("box", len(s.Sandboxes)), Attempt: uint32(len(s.Sandboxes)), Ready: w == "box", CreatedAt: at, IPs: []string{"10.0.0.1"}})
			continue
		}
		name, state, _ := strings.Cut(w, "=")
		c := cri.Container{Name: name, ID: fmt.Sprint(name, count[name]), Attempt: count[name], CreatedAt: at, StartedAt: at, Hash: hash(findContainer(pod, name)), SandboxID: s.Sandboxes[0].ID}
		count[name]++
		switch state {
		case "running":
			c.State = cri.Running
		case "created":
			c.State = cri.Created
		case "unknown":
			c.State = cri.Unknown
		case "changed":
			c.State, c.Hash = cri.Running, "other"
		default:
			n, _ := strconv.Atoi(state)
			c.State, c.ExitCode, c.FinishedAt = cri.Exited, int32(n), noon.Add(-5*time.Second)
		}
		s.Containers = slices.Insert(s.Containers, 0, c)
	}
	return s
}

// viewOf is a view in which all that runs is healthy.
func viewOf(pod *corev1.Pod, seen string) *PodView {
	v := &PodView{Pod: pod, Now: noon, Seen: seenOf(pod, seen), Probes: map[string]Health{}, Crashes: map[string]Backoff{}, Pulls: map[string]Backoff{},
		Trouble: map[string]Trouble{}, Busy: map[string]bool{}, NotBefore: map[string]time.Time{}, Stopped: map[string]bool{}, Prepared: true}
	for _, c := range slices.Backward(v.Seen.Containers) {
		if c.State == cri.Running {
			v.Probes[c.Name] = Health{ID: c.ID, Started: true, Ready: true}
		}
	}
	return v
}

// words are a decision's steps: "start a#1" with the attempt, "kill a0 30s" with the grace.
func (d Decision) words() string {
	var out []string
	for _, s := range d.Steps {
		w := string(s.Do)
		switch s.Do {
		case Start:
			w += fmt.Sprintf(" %s#%d", s.Name, s.Attempt)
			if s.ID != "" {
				w += " again"
			}
		case RunSandbox:
			w += fmt.Sprintf("#%d", s.Attempt)
		case Kill:
			w += fmt.Sprintf(" %s %v", s.ID, s.Grace)
		case RemoveContainer, StopSandbox, RemoveSandbox:
			w += " " + s.ID
		}
		out = append(out, w)
	}
	return strings.Join(out, ", ")
}

func TestDecide(t *testing.T) {
	always, never, onFailure := corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure
	tests := map[string]struct {
		pod    string
		policy corev1.RestartPolicy
		seen   string
		change func(v *PodView)
		want   string
	}{
		"volumes come first":                         {"a", always, "", func(v *PodView) { v.Prepared = false }, "prepare"},
		"then a sandbox":                             {"a", always, "", nil, "run-sandbox#0"},
		"then a container":                           {"a b", always, "box", nil, "start a#0"},
		"containers start one after the other":       {"a b", always, "box a=running", nil, "start b#0"},
		"not while another start is under way":       {"a b", always, "box", func(v *PodView) { v.Busy["start/a"] = true }, ""},
		"all run, nothing to do":                     {"a b", always, "box a=running b=running", nil, ""},
		"a created container is started, not made":   {"a", always, "box a=created", nil, "start a#0 again"},
		"a failed one is restarted":                  {"a", always, "box a=1", nil, "start a#1"},
		"also if it succeeded, with Always":          {"a", always, "box a=0", nil, "start a#1"},
		"not if it succeeded, with OnFailure":        {"a b", onFailure, "box a=0 b=running", nil, ""},
		"not with Never":                             {"a b", never, "box a=1 b=running", nil, ""},
		"not during its back-off":                    {"a", always, "box a=1", func(v *PodView) { v.Crashes["a"] = Backoff{Delay: 10 * time.Second, Last: noon.Add(-8 * time.Second)} }, ""},
		"init containers one by one":                 {"init:i init:j a", always, "box", nil, "start i#0"},
		"the next when one has succeeded":            {"init:i init:j a", always, "box i=0", nil, "start j#0"},
		"not while one runs":                         {"init:i init:j a", always, "box i=running", nil, ""},
		"a failed init container is tried again":     {"init:i a", always, "box i=1", nil, "start i#1"},
		"but not with Never":                         {"init:i a", never, "box i=1", nil, ""},
		"main containers after the last":             {"init:i a", always, "box i=0", nil, "start a#0"},
		"a sidecar lets the next begin once started": {"sidecar:s init:i a", always, "box s=running", nil, "start i#0"},
		"but not before":                             {"sidecar:s init:i a", always, "box s=running", func(v *PodView) { v.Probes["s"] = Health{ID: "s0"} }, ""},
		"a sidecar that ends is restarted":           {"sidecar:s a", never, "box s=0 a=running", nil, "start s#1"},
		"old init containers are history":            {"init:i a", always, "box a=running", nil, ""},
		"a changed image":                            {"a", always, "box a=changed", nil, "kill a0 30s"},
		"a failed liveness probe": {"a", always, "box a=running", func(v *PodView) {
			v.Probes["a"] = Health{ID: "a0", Started: true, Failed: "liveness", Grace: ptr.To(int64(3))}
		}, "kill a0 3s"},
		"a probe of an older container says nothing": {"a", always, "box a=1 a=running", func(v *PodView) { v.Probes["a"] = Health{ID: "a0", Failed: "liveness"} }, ""},
		"a dead sandbox is stopped":                  {"a", always, "dead-box a=1", nil, "stop-sandbox box0"},
		"and replaced":                               {"a", always, "dead-box a=1", func(v *PodView) { v.Stopped["box0"] = true }, "run-sandbox#1"},
		"but not if nothing would run in it":         {"a", never, "dead-box a=1", func(v *PodView) { v.Stopped["box0"] = true }, ""},
		"in the new one the count goes on":           {"a", always, "dead-box a=1 box", nil, "start a#1"},
		"init containers run again in the new one":   {"init:i a", always, "dead-box i=0 a=1 box", nil, "start i#1"},
		"only two of a name are kept":                {"a", always, "box a=1 a=1 a=1 a=running", nil, "remove-container a1, remove-container a0"},
		"an old sandbox goes when it holds nothing":  {"a", always, "dead-box box a=running", nil, "remove-sandbox box0"},
		"a step that failed waits":                   {"a", always, "", func(v *PodView) { v.NotBefore["run-sandbox"] = noon.Add(time.Second) }, ""},
		"the API's count is remembered": {"a", always, "box", func(v *PodView) {
			v.Pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", RestartCount: 4, ContainerID: "x"}}
		}, "start a#5"},
		"a pull's back-off":                         {"a", always, "box", func(v *PodView) { v.Pulls["a"] = Backoff{Delay: 10 * time.Second, Last: noon.Add(-time.Second)} }, ""},
		"the end: all at once, with the time left":  {"a b", always, "box a=running b=running", stopIn(10 * time.Second), "kill b0 10s, kill a0 10s"},
		"sidecars after the others":                 {"sidecar:s sidecar:t a", always, "box s=running t=running a=running", stopIn(10 * time.Second), "kill a0 10s"},
		"the last sidecar first":                    {"sidecar:s sidecar:t a", always, "box s=running t=running a=0", stopIn(10 * time.Second), "kill t0 10s"},
		"all when time is over":                     {"sidecar:s sidecar:t a", always, "box s=running t=running a=running", stopIn(0), "kill a0 0s, kill t0 0s, kill s0 0s"},
		"then the sandbox":                          {"a", always, "box a=0", stopIn(10 * time.Second), "stop-sandbox box0"},
		"not while a start is under way":            {"a", always, "box", func(v *PodView) { stopIn(time.Second)(v); v.Busy["start/a"] = true }, ""},
		"then volumes and control group":            {"a", always, "box a=0", func(v *PodView) { stopIn(time.Second)(v); v.Stopped["box0"] = true }, "clean"},
		"the object stays until its status is told": {"a", always, "box a=0", ended(func(v *PodView) { v.Pod.DeletionTimestamp = &v1.Time{Time: noon} }), ""},
		"then it goes":                              {"a", always, "box a=0", ended(func(v *PodView) { v.Pod.DeletionTimestamp, v.Told = &v1.Time{Time: noon}, true }), "delete"},
		"not if nobody asked":                       {"a", never, "box a=0", ended(func(v *PodView) { v.Told = true }), ""},
		"then the last traces":                      {"a", always, "box a=0", ended(func(v *PodView) { v.Gone = true }), "remove-sandbox box0"},
		"and the worker":                            {"a", always, "", ended(func(v *PodView) { v.Gone = true }), "forget"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := viewOf(podOf(tt.pod, tt.policy), tt.seen)
			if tt.change != nil {
				tt.change(v)
			}
			d := decide(v)
			if got := d.words(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, s := range d.Steps { // what is under way is not listed again
				v.Busy[s.key()] = true
			}
			if again := decide(v).words(); again != "" && !strings.HasPrefix(again, "start") {
				t.Errorf("again: %q", again)
			}
		})
	}
}

func stopIn(left time.Duration) func(v *PodView) {
	return func(v *PodView) { v.Stop = &Stop{Deadline: v.Now.Add(left)} }
}

func ended(change func(v *PodView)) func(v *PodView) {
	return func(v *PodView) {
		v.Stop, v.Cleaned = &Stop{Deadline: v.Now}, true
		v.Stopped["box0"] = true
		change(v)
	}
}

func TestBackoff(t *testing.T) {
	// A container that ends at once each time: when is it tried again?
	now, b := noon, Backoff{}
	var waits []string
	for range 8 {
		failed := now
		due := b.until(failed)
		waits = append(waits, due.Sub(failed).String())
		b = b.next(due, failed)
		now = due
	}
	if got, want := strings.Join(waits, " "), "0s 10s 20s 40s 1m20s 2m40s 5m0s 5m0s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if ran := now.Add(11 * time.Minute); !b.until(ran).Equal(ran) || b.next(ran, ran).Delay != backoffFirst {
		t.Error("ten good minutes do not end the back-off")
	}
}

func TestStatus(t *testing.T) {
	always, never := corev1.RestartPolicyAlways, corev1.RestartPolicyNever
	// want: phase; then per container "name state ready restarts"; then the conditions that are true.
	tests := map[string]struct {
		pod    string
		policy corev1.RestartPolicy
		seen   string
		change func(v *PodView)
		want   string
	}{
		"new":                            {"a", always, "", nil, "Pending; a ContainerCreating; Initialized PodScheduled"},
		"with init":                      {"init:i a", always, "box i=running", nil, "Pending; i running, a PodInitializing; PodReadyToStartContainers PodScheduled"},
		"running":                        {"a b", always, "box a=running b=running", nil, "Running; a running ready, b running ready; PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled"},
		"not ready":                      {"a", always, "box a=running", func(v *PodView) { v.Probes["a"] = Health{ID: "a0", Started: true} }, "Running; a running; PodReadyToStartContainers Initialized PodScheduled"},
		"restarted":                      {"a", always, "box a=1 a=running", nil, "Running; a running ready x1 last=1; PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled"},
		"crash loop":                     {"a", always, "box a=1", func(v *PodView) { v.Crashes["a"] = Backoff{Delay: 10 * time.Second, Last: noon} }, "Running; a CrashLoopBackOff last=1; PodReadyToStartContainers Initialized PodScheduled"},
		"succeeded":                      {"a b", never, "box a=0 b=0", nil, "Succeeded; a ended=0, b ended=0; PodReadyToStartContainers Initialized PodScheduled"},
		"failed":                         {"a b", never, "box a=0 b=2", nil, "Failed; a ended=0, b ended=2; PodReadyToStartContainers Initialized PodScheduled"},
		"one still runs":                 {"a b", never, "box a=2 b=running", nil, "Running; a ended=2, b running ready; PodReadyToStartContainers Initialized PodScheduled"},
		"init failed":                    {"init:i a", never, "box i=1", nil, "Failed; i ended=1, a PodInitializing; PodReadyToStartContainers PodScheduled"},
		"not before the sidecar is dead": {"sidecar:s a", never, "box s=running a=0", func(v *PodView) { v.Pod.Status.Phase = corev1.PodRunning }, "Running; s running ready, a ended=0; PodReadyToStartContainers Initialized PodScheduled"},
		"terminal stays":                 {"a", always, "box a=running", func(v *PodView) { v.Pod.Status.Phase = corev1.PodFailed }, "Failed; a running ready; PodReadyToStartContainers Initialized PodScheduled"},
		"deadline":                       {"a", always, "box a=137", ended(func(v *PodView) { v.Stop.Phase, v.Stop.Reason = corev1.PodFailed, "DeadlineExceeded" }), "Failed; a ended=137; PodReadyToStartContainers Initialized PodScheduled"},
		"deleted":                        {"a", always, "dead-box a=0", ended(func(v *PodView) {}), "Succeeded; a ended=0; Initialized PodScheduled"},
		"deleted unstarted":              {"a", always, "", ended(func(v *PodView) {}), "Failed; a ContainerCreating; Initialized PodScheduled"},
		"its hook runs":                  {"a", always, "box a=running", func(v *PodView) { v.Busy["start/a"] = true }, "Pending; a ContainerCreating; PodReadyToStartContainers Initialized PodScheduled"},
		"gate":                           {"a", always, "box a=running", func(v *PodView) { v.Pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x"}} }, "Running; a running ready; PodReadyToStartContainers Initialized ContainersReady PodScheduled"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := viewOf(podOf(tt.pod, tt.policy), tt.seen)
			if tt.change != nil {
				tt.change(v)
			}
			s := podStatus(v, decide(v).Waiting)
			if got := statusWords(s); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			v.Pod = v.Pod.DeepCopy()
			v.Pod.Status = s
			v.Now = noon.Add(time.Minute)
			if again := podStatus(v, decide(v).Waiting); again.Phase != s.Phase || !again.Conditions[0].LastTransitionTime.Equal(&s.Conditions[0].LastTransitionTime) {
				t.Errorf("a minute later: %+v", again)
			}
		})
	}
}

func statusWords(s corev1.PodStatus) string {
	var cs []string
	for _, c := range append(slices.Clone(s.InitContainerStatuses), s.ContainerStatuses...) {
		w := c.Name
		switch {
		case c.State.Running != nil:
			w += " running"
		case c.State.Waiting != nil:
			w += " " + c.State.Waiting.Reason
		case c.State.Terminated != nil:
			w += fmt.Sprintf(" ended=%d", c.State.Terminated.ExitCode)
		}
		if c.Ready {
			w += " ready"
		}
		if c.RestartCount > 0 {
			w += fmt.Sprintf(" x%d", c.RestartCount)
		}
		if l := c.LastTerminationState.Terminated; l != nil {
			w += fmt.Sprintf(" last=%d", l.ExitCode)
		}
		cs = append(cs, w)
	}
	var on []string
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue {
			on = append(on, string(c.Type))
		}
	}
	return fmt.Sprintf("%s; %s; %s", s.Phase, strings.Join(cs, ", "), strings.Join(on, " "))
}
