package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/kubelet/cri"
	"github.com/lighter-k8s/lighter/kubelet/probe"
	"github.com/lighter-k8s/lighter/kubelet/volume"
)

// worker looks after one pod. One goroutine (run) owns all below "owned"; the rest of the kubelet leaves it
// notes and pokes it. Steps run in goroutines of their own and post what came of them.
type worker struct {
	k     *Kubelet
	uid   types.UID
	kick  chan struct{} // holds one: look again
	stale atomic.Bool   // something that the pod mounts or reads has changed

	calling  atomic.Int32            // calls under way that change the runtime, and will look at it afterwards
	admitted atomic.Bool             // its requests count
	snapshot atomic.Pointer[cri.Pod] // what was seen of it last, for others to read

	mu    sync.Mutex
	pod   *corev1.Pod // newest known
	gone  bool        // the API server has it no more
	evict string      // not empty: the pod is to end for this reason
	since time.Time   // the runtime has changed something then
	inbox []func()    // what came of steps, for run to apply

	// owned
	view    PodView
	fails   map[string]int                // steps that failed in a row, by key
	cancel  map[string]context.CancelFunc // of steps under way
	steps   sync.WaitGroup
	static  bool        // it comes from a manifest of this node: its object is a mirror
	patched bool        // a status patch is under way
	checked bool        // admission is done
	used    *corev1.Pod // whose objects are in view
	renew   time.Time   // of its tokens
	done    bool
}

func newWorker(k *Kubelet, pod *corev1.Pod, static bool) *worker {
	return &worker{k: k, static: static, uid: pod.UID, kick: make(chan struct{}, 1), pod: pod, fails: map[string]int{}, cancel: map[string]context.CancelFunc{},
		view: PodView{Probes: map[string]Health{}, Crashes: map[string]Backoff{}, Pulls: map[string]Backoff{}, Trouble: map[string]Trouble{},
			Busy: map[string]bool{}, NotBefore: map[string]time.Time{}, Stopped: map[string]bool{}, HostIPs: k.NodeIPs}}
}

func (w *worker) poke() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// update hands over a newer state of the pod.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	if old := w.pod; client.Version(pod) >= client.Version(old) {
		w.pod = pod
		if pod.Generation != old.Generation || !apiequality.Semantic.DeepEqual(pod.ObjectMeta.Labels, old.ObjectMeta.Labels) ||
			!apiequality.Semantic.DeepEqual(pod.ObjectMeta.Annotations, old.ObjectMeta.Annotations) {
			w.stale.Store(true)
		}
	}
	w.mu.Unlock()
	w.poke()
}

// vanish tells that the API server has the pod no more.
func (w *worker) vanish() {
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	w.poke()
}

// changed tells that the runtime changed something of the pod at the time.
func (w *worker) changed(at time.Time) {
	w.mu.Lock()
	if at.After(w.since) {
		w.since = at
	}
	w.mu.Unlock()
	w.poke()
}

// post leaves a note for run.
func (w *worker) post(f func()) {
	w.mu.Lock()
	w.inbox = append(w.inbox, f)
	w.mu.Unlock()
	w.poke()
}

// run looks, decides and acts until nothing of the pod is left or ctx ends; then it waits for its steps.
func (w *worker) run(ctx context.Context) {
	defer w.steps.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wake := w.guarded(ctx)
		if w.done || ctx.Err() != nil {
			for _, cancel := range w.cancel {
				cancel()
			}
			return
		}
		if wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(wake.Sub(w.k.Now()), 0))
		}
		select {
		case <-ctx.Done():
		case <-w.kick:
		case <-timer.C:
		}
	}
}

