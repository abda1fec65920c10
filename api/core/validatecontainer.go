package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// validateContainers checks all containers of a pod; volumes are those its mounts may name.
func validateContainers(s *corev1.PodSpec, volumes map[string]*corev1.VolumeSource, path *field.Path) (errs field.ErrorList) {
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	names, hostPorts, claims := sets.New[string](), sets.New[string](), claimNames(s)
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s.TerminationGracePeriodSeconds != nil {
		grace = *s.TerminationGracePeriodSeconds
	}
	check := func(c *corev1.Container, at *field.Path, init bool) {
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names.Has(c.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, dnsLabel(c.Name, at.Child("name"))...)
		}
		names.Insert(c.Name)
		errs = append(errs, validateContainer(c, s, volumes, claims, false, at)...)
		if init && !isSidecar(c) {
			errs = append(errs, validateInit(c, at)...)
		} else {
			errs = append(errs, validateRunning(c, grace, at)...)
			for j, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
				if hostPorts.Has(key) {
					errs = append(errs, field.Duplicate(at.Child("ports").Index(j).Child("hostPort"), key))
				}
				hostPorts.Insert(key)
			}
		}
	}
	for i := range s.Containers {
		check(&s.Containers[i], path.Child("containers").Index(i), false)
	}
	for i := range s.InitContainers {
		check(&s.InitContainers[i], path.Child("initContainers").Index(i), true)
	}
	lasting := names.Clone()
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], path.Child("ephemeralContainers").Index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names.Has(c.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, dnsLabel(c.Name, at.Child("name"))...)
		}
		names.Insert(c.Name)
		errs = append(errs, validateContainer(c, s, volumes, claims, true, at)...)
		errs = append(errs, validateEphemeral(e, lasting, at)...)
	}
	return errs
}

