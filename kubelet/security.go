package kubelet

import (
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// imageUser is whom an image wants to run as: a number, or a name, or neither (root).
type imageUser struct {
	uid  *int64
	name string
}

// securityContext is the security of one container: its own settings over the pod's over the image's.
// target is the container ID whose process namespace it joins, or "". Errors: the spec forbids root and
// the container would or might be root.
func securityContext(pod *corev1.Pod, c *corev1.Container, user imageUser, target, seccompDir string, groups []int64) (*runtimev1.LinuxContainerSecurityContext, error) {
	psc, csc := pod.Spec.SecurityContext, c.SecurityContext
	if psc == nil {
		psc = &corev1.PodSecurityContext{}
	}
	if csc == nil {
		csc = &corev1.SecurityContext{}
	}
	s := &runtimev1.LinuxContainerSecurityContext{
		Privileged:         isTrue(csc.Privileged),
		ReadonlyRootfs:     isTrue(csc.ReadOnlyRootFilesystem),
		NoNewPrivs:         csc.AllowPrivilegeEscalation != nil && !*csc.AllowPrivilegeEscalation,
		NamespaceOptions:   namespaces(pod, target),
		SupplementalGroups: append(append([]int64{}, psc.SupplementalGroups...), groups...),
		Seccomp:            seccomp(either(csc.SeccompProfile, psc.SeccompProfile), seccompDir),
		Apparmor:           apparmor(either(csc.AppArmorProfile, psc.AppArmorProfile)),
		SelinuxOptions:     selinux(either(csc.SELinuxOptions, psc.SELinuxOptions)),
	}
	if s.Privileged {
		s.Seccomp = &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}
	}
	if psc.FSGroup != nil {
		s.SupplementalGroups = append(s.SupplementalGroups, *psc.FSGroup)
	}
	if p := psc.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		s.SupplementalGroupsPolicy = runtimev1.SupplementalGroupsPolicy_Strict
	}
	if csc.Capabilities != nil {
		s.Capabilities = &runtimev1.Capability{}
		for _, a := range csc.Capabilities.Add {
			s.Capabilities.AddCapabilities = append(s.Capabilities.AddCapabilities, string(a))
		}
		for _, d := range csc.Capabilities.Drop {
			s.Capabilities.DropCapabilities = append(s.Capabilities.DropCapabilities, string(d))
		}
	}
	if csc.ProcMount == nil || *csc.ProcMount == corev1.DefaultProcMount {
		s.MaskedPaths, s.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	run := either(csc.RunAsUser, psc.RunAsUser)
	if g := either(csc.RunAsGroup, psc.RunAsGroup); g != nil {
		s.RunAsGroup = &runtimev1.Int64Value{Value: *g}
	}
	if isTrue(either(csc.RunAsNonRoot, psc.RunAsNonRoot)) {
		switch {
		case run != nil && *run == 0:
			return nil, fmt.Errorf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", formatPod(pod), c.Name)
		case run != nil:
		case user.uid != nil && *user.uid == 0, user.uid == nil && user.name == "":
			return nil, fmt.Errorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", formatPod(pod), c.Name)
		case user.uid == nil:
			return nil, fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)", user.name, formatPod(pod), c.Name)
		}
	}
	switch {
	case run != nil:
		s.RunAsUser = &runtimev1.Int64Value{Value: *run}
	case user.uid != nil:
		s.RunAsUser = &runtimev1.Int64Value{Value: *user.uid}
	default:
		s.RunAsUsername = user.name
	}
	return s, nil
}

// What a container may not see or write of /proc and /sys by default. Source: ProcMountType in the API.
var (
	maskedPaths = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func isTrue(b *bool) bool { return b != nil && *b }

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func namespaces(pod *corev1.Pod, target string) *runtimev1.NamespaceOption {
	n := &runtimev1.NamespaceOption{Pid: runtimev1.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		n.Network = runtimev1.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		n.Ipc = runtimev1.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		n.Pid = runtimev1.NamespaceMode_NODE
	case isTrue(pod.Spec.ShareProcessNamespace):
		n.Pid = runtimev1.NamespaceMode_POD
	case target != "":
		n.Pid, n.TargetId = runtimev1.NamespaceMode_TARGET, target
	}
	return n
}

func seccomp(p *corev1.SeccompProfile, dir string) *runtimev1.SecurityProfile {
	if p != nil {
		switch p.Type {
		case corev1.SeccompProfileTypeRuntimeDefault:
			return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_RuntimeDefault}
		case corev1.SeccompProfileTypeLocalhost:
			if p.LocalhostProfile != nil {
				return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: filepath.Join(dir, filepath.Clean("/"+*p.LocalhostProfile))}
			}
		}
	}
	return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}
}

// apparmor is nil unless the pod asks: a kernel without AppArmor must not be asked for its default.
func apparmor(p *corev1.AppArmorProfile) *runtimev1.SecurityProfile {
	if p == nil {
		return nil
	}
	switch p.Type {
	case corev1.AppArmorProfileTypeRuntimeDefault:
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_RuntimeDefault}
	case corev1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile != nil {
			return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: *p.LocalhostProfile}
		}
	}
	return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}
}

func selinux(o *corev1.SELinuxOptions) *runtimev1.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimev1.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// sandboxSecurity is the security of the pod's sandbox, which must be privileged if any container is.
func sandboxSecurity(pod *corev1.Pod, seccompDir string) *runtimev1.LinuxSandboxSecurityContext {
	s := &runtimev1.LinuxSandboxSecurityContext{NamespaceOptions: namespaces(pod, ""),
		Seccomp: &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_RuntimeDefault}}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && isTrue(sc.Privileged) {
				s.Privileged, s.Seccomp = true, &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}
			}
		}
	}
	if psc := pod.Spec.SecurityContext; psc != nil {
		if psc.RunAsUser != nil && pod.Spec.OS == nil {
			s.RunAsUser = &runtimev1.Int64Value{Value: *psc.RunAsUser}
		}
		if psc.RunAsGroup != nil && psc.RunAsUser != nil {
			s.RunAsGroup = &runtimev1.Int64Value{Value: *psc.RunAsGroup}
		}
		s.SupplementalGroups = append(s.SupplementalGroups, psc.SupplementalGroups...)
		if psc.FSGroup != nil {
			s.SupplementalGroups = append(s.SupplementalGroups, *psc.FSGroup)
		}
		s.SelinuxOptions = selinux(psc.SELinuxOptions)
	}
	return s
}
