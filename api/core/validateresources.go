package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// podLevelResource tells whether the pod as a whole can ask for a resource.
func podLevelResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) (errs field.ErrorList) {
	cpuOrMemory, huge := false, false
	list := func(l corev1.ResourceList, child string) {
		for _, name := range SortedKeys(l) {
			at := path.Child(child).Key(string(name))
			errs = append(errs, containerResourceName(name, path.Child(child))...)
			errs = append(errs, resourceValue(name, l[name], at)...)
			cpuOrMemory = cpuOrMemory || name == corev1.ResourceCPU || name == corev1.ResourceMemory
			huge = huge || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		}
	}
	list(r.Limits, "limits")
	list(r.Requests, "requests")
	for _, name := range SortedKeys(r.Requests) {
		want := r.Requests[name]
		limit, limited := r.Limits[name]
		firm := extendedResource(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		switch {
		case limited && firm && want.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(path.Child("requests"), want.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && want.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(path.Child("requests"), want.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && firm:
			errs = append(errs, field.Required(path.Child("limits"), "Limit must be set for non overcommitable resources"))
		}
	}
	if huge && !cpuOrMemory {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

func containerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	s := string(name)
	if bad := each(path, s, api.QualifiedName(s)); len(bad) > 0 {
		return bad
	}
	switch {
	case !strings.Contains(s, "/"):
		if podLevelResource(name) || name == corev1.ResourceEphemeralStorage {
			return nil
		}
		return field.ErrorList{field.Invalid(path, s, "must be a standard resource for containers")}
	case !nativeResource(s) && !extendedResource(name):
		return field.ErrorList{field.Invalid(path, s, "doesn't follow extended resource name standard")}
	}
	return nil
}

// validatePodResources checks the pod's own amounts, which hold its containers' together.
func validatePodResources(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", s.Resources.Limits}, {"requests", s.Resources.Requests}} {
		for _, name := range SortedKeys(list.of) {
			if !podLevelResource(name) {
				errs = append(errs, field.NotSupported(path.Child(list.name), name, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, "hugepages-"}))
			}
		}
	}
	errs = append(errs, validateResources(s.Resources, path)...)
	for _, name := range SortedKeys(s.Resources.Requests) {
		have := s.Resources.Requests[name]
		if need, found := containersRequest(s, name); found && need.Cmp(have) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), have.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", need.String())))
		}
	}
	return errs
}
