package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validatePodStatus(p, old *corev1.Pod) (errs field.ErrorList) {
	status := field.NewPath("status")
	if old != nil && p.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(status.Child("nodeName"), "may not be changed directly"))
	}
	if n := p.Status.NominatedNodeName; n != "" {
		errs = append(errs, each(status.Child("nominatedNodeName"), n, apivalidation.NameIsDNSSubdomain(n, false))...)
	}
	errs = append(errs, NonNegative(p.Status.ObservedGeneration, status.Child("observedGeneration"))...)
	if old != nil {
		errs = append(errs, staysEnded(p.Status.ContainerStatuses, old.Status.ContainerStatuses, p.Spec.Containers, p.Spec.RestartPolicy, status.Child("containerStatuses"))...)
		if old.Status.QOSClass != "" && p.Status.QOSClass != old.Status.QOSClass {
			errs = append(errs, Immutable(p.Status.QOSClass, old.Status.QOSClass, status.Child("qosClass"))...)
		}
	}
	errs = append(errs, validatePodIPs(&p.Status, status)...)
	for i, c := range p.Status.Conditions {
		at := status.Child("conditions").Index(i)
		errs = append(errs, NonNegative(c.ObservedGeneration, at.Child("observedGeneration"))...)
		errs = append(errs, each(at.Child("Type"), string(c.Type), validation.IsQualifiedName(string(c.Type)))...) // with upstream's capital
	}
	errs = append(errs, validatePodClaimStatus(p, status)...)
	for _, list := range []struct {
		name string
		of   []corev1.ContainerStatus
	}{{"containerStatuses", p.Status.ContainerStatuses}, {"initContainerStatuses", p.Status.InitContainerStatuses}, {"ephemeralContainerStatuses", p.Status.EphemeralContainerStatuses}} {
		for i := range list.of {
			errs = append(errs, validateHealth(list.of[i].AllocatedResourcesStatus, list.name == "ephemeralContainerStatuses", status.Child(list.name).Index(i).Child("allocatedResourcesStatus"))...)
		}
	}
	return errs
}

func validatePodIPs(s *corev1.PodStatus, status *field.Path) (errs field.ErrorList) {
	for i, ip := range s.PodIPs {
		errs = append(errs, validation.IsValidIPForLegacyField(status.Child("podIPs").Index(i), ip.IP, false, nil)...)
	}
	if s.PodIP == "" && len(s.PodIPs) > 0 && s.PodIPs[0].IP == "" {
		errs = append(errs, field.Invalid(status.Child("podIPs"), api.GoNames(s.PodIPs), "podIP and podIPs must either both be set or both be unset"))
	}
	hosts := status.Child("hostIPs")
	if len(s.HostIPs) > 0 && s.HostIPs[0].IP != s.HostIP {
		errs = append(errs, field.Invalid(hosts.Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`"))
	}
	for i, ip := range s.HostIPs {
		if ip.IP != "" && ip.IP == s.HostIP {
			continue
		}
		errs = append(errs, validation.IsValidIPForLegacyField(hosts.Index(i), ip.IP, false, nil)...)
	}
	return errs
}

// validatePodClaimStatus checks which claims the pod is said to have.
func validatePodClaimStatus(p *corev1.Pod, status *field.Path) (errs field.ErrorList) {
	claims := claimNames(&p.Spec)
	for i, c := range p.Status.ResourceClaimStatuses {
		at := status.Child("resourceClaimStatuses").Index(i)
		if !claims.Has(c.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if n := c.ResourceClaimName; n != nil {
			errs = append(errs, each(at.Child("resourceClaimName"), *n, api.DNSSubdomain(*n))...)
		}
	}
	e, at := p.Status.ExtendedResourceClaimStatus, status.Child("extendedResourceClaimStatus")
	if e == nil {
		return errs
	}
	if len(e.RequestMappings) == 0 {
		errs = append(errs, field.Required(at.Child("requestMappings"), "at least one request mapping is required"))
	}
	containers := sets.New[string]()
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			containers.Insert(list[i].Name)
		}
	}
	for i, m := range e.RequestMappings {
		if !containers.Has(m.ContainerName) {
			errs = append(errs, field.Invalid(at.Child("requestMappings").Index(i).Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name"))
		}
		errs = append(errs, dnsLabel(m.RequestName, at.Child("requestName"))...)
	}
	if e.ResourceClaimName == "" {
		return append(errs, field.Required(at.Child("resourceClaimName"), ""))
	}
	return append(errs, each(at.Child("resourceClaimName"), e.ResourceClaimName, api.DNSSubdomain(e.ResourceClaimName))...)
}

func validateHealth(list []corev1.ResourceStatus, ephemeral bool, path *field.Path) (errs field.ErrorList) {
	if ephemeral && len(list) > 0 {
		return field.ErrorList{field.Forbidden(path, "must not be specified in container status")}
	}
	for i, r := range list {
		for j, h := range r.Resources {
			errs = append(errs, OneOf(h.Health, path.Index(i).Child("resources").Index(j).Child("health"), corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)...)
		}
	}
	return errs
}
