package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateProbe(p *corev1.Probe, path *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	errs = append(errs, validateHandler(&p.ProbeHandler, nil, 0, path)...)
	errs = append(errs, NonNegative(p.InitialDelaySeconds, path.Child("initialDelaySeconds"))...)
	errs = append(errs, NonNegative(p.TimeoutSeconds, path.Child("timeoutSeconds"))...)
	errs = append(errs, NonNegative(p.PeriodSeconds, path.Child("periodSeconds"))...)
	errs = append(errs, NonNegative(p.SuccessThreshold, path.Child("successThreshold"))...)
	errs = append(errs, NonNegative(p.FailureThreshold, path.Child("failureThreshold"))...)
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0"))
	}
	return errs
}

func validateHook(h *corev1.LifecycleHandler, grace int64, path *field.Path) field.ErrorList {
	return validateHandler(&corev1.ProbeHandler{Exec: h.Exec, HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket}, h.Sleep, grace, path)
}

// validateHandler checks that there is one way to act, and its details.
func validateHandler(h *corev1.ProbeHandler, sleep *corev1.SleepAction, grace int64, path *field.Path) (errs field.ErrorList) {
	n := 0
	one := func(name string, check func(at *field.Path)) {
		if n++; n > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		check(path.Child(name))
	}
	if h.Exec != nil {
		one("exec", func(at *field.Path) {
			if len(h.Exec.Command) == 0 {
				errs = append(errs, field.Required(at.Child("command"), ""))
			}
		})
	}
	if h.HTTPGet != nil {
		one("httpGet", func(at *field.Path) {
			if h.HTTPGet.Path == "" {
				errs = append(errs, field.Required(at.Child("path"), ""))
			}
			errs = append(errs, portOrName(h.HTTPGet.Port, at.Child("port"))...)
			errs = append(errs, OneOf(h.HTTPGet.Scheme, at.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
			for _, header := range h.HTTPGet.HTTPHeaders {
				errs = append(errs, each(at.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
			}
		})
	}
	if h.TCPSocket != nil {
		one("tcpSocket", func(at *field.Path) { errs = append(errs, portOrName(h.TCPSocket.Port, at.Child("port"))...) })
	}
	if h.GRPC != nil {
		one("grpc", func(at *field.Path) { errs = append(errs, portNumber(h.GRPC.Port, at.Child("port"))...) })
	}
	if sleep != nil {
		one("sleep", func(at *field.Path) {
			if sleep.Seconds < 0 || sleep.Seconds > grace {
				errs = append(errs, field.Invalid(at, sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", grace)))
			}
		})
	}
	if n == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validatePodSecurity(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	c := s.SecurityContext
	if c == nil {
		return nil
	}
	if IsTrue(s.ShareProcessNamespace) && s.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, userID(c.RunAsUser, path.Child("runAsUser"))...)
	errs = append(errs, groupID(c.RunAsGroup, path.Child("runAsGroup"))...)
	errs = append(errs, groupID(c.FSGroup, path.Child("fsGroup"))...)
	for i, g := range c.SupplementalGroups {
		errs = append(errs, groupID(&g, path.Child("supplementalGroups").Index(i))...)
	}
	if p := c.FSGroupChangePolicy; p != nil {
		errs = append(errs, OneOf(*p, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	if p := c.SELinuxChangePolicy; p != nil {
		errs = append(errs, OneOf(*p, path.Child("seLinuxChangePolicy"), corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	if p := c.SupplementalGroupsPolicy; p != nil {
		errs = append(errs, OneOf(*p, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	names := map[string]bool{}
	for i, sysctl := range c.Sysctls {
		at := path.Child("sysctls").Index(i).Child("name")
		switch {
		case sysctl.Name == "":
			errs = append(errs, field.Required(at, ""))
		case !isSysctl(sysctl.Name):
			errs = append(errs, field.Invalid(at, sysctl.Name, fmt.Sprintf("must have at most %d characters and match regex %s", 253, sysctlPattern)))
		case names[sysctl.Name]:
			errs = append(errs, field.Duplicate(at, sysctl.Name))
		case s.HostNetwork && strings.HasPrefix(strings.ReplaceAll(sysctl.Name, "/", "."), "net."):
			errs = append(errs, field.Invalid(at, sysctl.Name, "may not be specified when 'hostNetwork' is true"))
		case s.HostIPC && ipcSysctl(strings.ReplaceAll(sysctl.Name, "/", ".")):
			errs = append(errs, field.Invalid(at, sysctl.Name, "may not be specified when 'hostIPC' is true"))
		}
		names[sysctl.Name] = true
	}
	errs = append(errs, validateSeccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateAppArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
	return append(errs, validateWindows(c.WindowsOptions, path.Child("windowsOptions"))...)
}

const sysctlPattern = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"

// ipcSysctl tells which settings belong to a namespace of IPC. Source: Kubernetes documentation, "Using sysctls".
func ipcSysctl(name string) bool {
	return name == "kernel.sem" || strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || strings.HasPrefix(name, "fs.mqueue.")
}

// isSysctl reads names such as net.ipv4.ip_forward, parted by dots or slashes.
func isSysctl(name string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	for _, part := range strings.Split(strings.ReplaceAll(name, "/", "."), ".") {
		if part == "" || !alnum(part[0]) || !alnum(part[len(part)-1]) {
			return false
		}
		for i := range len(part) {
			if !alnum(part[i]) && part[i] != '-' && part[i] != '_' {
				return false
			}
		}
	}
	return len(name) <= 253
}

func userID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return each(path, *id, validation.IsValidUserID(*id))
}

func groupID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return each(path, *id, validation.IsValidGroupID(*id))
}

func validateSecurity(c *corev1.SecurityContext, path *field.Path) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	errs = append(errs, userID(c.RunAsUser, path.Child("runAsUser"))...)
	errs = append(errs, groupID(c.RunAsGroup, path.Child("runAsGroup"))...)
	if p := c.ProcMount; p != nil {
		errs = append(errs, OneOf(*p, path.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
	}
	errs = append(errs, validateSeccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateAppArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
	errs = append(errs, validateWindows(c.WindowsOptions, path.Child("windowsOptions"))...)
	if a := c.AllowPrivilegeEscalation; a != nil && !*a {
		if IsTrue(c.Privileged) {
			errs = append(errs, field.Invalid(path, c, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if c.Capabilities != nil {
			for _, capability := range c.Capabilities.Add {
				if capability == "CAP_SYS_ADMIN" {
					errs = append(errs, field.Invalid(path, c, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
				}
			}
		}
	}
	return errs
}

func validateSeccomp(p *corev1.SeccompProfile, path *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	at := path.Child("localhostProfile")
	switch p.Type {
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			errs = append(errs, field.Required(at, "must be set when seccomp type is Localhost"))
		} else {
			errs = append(errs, localPath(*p.LocalhostProfile, at)...)
		}
		return errs
	case corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
	case "":
		errs = append(errs, field.Required(path.Child("type"), "type is required when seccompProfile is set"))
	default:
		errs = append(errs, OneOf(p.Type, path.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	if p.LocalhostProfile != nil {
		errs = append(errs, field.Invalid(at, p, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

func validateAppArmor(p *corev1.AppArmorProfile, path *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	at := path.Child("localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			errs = append(errs, field.Required(at, "must be set when AppArmor type is Localhost"))
		} else if strings.TrimSpace(*p.LocalhostProfile) == "" {
			errs = append(errs, field.Required(at, "must be set when AppArmor type is Localhost"))
		} else if strings.TrimSpace(*p.LocalhostProfile) != *p.LocalhostProfile {
			errs = append(errs, field.Invalid(at, *p.LocalhostProfile, "must not be padded with whitespace"))
		}
		return errs
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
	case "":
		return append(errs, field.Required(path.Child("type"), "type is required when appArmorProfile is set"))
	default:
		errs = append(errs, OneOf(p.Type, path.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)...)
	}
	if p.LocalhostProfile != nil && *p.LocalhostProfile != "" {
		errs = append(errs, field.Invalid(at, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
	}
	return errs
}
