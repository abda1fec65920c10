// Package kubelet runs the pods of one node: it registers the node and keeps its lease, watches the pods
// bound to it, brings the container runtime to what they ask for and reports back what became of them.
// role calls Run. Pods outlive it: the next Run on the same directories adopts what runs.
//
// The way of a pod: the view of pods hands it to its worker (worker.go), which looks at the runtime
// (cri), decides (decide.go, pure), takes steps (steps.go) and writes the status (status.go, pure).
package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/kubelet/cgroup"
	"github.com/lighter-k8s/lighter/kubelet/cri"
	"github.com/lighter-k8s/lighter/kubelet/probe"
	"github.com/lighter-k8s/lighter/kubelet/server"
	"github.com/lighter-k8s/lighter/kubelet/volume"
)

// Config is what a kubelet needs to know. Fields without a default in their comment must be set.
type Config struct {
	NodeName      string
	Client        client.Client
	CRISocket     string   // path or unix:// URL of the container runtime
	RootDir       string   // the kubelet's own directory: volumes, hosts files, termination messages
	LogDir        string   // of the containers' logs, <namespace>_<pod>_<uid>/<container>/<n>.log
	CgroupParent  string   // such as "/lighter/n1"
	ClusterDNS    []string // addresses for pods' resolv.conf; none: the node's own
	ClusterDomain string   // default "cluster.local"
	ResolvConf    string   // the node's; default /etc/resolv.conf
	NodeIPs       []string // the node's addresses, its main one first
	Hostname      string   // default NodeName
	ExternalIPs   []string // further addresses, reported as ExternalIP
	NodeLabels    map[string]string
	Annotations   map[string]string // of the node
	Taints        []corev1.Taint    // given when the node registers for the first time
	MaxPods       int               // default 110
	PodPids       int64             // most processes in one pod; 0: no limit of its own
	Reserved      corev1.ResourceList
	ProviderID    string
	StaticPodDir  string // of manifests that this node runs whatever the API server says; "" none

	// Listener serves the kubelet's API (usually :10250), with TLS when TLS is set; nil: no server.
	Listener net.Listener
	TLS      *tls.Config
	// Authenticate tells who asks; Authorize returns nil when they may. Both must be set for a Listener.
	Authenticate func(*http.Request) (server.User, error)
	Authorize    func(ctx context.Context, u server.User, a server.Attributes) error

	Ready    func()                 // called once, when the node is registered and has reported Ready; may be nil
	Measures []prometheus.Collector // further ones that /metrics shows

	PodCIDRs func([]string) // called when the node has addresses for its pods, and when they change; may be nil
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now

	opened func(*Kubelet) // for tests: the kubelet that runs
}

// Kubelet is one running node agent.
type Kubelet struct {
	Config
	cri        *cri.Client
	cgroups    *cgroup.Tree
	volumes    *volume.Volumes
	probes     *probe.Probes
	objects    *objects
	images     *images
	events     *client.Recorder
	machine    machine
	node       *node
	services   client.TypedView[*corev1.Service]
	sandboxes  chan struct{}                     // limits how many sandboxes start at once
	pods       client.TypedView[*corev1.Pod]     // of the node
	synced     chan struct{}                     // closed when pods has them all; their workers may begin a little later
	nodeLabels atomic.Pointer[map[string]string] // as the API server has them

	ctx       context.Context // the life of Run, for workers
	work      sync.WaitGroup
	admission sync.Mutex
	ready     sync.Once
	balancing sync.Mutex
	burstable int64 // CPU shares of all burstable pods, as last set
	mu        sync.Mutex
	workers   map[types.UID]*worker
	closed    bool                      // Run is about to return
	names     map[types.UID]string      // of the runtime's sandboxes and containers, by pod, as last listed
	statics   map[types.UID]*corev1.Pod // of the manifests; nil before they are read
	mirrors   map[string]*corev1.Pod    // in the API server, by namespace/name
}

// Run registers the node and runs its pods until ctx ends; pods go on running. Errors: the
// configuration is wrong, or the runtime or the control groups cannot be used.
func Run(ctx context.Context, c Config) error {
	k, err := open(c)
	if err != nil {
		return err
	}
	defer k.cri.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k.ctx = ctx
	if c.opened != nil {
		c.opened(k)
	}
	k.volumes = volume.New(filepath.Join(k.RootDir, "pods"), k, k.Now)
	k.objects = newObjects(k.Client, k.refresh)
	k.images = &images{runtime: k.cri, client: k.Client, pulls: map[string]*pull{}}
	k.probes = probe.New(ctx, k.cri.Runtime, k.probed, func(pod *corev1.Pod, container, message string) {
		k.event(pod, container, corev1.EventTypeWarning, "Unhealthy", message)
	})
	k.services = client.Services.View(ctx, k.Client, client.Selection{})
	k.node = newNode(k)
	var group sync.WaitGroup
	run := func(name string, f func(context.Context) error) {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("kubelet %s: %w", name, err))
			}
		}()
	}
	run("events", k.events.Run)
	run("node", k.node.run)
	run("lease", k.node.lease)
	run("pods", k.watchPods)
	run("container events", k.watchContainers)
	run("relist", k.relistAll)
	run("logs", k.rotateLogs)
	run("storage", k.watchStorage)
	if k.StaticPodDir != "" {
		run("static pods", k.staticPods)
	}
	if k.Listener != nil {
		run("server", k.serve)
	}
	<-ctx.Done()
	group.Wait()
	k.mu.Lock()
	k.closed = true // from here on no work is added that would be waited for
	k.mu.Unlock()
	k.work.Wait()
	k.probes.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// open checks the configuration and opens what needs no cluster.
