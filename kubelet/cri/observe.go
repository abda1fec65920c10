package cri

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// State of a container.
type State int

// The states that CRI knows.
const (
	Created State = iota
	Running
	Exited
	Unknown
)

// Sandbox is a pod sandbox as observed.
type Sandbox struct {
	ID        string
	Attempt   uint32
	Ready     bool
	CreatedAt time.Time
	IPs       []string // empty for host network, and when not Ready
}

// Container is a container as observed. Times are zero when not reached.
type Container struct {
	ID, SandboxID, Name                string
	State                              State
	Attempt                            int // how many containers of this name came before
	CreatedAt, StartedAt, FinishedAt   time.Time
	ExitCode                           int32
	Reason, Message                    string
	Image, ImageID                     string
	Hash                               string // of the spec it was made from
	LogPath                            string
	TerminationPath, TerminationPolicy string
	Grace                              int64 // seconds, of the pod when it was made; -1 unknown
	User                               *runtimev1.LinuxContainerUser
}

// Pod is what the runtime has of one pod; sandboxes and containers newest first.
type Pod struct {
	UID, Namespace, Name string
	Sandboxes            []Sandbox
	Containers           []Container
	At                   time.Time // when the look began: everything before it is in here
}

// Current is the newest sandbox, or nil.
func (p *Pod) Current() *Sandbox {
	if len(p.Sandboxes) == 0 {
		return nil
	}
	return &p.Sandboxes[0]
}

// Find returns the newest container of the name, or nil.
func (p *Pod) Find(name string) *Container {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// Previous returns the second newest container of the name, or nil.
func (p *Pod) Previous(name string) *Container {
	seen := false
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			if seen {
				return &p.Containers[i]
			}
			seen = true
		}
	}
	return nil
}

// Alive tells whether a container may have a process.
func (c *Container) Alive() bool { return c.State == Running || c.State == Unknown }

// Observe reads what the runtime has of the pod. Containers that exited are taken from old, if it knows
// them: nothing about them changes.
func (c *Client) Observe(ctx context.Context, uid string, old *Pod) (*Pod, error) {
	p := &Pod{UID: uid, At: time.Now()}
	byUID := map[string]string{LabelPodUID: uid}
	boxes, err := c.Runtime.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{Filter: &runtimev1.PodSandboxFilter{LabelSelector: byUID}})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes of pod %s: %w", uid, err)
	}
	for _, b := range boxes.Items {
		s := Sandbox{ID: b.Id, Attempt: b.GetMetadata().GetAttempt(), Ready: b.State == runtimev1.PodSandboxState_SANDBOX_READY,
			CreatedAt: time.Unix(0, b.CreatedAt)}
		p.Namespace, p.Name = b.GetMetadata().GetNamespace(), b.GetMetadata().GetName()
		if s.Ready {
			if s.IPs, err = c.ips(ctx, old, b.Id); err != nil && !IsNotFound(err) {
				return nil, err
			}
		}
		p.Sandboxes = append(p.Sandboxes, s)
	}
	list, err := c.Runtime.ListContainers(ctx, &runtimev1.ListContainersRequest{Filter: &runtimev1.ContainerFilter{LabelSelector: byUID}})
	if err != nil {
		return nil, fmt.Errorf("list containers of pod %s: %w", uid, err)
	}
	for _, l := range list.Containers {
		if known := old.container(l.Id); known != nil && (known.State == Exited || known.State == Running && l.State == runtimev1.ContainerState_CONTAINER_RUNNING) {
			p.Containers = append(p.Containers, *known)
			continue
		}
		r, err := c.Runtime.ContainerStatus(ctx, &runtimev1.ContainerStatusRequest{ContainerId: l.Id})
		if IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("status of container %s: %w", l.Id, err)
		}
		p.Containers = append(p.Containers, container(l, r.Status))
	}
	slices.SortFunc(p.Sandboxes, func(a, b Sandbox) int { return b.CreatedAt.Compare(a.CreatedAt) })
	slices.SortFunc(p.Containers, func(a, b Container) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Attempt, a.Attempt))
	})
	return p, nil
}