func validateInit(c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	const why = "may not be set for init containers without restartPolicy=Always"
	for _, no := range []struct {
		name string
		set  bool
	}{{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil}, {"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil}} {
		if no.set {
			errs = append(errs, field.Forbidden(path.Child(no.name), why))
		}
	}
	return errs
}

// validateEphemeral: the fields that make no sense for a container added to look around, at one of those of the names.
func validateEphemeral(e *corev1.EphemeralContainer, names sets.Set[string], path *field.Path) (errs field.ErrorList) {
	c := &e.EphemeralContainerCommon
	for _, no := range []struct {
		name string
		set  bool
	}{{"ports", c.Ports != nil}, {"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil}, {"readinessProbe", c.ReadinessProbe != nil},
		{"startupProbe", c.StartupProbe != nil}, {"resources", c.Resources.Limits != nil || c.Resources.Requests != nil || c.Resources.Claims != nil},
		{"resizePolicy", c.ResizePolicy != nil}, {"restartPolicy", c.RestartPolicy != nil}, {"restartPolicyRules", c.RestartPolicyRules != nil}} {
		if no.set {
			errs = append(errs, field.Forbidden(path.Child(no.name), "cannot be set for an Ephemeral Container"))
		}
	}
	for i, m := range c.VolumeMounts {
		if at := path.Child("volumeMounts").Index(i); m.SubPath != "" {
			errs = append(errs, field.Forbidden(at.Child("subPath"), "cannot be set for an Ephemeral Container"))
		} else if m.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
		}
	}
	if e.TargetContainerName != "" && !names.Has(e.TargetContainerName) {
		errs = append(errs, field.NotFound(path.Child("targetContainerName"), e.TargetContainerName))
	}
	return errs
}

// validateContainer checks what all kinds of containers share.
func validateContainer(c *corev1.Container, s *corev1.PodSpec, volumes map[string]*corev1.VolumeSource, claims sets.Set[string], ephemeral bool, path *field.Path) (errs field.ErrorList) {
	switch {
	case c.Image == "":
		errs = append(errs, field.Required(path.Child("image"), ""))
	case strings.TrimSpace(c.Image) != c.Image:
		errs = append(errs, field.Invalid(path.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	switch c.TerminationMessagePolicy {
	case corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError:
	case "":
		errs = append(errs, field.Required(path.Child("terminationMessagePolicy"), ""))
	default:
		errs = append(errs, OneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"), corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	}
	errs = append(errs, validateContainerPorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(c, volumes, path)...)
	errs = append(errs, validateMounts(c, volumes, path)...)
	if at := path.Child("imagePullPolicy"); c.ImagePullPolicy == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, OneOf(c.ImagePullPolicy, at, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}
	errs = append(errs, validateClaimNames(c.Resources.Claims, claims, path.Child("resources", "claims"))...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	errs = append(errs, validateSecurity(c.SecurityContext, path.Child("securityContext"))...)
	if p := c.RestartPolicy; p != nil && !ephemeral {
		errs = append(errs, OneOf(*p, path.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	}
	seen := sets.New[corev1.ResourceName]()
	for i, p := range c.ResizePolicy {
		at := path.Child("resizePolicy")
		if seen.Has(p.ResourceName) {
			errs = append(errs, field.Duplicate(at.Index(i), p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		if p.ResourceName == "" {
			if p.RestartPolicy != "" {
				errs = append(errs, field.Required(at, ""))
			}
		} else {
			errs = append(errs, OneOf(p.ResourceName, at, corev1.ResourceCPU, corev1.ResourceMemory)...)
		}
		if p.RestartPolicy == "" {
			errs = append(errs, field.Required(at, ""))
		} else {
			errs = append(errs, OneOf(p.RestartPolicy, at, corev1.NotRequired, corev1.RestartContainer)...)
		}
	}
	if !ephemeral {
		errs = append(errs, validateRestartRules(c, path)...)
	}
	return errs
}

// validateRestartRules checks what decides, by exit code, whether a container runs again. Source: KEP-5307.
func validateRestartRules(c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	if len(c.RestartPolicyRules) > 0 && c.RestartPolicy == nil {
		errs = append(errs, field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	if len(c.RestartPolicyRules) > 20 {
		errs = append(errs, field.TooMany(path.Child("restartPolicyRules"), len(c.RestartPolicyRules), 20))
	}
	for i, r := range c.RestartPolicyRules {
		at := path.Child("restartPolicyRules").Index(i)
		errs = append(errs, OneOf(r.Action, at.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		codes := at.Child("exitCodes")
		if r.ExitCodes == nil {
			errs = append(errs, field.Required(codes, "must be specified"))
			continue
		}
		errs = append(errs, OneOf(r.ExitCodes.Operator, codes.Child("operator"), corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(r.ExitCodes.Values); n > 255 {
			errs = append(errs, field.TooMany(codes.Child("values"), n, 255))
		}
	}
	return errs
}

func claimNames(s *corev1.PodSpec) sets.Set[string] {
	out := sets.New[string]()
	for i := range s.ResourceClaims {
		out.Insert(s.ResourceClaims[i].Name)
	}
	return out
}

// validateClaimNames checks that what a container claims is among the pod's claims, each once.
func validateClaimNames(list []corev1.ResourceClaim, of sets.Set[string], path *field.Path) (errs field.ErrorList) {
	again := api.Again[corev1.ResourceClaim]()
	for i, c := range list {
		at := path.Index(i)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at, ""))
		case again(c):
			errs = append(errs, field.Duplicate(at, c.Name))
		case !of.Has(c.Name):
			why := "must be one of the names in pod.spec.resourceClaims"
			if len(of) == 0 {
				why += " which is empty"
			}
			e := field.NotFound(at, c.Name)
			e.Detail = why
			errs = append(errs, e)
		}
	}
	return errs
}

// validateRunning checks probes and hooks, which only containers that stay have.
func validateRunning(c *corev1.Container, grace int64, path *field.Path) (errs field.ErrorList) {
	if l := c.Lifecycle; l != nil {
		if l.PostStart != nil {
			errs = append(errs, validateHook(l.PostStart, grace, path.Child("lifecycle", "postStart"))...)
		}
		if l.PreStop != nil {
			errs = append(errs, validateHook(l.PreStop, grace, path.Child("lifecycle", "preStop"))...)
		}
	}
	errs = append(errs, validateProbe(c.LivenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, path.Child("readinessProbe"))...)
	errs = append(errs, validateProbe(c.StartupProbe, path.Child("startupProbe"))...)
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{{"livenessProbe", c.LivenessProbe}, {"startupProbe", c.StartupProbe}} {
		if p.probe != nil && p.probe.SuccessThreshold != 1 {
			errs = append(errs, field.Invalid(path.Child(p.name, "successThreshold"), p.probe.SuccessThreshold, "must be 1"))
		}
	}
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(path.Child("readinessProbe", "terminationGracePeriodSeconds"), p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	return errs
}

func validateContainerPorts(ports []corev1.ContainerPort, path *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if msgs := api.PortName(p.Name); len(msgs) > 0 {
				errs = append(errs, each(at.Child("name"), p.Name, msgs)...)
			} else if names.Has(p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			} else {
				names.Insert(p.Name)
			}
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(p.ContainerPort, at.Child("containerPort"))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, portNumber(p.HostPort, at.Child("hostPort"))...)
		}
		errs = append(errs, validateProtocol(p.Protocol, at.Child("protocol"))...)
	}
	return errs
}

func validateMounts(c *corev1.Container, volumes map[string]*corev1.VolumeSource, path *field.Path) (errs field.ErrorList) {
	points := sets.New[string]()
	for i, m := range c.VolumeMounts {
		at := path.Child("volumeMounts").Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if volumes[m.Name] == nil {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if points.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		points.Insert(m.MountPath)
		if m.SubPath != "" {
			errs = append(errs, localPath(m.SubPath, at.Child("subPath"))...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, localPath(m.SubPathExpr, at.Child("subPathExpr"))...)
		}
		if p := m.MountPropagation; p != nil {
			errs = append(errs, OneOf(*p, path.Child("volumeMounts", "mountPropagation"), corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
			if *p == corev1.MountPropagationBidirectional && (c.SecurityContext == nil || !IsTrue(c.SecurityContext.Privileged)) {
				errs = append(errs, field.Forbidden(path.Child("volumeMounts", "mountPropagation"), "Bidirectional mount propagation is available only to privileged containers"))
			}
		}
		if r := m.RecursiveReadOnly; r != nil && *r != corev1.RecursiveReadOnlyDisabled {
			rr := path.Child("volumeMounts", "recursiveReadOnly")
			bad := OneOf(*r, rr, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
			errs = append(errs, bad...)
			if !m.ReadOnly && len(bad) == 0 {
				errs = append(errs, field.Forbidden(rr, "may only be specified when readOnly is true"))
			}
		}
	}
	devices := sets.New[string]()
	for i, d := range c.VolumeDevices {
		at := path.Child("volumeDevices").Index(i)
		if d.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		switch v := volumes[d.Name]; {
		case v == nil:
			errs = append(errs, field.NotFound(at.Child("name"), d.Name))
		case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		if d.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		}
		if devices.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique"))
		}
		devices.Insert(d.DevicePath)
		if points.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}
