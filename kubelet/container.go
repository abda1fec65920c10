package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// hash stands for what of a container's spec needs a new container when it changes: name and image.
func hash(c *corev1.Container) string {
	h := fnv.New32a()
	h.Write([]byte(c.Name + "\x00" + c.Image))
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// sandboxConfig describes the pod to the runtime. logs is the pod's log directory, parent its control group.
func (k *Kubelet) sandboxConfig(pod *corev1.Pod, attempt int) (*runtimev1.PodSandboxConfig, []string, error) {
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		return nil, nil, errors.New("hostUsers: false: this node does not make user namespaces")
	}
	host, _, err := hostname(pod, k.ClusterDomain)
	if err != nil {
		return nil, nil, err
	}
	dns, limited := dnsConfig(pod, k.ClusterDNS, k.ClusterDomain, k.hostDNS())
	cfg := &runtimev1.PodSandboxConfig{
		Metadata:     &runtimev1.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: uint32(attempt)},
		Hostname:     host,
		LogDirectory: k.logDir(pod),
		DnsConfig:    dns,
		Labels:       map[string]string{},
		Annotations:  map[string]string{},
		Linux: &runtimev1.LinuxPodSandboxConfig{
			CgroupParent:    k.cgroups.Pod(qosClass(pod), string(pod.UID)),
			SecurityContext: sandboxSecurity(pod, filepath.Join(k.RootDir, "seccomp")),
			Sysctls:         map[string]string{},
			Resources:       podResources(podLimits(pod, 0)),
		},
	}
	maps.Copy(cfg.Labels, pod.Labels)
	maps.Copy(cfg.Annotations, pod.Annotations)
	maps.Copy(cfg.Labels, podLabels(pod))
	if pod.Spec.HostNetwork {
		cfg.Hostname = "" // the node's own; runtimes refuse to set it
	} else {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				for _, p := range list[i].Ports {
					cfg.PortMappings = append(cfg.PortMappings, &runtimev1.PortMapping{HostIp: p.HostIP, HostPort: p.HostPort,
						ContainerPort: p.ContainerPort, Protocol: runtimev1.Protocol(runtimev1.Protocol_value[string(p.Protocol)])})
				}
			}
		}
	}
	if psc := pod.Spec.SecurityContext; psc != nil {
		for _, s := range psc.Sysctls {
			cfg.Linux.Sysctls[strings.ReplaceAll(s.Name, "/", ".")] = s.Value
		}
	}
	return cfg, limited, nil
}

func podLabels(pod *corev1.Pod) map[string]string {
	return map[string]string{cri.LabelPodName: pod.Name, cri.LabelPodNamespace: pod.Namespace, cri.LabelPodUID: string(pod.UID)}
}

