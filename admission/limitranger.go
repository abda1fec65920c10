package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/lighter-k8s/lighter/client"
)

// limitedBy is the annotation that says what LimitRanger filled in.
const limitedBy = "kubernetes.io/limit-ranger"

// LimitRanger fills in the requests and limits that the namespace's limit ranges have for containers which say nothing, and
// refuses pods and claims beyond their bounds. Source: Kubernetes documentation, Limit Ranges.
func LimitRanger(ranges client.TypedView[*corev1.LimitRange]) Plugin {
	return Plugin{
		Name: "LimitRanger",
		Mutate: func(_ context.Context, a *Attributes) error {
			if pod, ok := a.Object.(*corev1.Pod); ok && a.Operation == Create && a.Subresource == "" {
				for _, r := range ranges.List(a.Namespace) {
					fillLimits(pod, r)
				}
			}
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			if a.Operation != Create && a.Operation != Update {
				return nil
			}
			var check func(corev1.LimitRangeItem) []error
			switch o := a.Object.(type) {
			case *corev1.Pod:
				if a.Operation == Update && a.Subresource != "resize" || a.Subresource != "" && a.Subresource != "resize" {
					return nil
				}
				check = func(item corev1.LimitRangeItem) []error { return boundPod(o, item) }
			case *corev1.PersistentVolumeClaim:
				if a.Subresource != "" {
					return nil
				}
				check = func(item corev1.LimitRangeItem) []error {
					if item.Type != corev1.LimitTypePersistentVolumeClaim {
						return nil
					}
					return claimBounds(o, item)
				}
			default:
				return nil
			}
			for _, r := range ranges.List(a.Namespace) {
				var errs []error
				for _, item := range r.Spec.Limits {
					errs = append(errs, check(item)...)
				}
				if len(errs) > 0 {
					return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, utilerrors.NewAggregate(errs))
				}
			}
			return nil
		},
	}
}

// fillLimits gives containers the defaults of one limit range, and notes on the pod which.
func fillLimits(pod *corev1.Pod, r *corev1.LimitRange) {
	var defaults corev1.ResourceRequirements
	for _, item := range r.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			defaults.Requests = fillList(defaults.Requests, item.DefaultRequest, nil)
			defaults.Limits = fillList(defaults.Limits, item.Default, nil)
		}
	}
	var notes []string
	fill := func(kind string, containers []corev1.Container) {
		for n := range containers {
			c := &containers[n]
			for _, part := range []struct {
				word     string
				own      *corev1.ResourceList
				defaults corev1.ResourceList
			}{{"request", &c.Resources.Requests, defaults.Requests}, {"limit", &c.Resources.Limits, defaults.Limits}} {
				var set []string
				*part.own = fillList(*part.own, part.defaults, &set)
				if len(set) > 0 {
					slices.Sort(set)
					notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), part.word, kind, c.Name))
				}
			}
		}
	}
	fill("container", pod.Spec.Containers)
	fill("init container", pod.Spec.InitContainers)
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[limitedBy] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

// fillList puts into list what it lacks of from; set collects the names.
func fillList(list, from corev1.ResourceList, set *[]string) corev1.ResourceList {
	for name, q := range from {
		if _, own := list[name]; own {
			continue
		}
		if list == nil {
			list = corev1.ResourceList{}
		}
		list[name] = q.DeepCopy()
		if set != nil {
			*set = append(*set, string(name))
		}
	}
	return list
}

func boundPod(pod *corev1.Pod, item corev1.LimitRangeItem) (errs []error) {
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for _, c := range containers {
				errs = append(errs, bounds(item, c.Resources.Requests, c.Resources.Limits)...)
			}
		}
	case corev1.LimitTypePod:
		o := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		errs = bounds(item, resourcehelper.PodRequests(pod, o), resourcehelper.PodLimits(pod, o))
	}
	return errs
}

func claimBounds(claim *corev1.PersistentVolumeClaim, item corev1.LimitRangeItem) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		errs = append(errs, least(item, name, claim.Spec.Resources.Requests, nil)...)
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		most := item.Max[name]
		if q, ok := claim.Spec.Resources.Requests[name]; ok && q.Cmp(most) > 0 {
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, most.String(), q.String()))
		}
	}
	return errs
}

// bounds lists what is wrong with requests and limits by one item of a limit range.
func bounds(item corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		errs = append(errs, least(item, name, requests, limits)...)
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		most := item.Max[name]
		limit, limited := limits[name]
		request, requested := requests[name]
		switch {
		case !limited:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, item.Type, most.String()))
		case limit.Cmp(most) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, item.Type, most.String(), limit.String()))
		case requested && request.Cmp(most) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, most.String(), request.String()))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		most := item.MaxLimitRequestRatio[name]
		limit, request := limits[name], requests[name]
		ratio := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s max limit to request ratio per %s is %s, but "+format, append([]any{name, item.Type, most.String()}, args...)...))
		}
		switch {
		case request.IsZero():
			ratio("no request is specified or request is 0")
		case limit.IsZero():
			ratio("no limit is specified or limit is 0")
		default:
			if is := quotient(limit, request); is > quotient(most, resource.MustParse("1")) {
				ratio("provided ratio is %f", is)
			}
		}
	}
	return errs
}

func quotient(a, b resource.Quantity) float64 {
	return a.AsApproximateFloat64() / b.AsApproximateFloat64()
}

// least complains about what is below the item's minimum.
func least(item corev1.LimitRangeItem, name corev1.ResourceName, requests, limits corev1.ResourceList) []error {
	floor := item.Min[name]
	request, requested := requests[name]
	limit, limited := limits[name]
	switch {
	case !requested:
		return []error{fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, item.Type, floor.String())}
	case request.Cmp(floor) < 0:
		return []error{fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, item.Type, floor.String(), request.String())}
	case limited && limit.Cmp(floor) < 0:
		return []error{fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, item.Type, floor.String(), limit.String())}
	}
	return nil
}
