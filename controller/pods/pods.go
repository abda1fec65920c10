// Package pods is what the workload controllers share about pods: making one from
// a template, telling its state, and saying which is missed least.
package pods

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// New makes a pod of the template, controlled by owner and named after it by the server.
func New(template *corev1.PodTemplateSpec, owner v1.Object, gvk schema.GroupVersionKind) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: v1.ObjectMeta{
			Namespace: owner.GetNamespace(), GenerateName: owner.GetName() + "-",
			Labels: maps.Clone(template.Labels), Annotations: maps.Clone(template.Annotations),
			Finalizers:      slices.Clone(template.Finalizers),
			OwnerReferences: []v1.OwnerReference{*v1.NewControllerRef(owner, gvk)},
		},
		Spec: *template.Spec.DeepCopy(),
	}
}

// Create is the action that makes the pod, with the events that its owner gets.
func Create(pod *corev1.Pod, on corev1.ObjectReference, reason string) controller.Action {
	return controller.Create(client.Pods, pod, reason).With(on,
		controller.Event{Type: corev1.EventTypeNormal, Reason: "SuccessfulCreate", Message: "Created pod: %o"},
		controller.Event{Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: "Error creating: %e"})
}

// Delete is the action that deletes the pod, with the events that its owner gets.
func Delete(pod *corev1.Pod, on corev1.ObjectReference, reason string) controller.Action {
	return controller.Delete(client.Pods, pod, reason).With(on,
		controller.Event{Type: corev1.EventTypeNormal, Reason: "SuccessfulDelete", Message: "Deleted pod: %o"},
		controller.Event{Type: corev1.EventTypeWarning, Reason: "FailedDelete", Message: "Error deleting: %e"})
}

// Finished tells whether all the pod's containers have ended for good.
func Finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Active tells whether the pod runs or will: neither finished nor being deleted.
func Active(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp == nil }

// Terminating tells whether the pod still runs although it is being deleted.
func Terminating(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp != nil }

// Condition returns the pod's condition of that type, or nil.
func Condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready tells whether the pod's condition Ready is true.
func Ready(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Available tells whether the pod has been ready for minReady seconds; if it is ready but not for so
// long, left is how long that still takes.
func Available(p *corev1.Pod, minReady int32, now time.Time) (ok bool, left time.Duration) {
	c := Condition(p, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return false, 0
	}
	if minReady <= 0 {
		return true, 0
	}
	at := c.LastTransitionTime.Add(time.Duration(minReady) * time.Second)
	if c.LastTransitionTime.IsZero() || at.After(now) {
		return false, max(at.Sub(now), time.Millisecond)
	}
	return true, 0
}

// Adopters lists the keys of those owners in the orphan's namespace whose selector matches it.
func Adopters[O, T client.Object](owners client.TypedView[T], selector func(T) labels.Selector) func(O) []string {
	return func(orphan O) (keys []string) {
		for _, o := range owners.List(orphan.GetNamespace()) {
			if s := selector(o); s != nil && s.Matches(labels.Set(orphan.GetLabels())) {
				keys = append(keys, controller.KeyOf(o))
			}
		}
		return keys
	}
}

// Selector reads a label selector; nil when it is missing, bad or would match everything.
func Selector(s *v1.LabelSelector) labels.Selector {
	if s == nil {
		return nil
	}
	sel, err := v1.LabelSelectorAsSelector(s)
	if err != nil || sel.Empty() {
		return nil
	}
	return sel
}
