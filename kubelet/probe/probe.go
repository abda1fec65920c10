// Package probe asks running containers how they are: startup, liveness and readiness probes by HTTP, TCP,
// gRPC or a command in the container. Pod workers say which containers run (Set) and read what is
// known of them (Get); a changed result calls them back at once.
package probe

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Target is one running container to probe.
type Target struct {
	Container *corev1.Container
	ID        string // of the container in the runtime
	StartedAt time.Time
	IP        string // of the pod, for probes without a host
	Started   bool   // known from before: the startup probe has succeeded
	Ready     bool   // known from before: the readiness probe succeeded last
}

// Result is what is known of one container.
type Result struct {
	ID             string
	Started, Ready bool
	Failed         string // "liveness" or "startup"
	Grace          *int64 // seconds, of the probe that failed
}

// Say is told of a failed probe: an event for people.
type Say func(pod *corev1.Pod, container, message string)

// Probes are all probes of a node. Safe for concurrent use.
type Probes struct {
	ctx     context.Context
	exec    Exec
	changed func(types.UID)
	say     Say
	work    sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]map[string]*prober // by container name
}

// Exec runs a command in a container; it is a part of the CRI client.
type Exec interface {
	ExecSync(ctx context.Context, in *runtimev1.ExecSyncRequest, opts ...callOption) (*runtimev1.ExecSyncResponse, error)
}

// New makes Probes that run until ctx ends. changed is called, from any goroutine, when a result of a pod changes.
func New(ctx context.Context, exec Exec, changed func(types.UID), say Say) *Probes {
	return &Probes{ctx: ctx, exec: exec, changed: changed, say: say, pods: map[types.UID]map[string]*prober{}}
}

// Wait blocks until all probes have ended, after their context has.
func (p *Probes) Wait() { p.work.Wait() }

// Set makes the probed containers of the pod exactly these. Containers without probes may be left out.
func (p *Probes) Set(pod *corev1.Pod, targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have := p.pods[pod.UID]
	if have == nil && len(targets) == 0 {
		return
	}
	want := map[string]*prober{}
	for _, t := range targets {
		if !Probed(t.Container) {
			continue
		}
		if h := have[t.Container.Name]; h != nil && h.target.ID == t.ID {
			want[t.Container.Name] = h
			continue
		}
		want[t.Container.Name] = p.start(pod, t)
	}
	for name, h := range have {
		if want[name] != h {
			h.cancel()
		}
	}
	if p.pods[pod.UID] = want; len(want) == 0 {
		delete(p.pods, pod.UID)
	}
}

// Probed tells whether the container has any probe.
func Probed(c *corev1.Container) bool {
	return c.LivenessProbe != nil || c.ReadinessProbe != nil || c.StartupProbe != nil
}

// Get returns what is known of a container that Set named.
func (p *Probes) Get(pod types.UID, container, id string) (Result, bool) {
	p.mu.Lock()
	h := p.pods[pod][container]
	p.mu.Unlock()
	if h == nil || h.target.ID != id {
		return Result{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.result, true
}

// prober probes one container.
type prober struct {
	p       *Probes
	pod     *corev1.Pod
	target  Target
	cancel  context.CancelFunc
	started chan struct{} // closed when the startup probe has succeeded

	mu     sync.Mutex
	result Result
}

func (p *Probes) start(pod *corev1.Pod, t Target) *prober {
	ctx, cancel := context.WithCancel(p.ctx)
	c := t.Container
	h := &prober{p: p, pod: pod, target: t, cancel: cancel, started: make(chan struct{}),
		result: Result{ID: t.ID, Started: c.StartupProbe == nil || t.Started, Ready: c.ReadinessProbe == nil || t.Ready}}
	begin := func(kind string, spec *corev1.Probe, set func(ok bool) (stop bool), ok bool) {
		if spec == nil {
			return
		}
		p.work.Add(1)
		go func() {
			defer p.work.Done()
			h.loop(ctx, kind, spec, ok, set)
		}()
	}
	ready := h.result.Ready
	if h.result.Started {
		close(h.started)
	} else {
		begin("Startup", c.StartupProbe, func(ok bool) bool {
			h.set(func(r *Result) {
				if r.Started = ok; !ok {
					r.Failed, r.Grace = "startup", c.StartupProbe.TerminationGracePeriodSeconds
				}
			})
			if ok {
				close(h.started)
			}
			return true
		}, false)
	}
	begin("Readiness", c.ReadinessProbe, func(ok bool) bool {
		h.set(func(r *Result) { r.Ready = ok })
		return false
	}, ready)
	begin("Liveness", c.LivenessProbe, func(ok bool) bool {
		if !ok {
			h.set(func(r *Result) { r.Failed, r.Grace = "liveness", c.LivenessProbe.TerminationGracePeriodSeconds })
		}
		return !ok
	}, true)
	return h
}

func (h *prober) set(f func(*Result)) {
	h.mu.Lock()
	f(&h.result)
	h.mu.Unlock()
	h.p.changed(h.pod.UID)
}

// loop probes until ctx ends or set says stop. last is the result that holds before the first probe;
// set is called when a threshold makes another one hold, and for a startup probe when the first one does.
func (h *prober) loop(ctx context.Context, kind string, spec *corev1.Probe, last bool, set func(bool) bool) {
	if kind != "Startup" {
		select {
		case <-ctx.Done():
			return
		case <-h.started:
		}
	}
	period := time.Duration(max(spec.PeriodSeconds, 1)) * time.Second
	wait := time.Until(h.target.StartedAt.Add(time.Duration(spec.InitialDelaySeconds) * time.Second))
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	known := kind != "Startup" // a startup probe has no result before its threshold
	run, before := int32(0), false
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(period)
		ok, message := h.once(ctx, spec)
		if ctx.Err() != nil {
			return
		}
		if !ok {
			h.p.say(h.pod, h.target.Container.Name, fmt.Sprintf("%s probe failed: %s", kind, message))
		}
		if first || ok != before {
			run = 0
		}
		run, before = run+1, ok
		if ok && run < max(spec.SuccessThreshold, 1) || !ok && run < max(spec.FailureThreshold, 1) {
			continue
		}
		if known && ok == last {
			continue
		}
		known, last = true, ok
		if set(ok) {
			return
		}
	}
}

// once runs the probe one time within its timeout.
func (h *prober) once(ctx context.Context, spec *corev1.Probe) (bool, string) {
	timeout := time.Duration(max(spec.TimeoutSeconds, 1)) * time.Second
	c, ip := h.target.Container, h.target.IP
	if spec.Exec != nil {
		return execute(ctx, h.p.exec, h.target.ID, spec.Exec.Command, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case spec.HTTPGet != nil:
		return get(ctx, spec.HTTPGet, c, ip)
	case spec.TCPSocket != nil:
		return connect(ctx, spec.TCPSocket.Host, spec.TCPSocket.Port, c, ip)
	case spec.GRPC != nil:
		return health(ctx, spec.GRPC, ip, timeout)
	}
	return false, fmt.Sprintf("missing probe handler for %s/%s", h.pod.Namespace, h.pod.Name)
}
