package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/kubelet/cri"
	"github.com/lighter-k8s/lighter/kubelet/server"
)

// serve answers the kubelet's API on the configured listener.
func (k *Kubelet) serve(ctx context.Context) error {
	l := k.Listener
	if k.TLS != nil {
		cfg := k.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"} // streams take over whole connections
		l = tls.NewListener(l, cfg)
	}
	s := &server.Server{Node: k.NodeName, Pods: k, Runtime: k.cri.Runtime, Authenticate: k.Authenticate, Authorize: k.Authorize,
		Summary: k.summary, Metrics: k.metrics, Log: k.Logger, Healthy: func() error { return nil }}
	return s.Serve(ctx, l)
}

// Pods implements server.Pods.
func (k *Kubelet) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range k.all() {
		w.mu.Lock()
		if len(w.pod.Spec.Containers) > 0 {
			out = append(out, w.pod)
		}
		w.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return bytes.Compare([]byte(a.Namespace+"/"+a.Name), []byte(b.Namespace+"/"+b.Name))
	})
	return out
}

// all are the workers there are.
func (k *Kubelet) all() []*worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.workers))
}

// find returns the worker of a pod by name, and by UID if that is given. A mirror pod's UID is good, too.
func (k *Kubelet) find(namespace, name, uid string) (*worker, *corev1.Pod, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found *worker
	var pod *corev1.Pod
	for _, w := range k.workers {
		w.mu.Lock()
		p, gone := w.pod, w.gone
		w.mu.Unlock()
		if p.Namespace == namespace && p.Name == name && (uid == "" || w.static || string(p.UID) == uid) && (found == nil || !gone) {
			found, pod = w, p
		}
	}
	if found == nil {
		return nil, nil, &server.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("pod %q not found", name)}
	}
	return found, pod, nil
}

// Container implements server.Pods.
func (k *Kubelet) Container(namespace, name, uid, container string, previous bool) (server.Container, error) {
	w, pod, err := k.find(namespace, name, uid)
	if err != nil {
		return server.Container{}, err
	}
	if findContainer(pod, container).Image == "" {
		return server.Container{}, &server.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("container %q in pod %q is not available", container, name)}
	}
	seen := w.snapshot.Load()
	if seen == nil {
		seen = &cri.Pod{}
	}
	c := seen.Find(container)
	if c != nil && c.State == cri.Created && !previous {
		if p := seen.Previous(container); p != nil {
			c = p
		}
	}
	if previous {
		if c = seen.Previous(container); c == nil {
			return server.Container{}, &server.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("previous terminated container %q in pod %q not found", container, name)}
		}
	}
	if c == nil || c.State == cri.Created {
		reason := "ContainerCreating"
		for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
			for _, s := range list {
				if s.Name == container && s.State.Waiting != nil {
					reason = s.State.Waiting.Reason
				}
			}
		}
		word := "is waiting to start"
		if reason == "ErrImagePull" || reason == "ImagePullBackOff" || reason == "ErrImageNeverPull" {
			word = "is waiting to start: trying and failing to pull image"
		} else {
			word += ": " + reason
		}
		return server.Container{}, &server.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("container %q in pod %q %s", container, name, word)}
	}
	id := c.ID
	return server.Container{ID: id, LogPath: c.LogPath, Ended: func() bool {
		s := w.snapshot.Load()
		for i := range s.Containers {
			if s.Containers[i].ID == id {
				return !s.Containers[i].Alive()
			}
		}
		return true
	}}, nil
}

// Sandbox implements server.Pods.
func (k *Kubelet) Sandbox(namespace, name, uid string) (string, error) {
	w, _, err := k.find(namespace, name, uid)
	if err != nil {
		return "", err
	}
	if seen := w.snapshot.Load(); seen != nil && seen.Current() != nil && seen.Current().Ready {
		return seen.Current().ID, nil
	}
	return "", &server.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("pod %q does not run", name)}
}

// summary is the node's and its pods' use of CPU and memory, as the runtime last measured it.
func (k *Kubelet) summary(ctx context.Context) (any, error) {
	list, err := k.cri.Runtime.ListPodSandboxStats(ctx, &runtimev1.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, err
	}
	now := v1.NewTime(k.Now())
	out := &stats.Summary{Node: stats.NodeStats{NodeName: k.NodeName, StartTime: v1.NewTime(k.node.began),
		CPU:    &stats.CPUStats{Time: now, UsageCoreNanoSeconds: ptr.To(k.cgroups.CPU("/"))},
		Memory: memoryStats(now)}, Pods: []stats.PodStats{}}
	for _, s := range list.Stats {
		a := s.GetAttributes()
		p := stats.PodStats{PodRef: stats.PodReference{Name: a.GetMetadata().GetName(), Namespace: a.GetMetadata().GetNamespace(), UID: a.GetMetadata().GetUid()},
			CPU: cpu(s.GetLinux().GetCpu()), Memory: memory(s.GetLinux().GetMemory())}
		for _, w := range k.Pods() {
			if string(w.UID) == p.PodRef.UID && w.Status.StartTime != nil {
				p.StartTime = *w.Status.StartTime
			}
		}
		if n := s.GetLinux().GetNetwork().GetDefaultInterface(); n != nil {
			p.Network = &stats.NetworkStats{Time: now, InterfaceStats: stats.InterfaceStats{Name: n.Name, RxBytes: value(n.RxBytes), RxErrors: value(n.RxErrors), TxBytes: value(n.TxBytes), TxErrors: value(n.TxErrors)}}
		}
		for _, c := range s.GetLinux().GetContainers() {
			p.Containers = append(p.Containers, stats.ContainerStats{Name: c.GetAttributes().GetMetadata().GetName(), StartTime: p.StartTime,
				CPU: cpu(c.GetCpu()), Memory: memory(c.GetMemory())})
		}
		out.Pods = append(out.Pods, p)
	}
	return out, nil
}

func value(v *runtimev1.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}

func cpu(c *runtimev1.CpuUsage) *stats.CPUStats {
	if c == nil {
		return nil
	}
	return &stats.CPUStats{Time: v1.NewTime(time.Unix(0, c.Timestamp)), UsageNanoCores: value(c.UsageNanoCores), UsageCoreNanoSeconds: value(c.UsageCoreNanoSeconds)}
}

func memory(m *runtimev1.MemoryUsage) *stats.MemoryStats {
	if m == nil {
		return nil
	}
	return &stats.MemoryStats{Time: v1.NewTime(time.Unix(0, m.Timestamp)), AvailableBytes: value(m.AvailableBytes), UsageBytes: value(m.UsageBytes),
		WorkingSetBytes: value(m.WorkingSetBytes), RSSBytes: value(m.RssBytes), PageFaults: value(m.PageFaults), MajorPageFaults: value(m.MajorPageFaults)}
}

func memoryStats(now v1.Time) *stats.MemoryStats {
	kb := func(name string) uint64 {
		var n uint64
		_, _ = fmt.Sscanf(find("/proc/meminfo", name), name+" %d", &n)
		return n * 1024
	}
	total, available := kb("MemTotal:"), kb("MemAvailable:")
	return &stats.MemoryStats{Time: now, AvailableBytes: &available, UsageBytes: ptr.To(total - kb("MemFree:")), WorkingSetBytes: ptr.To(total - available)}
}
