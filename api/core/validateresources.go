package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// podLevelResource tells whether the pod as a whole can ask for a resource.
func podLevelResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	return validateAmounts(r, containerResourceName, path)
}

// ValidateOverhead checks what a pod of a class takes beside its containers.
func ValidateOverhead(list corev1.ResourceList, path *field.Path) field.ErrorList {
	return validateResources(&corev1.ResourceRequirements{Limits: list}, path)
}

// validateAmounts checks limits and requests; known says which resources there may be.
func validateAmounts(r *corev1.ResourceRequirements, known func(corev1.ResourceName, *field.Path) field.ErrorList, path *field.Path) (errs field.ErrorList) {
	cpuOrMemory, huge := false, false
	amount := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		cpuOrMemory = cpuOrMemory || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		huge = huge || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		return append(known(name, at), resourceValue(name, q, at)...)
	}
	limits, requests := path.Child("limits"), path.Child("requests")
	errs = append(entries(r.Limits, limits, amount), entries(r.Requests, requests, amount)...)
	errs = append(errs, entries(r.Requests, requests, func(name corev1.ResourceName, want resource.Quantity, _ *field.Path) field.ErrorList {
		limit, limited := r.Limits[name]
		firm := extendedResource(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		switch {
		case limited && firm && want.Cmp(limit) != 0:
			return field.ErrorList{field.Invalid(requests, want.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String()))}
		case limited && want.Cmp(limit) > 0:
			return field.ErrorList{field.Invalid(requests, want.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String()))}
		case !limited && firm:
			return required(limits, "Limit must be set for non overcommitable resources")
		}
		return nil
	})...)
	if huge && !cpuOrMemory {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

func containerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	s := string(name)
	if podLevelResource(name) || name == corev1.ResourceEphemeralStorage {
		return each(path, s, api.QualifiedName(s))
	}
	errs := resourceName(name, path)
	switch {
	case !strings.Contains(s, "/"):
		errs = append(errs, field.Invalid(path, s, "must be a standard resource for containers"))
	case len(errs) == 0 && !nativeResource(s) && !extendedResource(name):
		errs = append(errs, field.Invalid(path, s, "doesn't follow extended resource name standard"))
	}
	return errs
}

// resourceName checks a resource's name: one of Kubernetes' own, or with the domain of whose it is.
func resourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	s := string(name)
	if bad := each(path, s, api.QualifiedName(s)); len(bad) > 0 {
		return bad
	}
	if !strings.Contains(s, "/") && !quotaName(name) && name != corev1.ResourceStorage && !podLevelResource(name) {
		return field.ErrorList{field.Invalid(path, s, "must be a standard resource type or fully qualified")}
	}
	return nil
}

// podResourceName checks what a pod as a whole asks for.
func podResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if bad := resourceName(name, path); len(bad) > 0 {
		return bad
	}
	if !podLevelResource(name) {
		return field.ErrorList{field.NotSupported(path, name, []corev1.ResourceName{corev1.ResourceCPU, "hugepages-", corev1.ResourceMemory})}
	}
	return nil
}

// validatePodResources checks the pod's own amounts, which hold its containers' together.
func validatePodResources(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if s.Resources.Claims != nil {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateClaimNames(s.Resources.Claims, claimNames(s), path.Child("claims"))...)
	errs = append(errs, validateAmounts(s.Resources, podResourceName, path)...)
	for _, name := range SortedKeys(s.Resources.Requests) {
		have := s.Resources.Requests[name]
		if need, found := containersRequest(s, name); found && need.Cmp(have) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), have.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", need.String())))
		}
	}
	for i := range s.Containers {
		own := s.Containers[i].Resources.Limits
		for _, name := range SortedKeys(own) {
			have := own[name]
			if most, ok := s.Resources.Limits[name]; ok && have.Cmp(most) > 0 {
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Key(string(name)).Child("limits"), have.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", most.String())))
			}
		}
	}
	return errs
}