// containerConfig describes one container to the runtime. env, mounts and security are made by their own
// functions; image is the reference that the runtime gave.
func (k *Kubelet) containerConfig(pod *corev1.Pod, c *corev1.Container, attempt int, image string, env []*runtimev1.KeyValue,
	mounts []*runtimev1.Mount, security *runtimev1.LinuxContainerSecurityContext) *runtimev1.ContainerConfig {
	known := func(name string) (string, bool) {
		for _, kv := range env {
			if kv.Key == name {
				return string(kv.Value), true
			}
		}
		return "", false
	}
	labels := podLabels(pod)
	labels[cri.LabelContainerName] = c.Name
	path, policy := c.TerminationMessagePath, c.TerminationMessagePolicy
	annotations := map[string]string{
		cri.AnnotationHash:              hash(c),
		cri.AnnotationRestartCount:      strconv.Itoa(attempt),
		cri.AnnotationTerminationPath:   path,
		cri.AnnotationTerminationPolicy: string(policy),
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		annotations[cri.AnnotationPodGrace] = strconv.FormatInt(*s, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		if data, err := json.Marshal(c.Lifecycle.PreStop); err == nil {
			annotations[cri.AnnotationPreStop] = string(data)
		}
	}
	if len(c.Ports) > 0 {
		if data, err := json.Marshal(c.Ports); err == nil {
			annotations[cri.AnnotationPorts] = string(data)
		}
	}
	cfg := &runtimev1.ContainerConfig{
		Metadata:    &runtimev1.ContainerMetadata{Name: c.Name, Attempt: uint32(attempt)},
		Image:       &runtimev1.ImageSpec{Image: image, UserSpecifiedImage: c.Image},
		WorkingDir:  c.WorkingDir,
		Envs:        env,
		Mounts:      mounts,
		Labels:      labels,
		Annotations: annotations,
		LogPath:     filepath.Join(c.Name, fmt.Sprintf("%d.log", attempt)),
		Stdin:       c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux: &runtimev1.LinuxContainerConfig{Resources: containerResources(pod, c, k.machine.memory, k.cgroups.V2()), SecurityContext: security},
	}
	for _, a := range c.Command {
		cfg.Command = append(cfg.Command, expand(a, known))
	}
	for _, a := range c.Args {
		cfg.Args = append(cfg.Args, expand(a, known))
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		cfg.StopSignal = runtimev1.Signal(runtimev1.Signal_value["SIGNAL_"+strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(string(*c.Lifecycle.StopSignal))])
	}
	if security.Privileged {
		cfg.Devices = nil // a privileged container sees all of the node's
	}
	return cfg
}

// podDir is where the kubelet keeps what belongs to the pod.
func (k *Kubelet) podDir(uid string) string { return filepath.Join(k.RootDir, "pods", uid) }

func (k *Kubelet) logDir(pod *corev1.Pod) string {
	return filepath.Join(k.LogDir, fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

// mounts are what one container sees of its pod's volumes, and the files that the kubelet itself gives it.
func (k *Kubelet) mounts(pod *corev1.Pod, c *corev1.Container, attempt int, ips []string, env []*runtimev1.KeyValue) ([]*runtimev1.Mount, error) {
	known := func(name string) (string, bool) {
		for _, kv := range env {
			if kv.Key == name {
				return string(kv.Value), true
			}
		}
		return "", false
	}
	out, err := k.volumes.Mounts(pod, c, func(s string) string { return expand(s, known) })
	if err != nil {
		return nil, err
	}
	has := func(path string) bool {
		for _, m := range out {
			if filepath.Clean(m.ContainerPath) == path {
				return true
			}
		}
		return false
	}
	dir := k.podDir(string(pod.UID))
	if !has("/etc/hosts") {
		host, fqdn, err := hostname(pod, k.ClusterDomain)
		if err != nil {
			return nil, err
		}
		node := ""
		if pod.Spec.HostNetwork {
			data, _ := os.ReadFile("/etc/hosts")
			node = string(data)
		}
		file := filepath.Join(dir, "etc-hosts")
		if err := os.WriteFile(file, []byte(hostsFile(pod, ips, host, fqdn, node)), 0o644); err != nil {
			return nil, fmt.Errorf("write hosts file: %w", err)
		}
		out = append(out, &runtimev1.Mount{ContainerPath: "/etc/hosts", HostPath: file, Readonly: readonlyRoot(c)})
	}
	if path := c.TerminationMessagePath; path != "" {
		d := filepath.Join(dir, "containers", c.Name)
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, fmt.Errorf("make termination log: %w", err)
		}
		file := filepath.Join(d, strconv.Itoa(attempt))
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			return nil, fmt.Errorf("make termination log: %w", err)
		}
		if err := os.Chmod(file, 0o666); err != nil {
			return nil, fmt.Errorf("make termination log: %w", err)
		}
		out = append(out, &runtimev1.Mount{ContainerPath: path, HostPath: file})
	}
	return out, nil
}

func readonlyRoot(c *corev1.Container) bool {
	return c.SecurityContext != nil && isTrue(c.SecurityContext.ReadOnlyRootFilesystem)
}