// ips are the addresses of a ready sandbox; they do not change during its life.
func (c *Client) ips(ctx context.Context, old *Pod, id string) ([]string, error) {
	if old != nil {
		for i := range old.Sandboxes {
			if s := &old.Sandboxes[i]; s.ID == id && len(s.IPs) > 0 {
				return s.IPs, nil
			}
		}
	}
	st, err := c.Runtime.PodSandboxStatus(ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return nil, fmt.Errorf("status of sandbox %s: %w", id, err)
	}
	n := st.GetStatus().GetNetwork()
	if n.GetIp() == "" {
		return nil, nil
	}
	ips := []string{n.Ip}
	for _, a := range n.AdditionalIps {
		ips = append(ips, a.Ip)
	}
	return ips, nil
}

func (p *Pod) container(id string) *Container {
	if p == nil {
		return nil
	}
	for i := range p.Containers {
		if p.Containers[i].ID == id {
			return &p.Containers[i]
		}
	}
	return nil
}

func container(l *runtimev1.Container, s *runtimev1.ContainerStatus) Container {
	c := Container{ID: l.Id, SandboxID: l.PodSandboxId, Name: l.Labels[LabelContainerName], State: State(s.State),
		CreatedAt: time.Unix(0, s.CreatedAt), StartedAt: at(s.StartedAt), FinishedAt: at(s.FinishedAt),
		ExitCode: s.ExitCode, Reason: s.Reason, Message: s.Message, Image: s.GetImage().GetImage(), ImageID: s.ImageRef,
		Hash: s.Annotations[AnnotationHash], LogPath: s.LogPath, TerminationPath: terminationMount(s),
		TerminationPolicy: s.Annotations[AnnotationTerminationPolicy], User: s.GetUser().GetLinux(), Grace: -1}
	if n, err := strconv.Atoi(s.Annotations[AnnotationRestartCount]); err == nil {
		c.Attempt = n
	} else {
		c.Attempt = int(s.GetMetadata().GetAttempt())
	}
	if n, err := strconv.ParseInt(s.Annotations[AnnotationPodGrace], 10, 64); err == nil {
		c.Grace = n
	}
	if c.ImageID == "" {
		c.ImageID = s.ImageId
	}
	return c
}

// terminationMount is the host's side of the container's termination message file, or "".
func terminationMount(s *runtimev1.ContainerStatus) string {
	path := s.Annotations[AnnotationTerminationPath]
	for _, m := range s.Mounts {
		if path != "" && m.ContainerPath == path {
			return m.HostPath
		}
	}
	return ""
}

func at(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// UIDs lists the pods of which the runtime has anything, with a word on each that differs when the pod's
// sandboxes or containers have come, gone or changed state.
func (c *Client) UIDs(ctx context.Context) (map[string]string, error) {
	boxes, err := c.Runtime.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	list, err := c.Runtime.ListContainers(ctx, &runtimev1.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	parts := map[string][]string{}
	for _, b := range boxes.Items {
		if uid := b.Labels[LabelPodUID]; uid != "" {
			parts[uid] = append(parts[uid], b.Id+strconv.Itoa(int(b.State)))
		}
	}
	for _, l := range list.Containers {
		if uid := l.Labels[LabelPodUID]; uid != "" {
			parts[uid] = append(parts[uid], l.Id+strconv.Itoa(int(l.State)))
		}
	}
	words := make(map[string]string, len(parts))
	for uid, p := range parts {
		slices.Sort(p)
		h := fnv.New128a()
		for _, s := range p {
			h.Write([]byte(s))
		}
		words[uid] = string(h.Sum(nil))
	}
	return words, nil
}
