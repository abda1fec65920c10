package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

// Priority turns a pod's priority class into its number, and lets only one class be the
// default. Source: Kubernetes documentation, Pod Priority and Preemption.
func Priority(classes client.TypedView[*schedulingv1.PriorityClass]) Plugin {
	return Plugin{
		Name: "Priority",
		Mutate: func(_ context.Context, a *Attributes) error {
			if a.Operation != Create && a.Operation != Update || a.Resource() != "pods" {
				return nil
			}
			pod := a.Object.(*corev1.Pod)
			if a.Operation == Update {
				old := a.Old.(*corev1.Pod)
				if pod.Spec.Priority == nil {
					pod.Spec.Priority = old.Spec.Priority
				}
				if pod.Spec.PreemptionPolicy == nil {
					pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
				}
				return nil
			}
			refuse := func(format string, args ...any) error {
				return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf(format, args...))
			}
			priority, policy := int32(0), corev1.PreemptLowerPriority
			if name := pod.Spec.PriorityClassName; name != "" {
				class, ok := classes.Get("", name)
				if !ok {
					return refuse("no PriorityClass with name %s was found", name)
				}
				priority = class.Value
				if class.PreemptionPolicy != nil {
					policy = *class.PreemptionPolicy
				}
			} else if class := defaultClass(classes); class != nil {
				pod.Spec.PriorityClassName, priority = class.Name, class.Value
				if class.PreemptionPolicy != nil {
					policy = *class.PreemptionPolicy
				}
			}
			if pod.Spec.Priority != nil && *pod.Spec.Priority != priority {
				return refuse("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, priority)
			}
			if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
				return refuse("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy)
			}
			pod.Spec.Priority, pod.Spec.PreemptionPolicy = &priority, &policy
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			if a.Resource() != "priorityclasses.scheduling.k8s.io" || a.Operation == Delete {
				return nil
			}
			class := a.Object.(*schedulingv1.PriorityClass)
			if !class.GlobalDefault {
				return nil
			}
			if d := defaultClass(classes); d != nil && d.Name != class.Name {
				return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("PriorityClass %s is already marked as default. Only one default can exist", d.Name))
			}
			return nil
		},
	}
}

// defaultClass is the class of pods that name none: of several defaults, the lowest.
func defaultClass(classes client.TypedView[*schedulingv1.PriorityClass]) (found *schedulingv1.PriorityClass) {
	for _, c := range classes.List("") {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}
