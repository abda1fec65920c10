package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateEphemeralContainers lets containers be added, never changed or taken away.
func validateEphemeralContainers(p, old *corev1.Pod) field.ErrorList {
	errs := ValidatePodSpec(&p.Spec, field.NewPath("spec"))
	path := field.NewPath("spec", "ephemeralContainers")
	at := map[string]int{}
	for i, c := range slices.Backward(p.Spec.EphemeralContainers) {
		at[c.Name] = i
	}
	for _, was := range old.Spec.EphemeralContainers {
		i, there := at[was.Name]
		if !there {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		} else if now := p.Spec.EphemeralContainers[i]; !same(now, was) {
			errs = append(errs, forbidChange(path, fmt.Sprintf("existing ephemeral containers %q may not be changed", was.Name), now, was)...)
		}
	}
	return errs
}

// validateResize lets the CPU and memory of containers change, in amount but not in
// kind: no request or limit goes away, and the pod keeps its class of service.
func validateResize(p, old *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := ValidatePodSpec(&p.Spec, spec)
	if old.Status.QOSClass != "" && QOS(&p.Spec) != old.Status.QOSClass {
		errs = append(errs, field.Invalid(spec, old.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	now := p.Spec.DeepCopy()
	for _, list := range []struct {
		name     string
		now, was []corev1.Container
	}{{"containers", now.Containers, old.Spec.Containers}, {"initContainers", now.InitContainers, old.Spec.InitContainers}} {
		if len(list.now) != len(list.was) {
			return append(errs, field.Forbidden(spec.Child(list.name), "containers may not be added or removed on resize"))
		}
		for i := range list.now {
			c, was, at := &list.now[i], &list.was[i], spec.Child(list.name).Index(i).Child("resources")
			if list.name == "initContainers" && !isSidecar(was) {
				continue
			}
			errs = append(errs, keepsAll(c.Resources.Requests, was.Resources.Requests, at.Child("requests"), "requests")...)
			errs = append(errs, keepsAll(c.Resources.Limits, was.Resources.Limits, at.Child("limits"), "limits")...)
			resetAmounts(&c.Resources, &was.Resources)
			c.ResizePolicy = was.ResizePolicy
		}
	}
	if now.Resources != nil && old.Spec.Resources != nil {
		resetAmounts(now.Resources, old.Spec.Resources)
	}
	if !same(now, &old.Spec) {
		errs = append(errs, field.Forbidden(spec, "only cpu and memory resources are mutable"))
	}
	return errs
}

func resizable(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory
}

func keepsAll(now, was corev1.ResourceList, path *field.Path, word string) (errs field.ErrorList) {
	for _, name := range SortedKeys(was) {
		if _, ok := now[name]; !ok && resizable(name) {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("resource %s cannot be removed", word)))
			break
		}
	}
	return errs
}

// resetAmounts puts back the amounts of CPU and memory, so that the rest can be compared.
func resetAmounts(now, was *corev1.ResourceRequirements) {
	reset := func(now, was corev1.ResourceList) corev1.ResourceList {
		out := corev1.ResourceList{}
		for name, q := range now {
			if !resizable(name) {
				out[name] = q
			}
		}
		for name, q := range was {
			if resizable(name) {
				out[name] = q
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	now.Limits, now.Requests = reset(now.Limits, was.Limits), reset(now.Requests, was.Requests)
}