func open(c Config) (*Kubelet, error) {
	if c.NodeName == "" || c.Client == nil || c.CRISocket == "" || c.RootDir == "" || c.LogDir == "" || c.CgroupParent == "" || c.Logger == nil {
		return nil, errors.New("kubelet: NodeName, Client, CRISocket, RootDir, LogDir, CgroupParent and Logger must be set")
	}
	if c.Listener != nil && (c.Authenticate == nil || c.Authorize == nil) {
		return nil, errors.New("kubelet: a Listener needs Authenticate and Authorize")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Hostname == "" {
		c.Hostname = c.NodeName
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	for _, dir := range []string{filepath.Join(c.RootDir, "pods"), c.LogDir, c.StaticPodDir} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("kubelet: %w", err)
		}
	}
	cgroups, err := cgroup.Open("/proc/self/mounts", c.CgroupParent)
	if err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	rt, err := cri.Dial(c.CRISocket)
	if err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	return &Kubelet{Config: c, cri: rt, cgroups: cgroups, machine: readMachine(), workers: map[types.UID]*worker{}, mirrors: map[string]*corev1.Pod{},
		events:    client.NewRecorder(c.Client, c.Logger, "kubelet", c.NodeName, c.Now),
		sandboxes: make(chan struct{}, max(2*runtime.NumCPU(), 4)), synced: make(chan struct{})}, nil
}

// hostDNS is the node's resolv.conf.
func (k *Kubelet) hostDNS() *runtimev1.DNSConfig {
	data, err := os.ReadFile(k.ResolvConf)
	if err != nil {
		return &runtimev1.DNSConfig{}
	}
	return parseResolvConf(string(data))
}

// watchPods gives each pod bound to the node to its worker.
func (k *Kubelet) watchPods(ctx context.Context) error {
	k.pods = client.Pods.View(ctx, k.Client, client.Selection{Fields: "spec.nodeName=" + k.NodeName})
	k.pods.Subscribe(ctx, func(old, pod *corev1.Pod) {
		if old != nil && (pod == nil || pod.UID != old.UID) {
			k.podGone(old)
		}
		if pod != nil {
			k.podSeen(pod)
		}
	})
	if err := k.pods.WaitSynced(ctx); err != nil {
		return nil // ctx ended
	}
	if err := k.services.WaitSynced(ctx); err != nil {
		return nil
	}
	close(k.synced)
	return nil
}

// podSeen hands the newest state of a pod to its worker, which it starts for a new one.
func (k *Kubelet) podSeen(pod *corev1.Pod) {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		k.mirrorSeen(pod, true)
		return
	}
	k.worker(pod, false).update(pod)
}

// podGone tells a pod's worker that the API server has it no more.
func (k *Kubelet) podGone(pod *corev1.Pod) {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		k.mirrorGone(pod)
		return
	}
	k.mu.Lock()
	w := k.workers[pod.UID]
	k.mu.Unlock()
	if w != nil {
		w.vanish()
	}
}

// worker returns the pod's worker; a new one is started.
func (k *Kubelet) worker(pod *corev1.Pod, static bool) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[pod.UID]
	if w == nil && !k.closed {
		w = newWorker(k, pod, static)
		k.workers[pod.UID] = w
		k.work.Add(1)
		go func() {
			defer k.work.Done()
			w.run(k.ctx)
		}()
	} else if w == nil {
		w = newWorker(k, pod, static) // the kubelet has ended: nobody runs it
	}
	return w
}

// forget ends the bookkeeping of a pod whose last trace is gone.
func (k *Kubelet) forget(uid types.UID) {
	k.objects.drop(uid)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.workers, uid)
}

// refresh makes the pod's worker look again because what it mounts or reads may have changed.
func (k *Kubelet) refresh(uid types.UID) {
	k.with(uid, func(w *worker) { w.stale.Store(true); w.poke() })
}

// probed passes a probe's news on to the pod's worker.
func (k *Kubelet) probed(pod types.UID) { k.with(pod, (*worker).poke) }