// guarded is turn, of which no pod whatsoever may end the kubelet.
func (w *worker) guarded(ctx context.Context) (wake time.Time) {
	defer func() {
		if p := recover(); p != nil {
			w.k.Logger.Error("pod cannot be handled", "object", w.uid, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			wake = time.Now().Add(10 * time.Second)
		}
	}()
	return w.turn(ctx)
}

// turn is one look at everything, with the steps and the status that follow from it.
func (w *worker) turn(ctx context.Context) (wake time.Time) {
	v := &w.view
	w.mu.Lock()
	notes := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, f := range notes {
		f()
	}
	w.mu.Lock()
	v.Pod, v.Gone = w.pod, w.gone
	since := w.since
	w.mu.Unlock()
	if w.done {
		return
	}
	if w.used != v.Pod {
		w.k.objects.use(ctx, v.Pod)
		w.used = v.Pod
	}
	if err := w.look(ctx, since); err != nil {
		w.k.Logger.Debug("look at pod", "object", w.name(), "err", err)
		return w.k.Now().Add(time.Second)
	}
	v.Now = w.k.Now()
	w.probe()
	w.ending()
	if w.stale.Swap(false) {
		delete(v.NotBefore, string(Prepare))
		for name, t := range v.Trouble {
			if t.Reason == "CreateContainerConfigError" {
				delete(v.NotBefore, "start/"+name)
			}
		}
		if v.Prepared && v.Stop == nil && volume.Live(v.Pod) {
			w.renew = v.Now
		}
	}
	if v.Prepared && v.Stop == nil && !w.renew.IsZero() && !w.renew.After(v.Now) && !v.Busy[string(Refresh)] {
		w.do(ctx, Step{Do: Refresh, Reason: "something that it mounts may have changed"})
	}
	d := decide(v)
	if v.Stop == nil && !w.renew.IsZero() && !v.Busy[string(Refresh)] {
		d.at(w.renew)
	}
	for name, t := range d.Waiting {
		w.tellBackoff(name, t)
	}
	w.report(ctx, d.Waiting, &d)
	for _, s := range d.Steps {
		w.do(ctx, s)
	}
	return d.Wake
}

func (w *worker) name() string { return w.view.Pod.Namespace + "/" + w.view.Pod.Name }

// look reads the runtime when it may differ from what was seen last.
func (w *worker) look(ctx context.Context, since time.Time) error {
	v := &w.view
	if v.Seen != nil && (!since.After(v.Seen.At) || w.calling.Load() > 0) {
		return nil
	}
	if v.Seen == nil && w.k.fresh(v.Pod) {
		v.Seen = &cri.Pod{UID: string(w.uid), At: time.Now()}
		w.snapshot.Store(v.Seen)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	old := v.Seen
	seen, err := w.k.cri.Observe(ctx, string(w.uid), old)
	if err != nil {
		return err
	}
	for i := range seen.Containers {
		c := &seen.Containers[i]
		if c.State == cri.Exited && (old == nil || !exited(old, c.ID)) && c.Message == "" {
			c.Message = w.k.lastWords(v.Pod, c)
		}
	}
	v.Seen = seen
	w.snapshot.Store(seen)
	return nil
}

func exited(p *cri.Pod, id string) bool {
	for i := range p.Containers {
		if p.Containers[i].ID == id {
			return p.Containers[i].State == cri.Exited
		}
	}
	return false
}

// fresh tells whether no kubelet can have begun anything for the pod, so that the runtime need not be asked.
func (k *Kubelet) fresh(pod *corev1.Pod) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, known := k.names[pod.UID]
	return k.names != nil && !known && pod.Status.StartTime == nil && pod.DeletionTimestamp == nil
}

// probe keeps the probes on the containers that run and takes in what they say.
func (w *worker) probe() {
	v := &w.view
	clear(v.Probes)
	var targets []probe.Target
	ip := first(podIPs(v.Pod, v.Seen, v.HostIPs))
	each := func(spec *corev1.Container, olds []corev1.ContainerStatus) {
		c := v.current(spec.Name)
		if c == nil || c.State != cri.Running || v.Busy["start/"+spec.Name] {
			return
		}
		v.Probes[spec.Name] = Health{ID: c.ID, Started: true, Ready: true}
		if !probe.Probed(spec) {
			return
		}
		t := probe.Target{Container: spec, ID: c.ID, StartedAt: c.StartedAt, IP: ip}
		for _, o := range olds {
			if o.Name == spec.Name && o.ContainerID == "containerd://"+c.ID {
				t.Started, t.Ready = o.Started != nil && *o.Started, o.Ready
			}
		}
		targets = append(targets, t)
	}
	for i := range v.Pod.Spec.InitContainers {
		each(&v.Pod.Spec.InitContainers[i], v.Pod.Status.InitContainerStatuses)
	}
	for i := range v.Pod.Spec.Containers {
		each(&v.Pod.Spec.Containers[i], v.Pod.Status.ContainerStatuses)
	}
	w.k.probes.Set(v.Pod, targets)
	for _, t := range targets {
		if r, ok := w.k.probes.Get(w.uid, t.Container.Name, t.ID); ok {
			v.Probes[t.Container.Name] = Health{ID: r.ID, Started: r.Started, Ready: r.Ready, Failed: r.Failed, Grace: r.Grace}
		}
	}
}

// ending notes that the pod is to end, the first time something asks for it, and when later asks for sooner.
func (w *worker) ending() {
	v := &w.view
	stop := func(s Stop, grace time.Duration) {
		s.Deadline, s.Grace = v.Now.Add(grace), grace
		switch {
		case v.Stop == nil:
			v.Stop = &s
			for key, cancel := range w.cancel {
				if key == string(Prepare) || key == string(RunSandbox) || len(key) > 6 && key[:6] == "start/" {
					cancel() // it would only have to be undone; a sandbox that is being made already is finished
				}
			}
		case s.Deadline.Before(v.Stop.Deadline):
			v.Stop.Deadline, v.Stop.Grace = s.Deadline, grace
			for key, cancel := range w.cancel {
				if len(key) > 5 && key[:5] == "kill/" {
					cancel() // and again, with less time
				}
			}
		}
	}
	if s := v.Pod.Spec.ActiveDeadlineSeconds; v.Stop == nil && s != nil && v.Pod.Status.StartTime != nil && !terminal(v.Pod.Status.Phase) &&
		!v.Now.Before(v.Pod.Status.StartTime.Add(time.Duration(*s)*time.Second)) {
		w.k.event(v.Pod, "", corev1.EventTypeNormal, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
		stop(Stop{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}, grace(v.Pod))
	}
	w.mu.Lock()
	evict := w.evict
	w.mu.Unlock()
	if evict != "" && v.Stop == nil && !terminal(v.Pod.Status.Phase) {
		w.k.event(v.Pod, "", corev1.EventTypeWarning, "Evicted", evict)
		stop(Stop{Phase: corev1.PodFailed, Reason: "Evicted", Message: evict, Disrupted: true}, minGrace)
	}
	switch {
	case v.Pod.DeletionTimestamp != nil:
		g := grace(v.Pod)
		if s := v.Pod.DeletionGracePeriodSeconds; s != nil {
			g = time.Duration(*s) * time.Second
		}
		stop(Stop{}, g)
	case v.Gone:
		stop(Stop{}, grace(v.Pod))
	case terminal(v.Pod.Status.Phase) || len(v.Pod.Spec.Containers) > 0 && terminal(phaseOf(v)):
		stop(Stop{}, grace(v.Pod))
	}
	if v.Stop == nil && !w.checked && len(v.Pod.Spec.Containers) > 0 {
		w.checked = true
		if len(v.Seen.Sandboxes) > 0 || w.static {
			w.admitted.Store(true)
		} else {
			if reason, message := w.k.admit(w.k.ctx, w, v.Pod); reason != "" {
				w.k.event(v.Pod, "", corev1.EventTypeWarning, reason, message)
				stop(Stop{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message}, 0)
			}
		}
	}
}

// tellBackoff records once per wait that a container is not tried again yet.
func (w *worker) tellBackoff(name string, t Trouble) {
	spec := findContainer(w.view.Pod, name)
	switch t.Reason {
	case "CrashLoopBackOff":
		if b := w.view.Crashes[name]; !b.Told {
			b.Told = true
			w.view.Crashes[name] = b
			w.k.event(w.view.Pod, name, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", name, formatPod(w.view.Pod)))
		}
	case "ImagePullBackOff":
		if b := w.view.Pulls[name]; !b.Told {
			b.Told = true
			w.view.Pulls[name] = b
			w.k.event(w.view.Pod, name, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", spec.Image))
			w.k.event(w.view.Pod, name, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		}
	}
}

// report writes the pod's status to the API server if it says something new, one write at a time.
func (w *worker) report(ctx context.Context, waiting map[string]Trouble, d *Decision) {
	v := &w.view
	target := v.Pod
	if w.static {
		if target = w.k.mirror(v.Pod); target == nil {
			if !v.Gone && w.k.node.registered() {
				d.do(v, Step{Do: Mirror, Reason: "the API server does not show it"})
			}
			return
		}
	} else if v.Gone {
		return
	}
	status := podStatus(v, waiting)
	if apiequality.Semantic.DeepEqual(status, target.Status) {
		if !w.patched {
			v.Told = v.ended()
			if v.Told && len(d.Steps) == 0 { // the deletion waited for nothing else
				*d = decide(v)
			}
		}
		return
	}
	if w.patched {
		return // and once more when it is through
	}
	if t := v.NotBefore["status"]; t.After(v.Now) {
		d.at(t)
		return
	}
	w.patched = true
	w.steps.Add(1)
	go func() {
		defer w.steps.Done()
		got, err := patchStatus(ctx, w.k.Client, target, &status)
		w.post(func() {
			w.patched = false
			switch {
			case err == nil:
				w.fails["status"] = 0
				if w.static {
					v.Pod = w.withStatus(v.Pod, &status)
					w.k.mirrorSeen(got, false)
				} else {
					w.update(got)
				}
			case apierrors.IsNotFound(err) && w.static:
				w.k.mirrorGone(target)
			case apierrors.IsNotFound(err):
				v.NotBefore["status"] = w.k.Now().Add(time.Second) // the view will tell that it is gone
			case ctx.Err() == nil:
				w.k.Logger.Debug("status not written", "object", w.name(), "err", err)
				v.NotBefore["status"] = w.k.Now().Add(w.delay("status", 100*time.Millisecond, 10*time.Second))
			}
		})
	}()
}

// withStatus keeps a static pod's status, which no watch brings back.
func (w *worker) withStatus(pod *corev1.Pod, s *corev1.PodStatus) *corev1.Pod {
	next := *pod
	next.Status = *s
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod == pod {
		w.pod = &next
	}
	return w.pod
}

// patchStatus writes the difference to the pod's old status, to that very pod only.
func patchStatus(ctx context.Context, c client.Client, pod *corev1.Pod, status *corev1.PodStatus) (*corev1.Pod, error) {
	before, err := json.Marshal(&corev1.Pod{Status: pod.Status})
	if err != nil {
		return nil, err
	}
	next := &corev1.Pod{Status: *status}
	next.UID = pod.UID // the server refuses a patch that would change it
	after, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	return client.Pods.Patch(ctx, c, pod.Namespace, pod.Name, "status", types.StrategicMergePatchType, patch)
}

// delay is how long to wait after one more failure of the step: from first, doubling, to most.
func (w *worker) delay(key string, first, most time.Duration) time.Duration {
	n := w.fails[key]
	w.fails[key] = n + 1
	return min(first<<min(n, 20), most)
}

// findContainer returns the container of the name from any of the pod's lists, or an empty one.
func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon); c.Name == name {
			return &c
		}
	}
	return &corev1.Container{Name: name}
}