func (k *Kubelet) with(uid types.UID, f func(*worker)) {
	k.mu.Lock()
	w := k.workers[uid]
	k.mu.Unlock()
	if w != nil {
		f(w)
	}
}

// watchContainers wakes the workers of pods whose containers changed, as the runtime tells.
func (k *Kubelet) watchContainers(ctx context.Context) error {
	for ctx.Err() == nil {
		err := k.cri.Events(ctx, func(e *runtimev1.ContainerEventResponse) {
			uid := e.GetPodSandboxStatus().GetMetadata().GetUid()
			for _, c := range e.ContainersStatuses {
				if uid == "" {
					uid = c.Labels[cri.LabelPodUID]
				}
			}
			k.with(types.UID(uid), func(w *worker) { w.changed(time.Unix(0, e.CreatedAt)) })
		})
		if ctx.Err() == nil {
			k.Logger.Debug("container events end", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			_ = k.relist(ctx)
		}
	}
	return nil
}

// relistEvery is how often all of the runtime is looked at: a safety net below its events.
const relistEvery = 30 * time.Second

func (k *Kubelet) relistAll(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-k.synced:
	}
	for {
		wait := relistEvery
		if err := k.relist(ctx); err != nil {
			k.Logger.Debug("relist", "err", err)
			wait = time.Second
		} else {
			k.orphans()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// relist wakes the workers whose sandboxes or containers differ from the last list, and gives what the
// runtime has of pods that nobody knows to workers that end it.
func (k *Kubelet) relist(ctx context.Context) error {
	select {
	case <-k.synced:
	default:
		return nil // pods may still be unknown that are no orphans
	}
	k.mu.Lock()
	unread := k.StaticPodDir != "" && k.statics == nil
	k.mu.Unlock()
	if unread {
		return errors.New("static pods are not read yet")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	list, err := k.cri.UIDs(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	old := k.names
	k.names = map[types.UID]string{}
	var woken []*worker
	var unknown []types.UID
	for uid, word := range list {
		id := types.UID(uid)
		k.names[id] = word
		if w := k.workers[id]; w == nil {
			unknown = append(unknown, id)
		} else if old[id] != word {
			woken = append(woken, w)
		}
	}
	for id := range old {
		if _, ok := list[string(id)]; !ok && k.workers[id] != nil {
			woken = append(woken, k.workers[id])
		}
	}
	k.mu.Unlock()
	for _, w := range woken {
		w.changed(began)
	}
	bound := sync.OnceValue(k.bound)
	for _, uid := range unknown {
		if bound()[uid] {
			continue
		}
		seen, err := k.cri.Observe(ctx, string(uid), nil)
		if err != nil {
			return err
		}
		pod := orphan(uid, seen)
		k.Logger.Info("pod is unknown to the API server, ending it", "object", pod.Namespace+"/"+pod.Name)
		k.worker(pod, false).vanish()
	}
	return nil
}

// bound are the pods that the API server has for this node, whether or not they have a worker yet.
func (k *Kubelet) bound() map[types.UID]bool {
	all := map[types.UID]bool{}
	for _, p := range k.pods.List("") {
		all[p.UID] = true
	}
	return all
}

// orphan makes up a pod for what the runtime has of one that the API server does not know.
func orphan(uid types.UID, seen *cri.Pod) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.UID, pod.Namespace, pod.Name = uid, seen.Namespace, seen.Name
	grace := int64(30)
	for i := range seen.Containers {
		if g := seen.Containers[i].Grace; g >= 0 {
			grace = g
		}
	}
	pod.Spec.TerminationGracePeriodSeconds = &grace
	return pod
}

// orphans removes what is left of pods that neither the API server nor the runtime has: directories,
// mounts and control groups.
func (k *Kubelet) orphans() {
	bound := sync.OnceValue(k.bound)
	known := func(uid string) bool {
		k.mu.Lock()
		_, ok := k.names[types.UID(uid)]
		ok = ok || k.workers[types.UID(uid)] != nil
		k.mu.Unlock()
		return ok || bound()[types.UID(uid)]
	}
	entries, _ := os.ReadDir(filepath.Join(k.RootDir, "pods"))
	for _, e := range entries {
		if !known(e.Name()) {
			if err := k.volumes.Teardown(e.Name()); err != nil {
				k.Logger.Debug("orphaned volumes", "object", e.Name(), "err", err)
				continue
			}
			if err := os.RemoveAll(k.podDir(e.Name())); err != nil {
				k.Logger.Debug("orphaned directory", "object", e.Name(), "err", err)
			}
		}
	}
	for uid, path := range k.cgroups.Pods() {
		if !known(uid) {
			if err := k.cgroups.Remove(path); err != nil {
				k.Logger.Debug("orphaned control group", "object", uid, "err", err)
			}
		}
	}
}
