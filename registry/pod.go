package registry

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/watch"
)

// pods is a request for the pod that a request for one of its subresources is about.
func (r *Registry) pods(req Request, name string) Request {
	req.Info, req.Name, req.Subresource, req.system = r.State.Info("pods"), name, "", true
	return req
}

// bind gives a pod its node, once. It answers pods/binding and the older bindings.
func (r *Registry) bind(ctx context.Context, req Request, in runtime.Object) (runtime.Object, error) {
	b := in.(*corev1.Binding)
	name := req.Name
	if name == "" {
		name = b.Name
	}
	gk := corev1.SchemeGroupVersion.WithKind("Binding").GroupKind()
	switch {
	case b.Name != name:
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	case b.Namespace != "" && b.Namespace != req.Namespace:
		return nil, otherNamespace()
	case name == "":
		return nil, apierrors.NewBadRequest("Name parameter required.")
	case len(path.IsValidPathSegmentName(name)) > 0:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", name, strings.Join(path.IsValidPathSegmentName(name), ";")))
	case b.Target.Kind != "" && b.Target.Kind != "Node":
		return nil, apierrors.NewInvalid(gk, name, field.ErrorList{field.NotSupported(field.NewPath("target", "kind"), b.Target.Kind, []string{"Node", "<empty>"})})
	case b.Target.Name == "":
		return nil, apierrors.NewInvalid(gk, name, field.ErrorList{field.Required(field.NewPath("target", "name"), "")})
	}
	if msgs := validation.NameIsDNSSubdomain(b.Target.Name, false); len(msgs) > 0 {
		return nil, apierrors.NewInvalid(gk, name, field.ErrorList{field.Invalid(field.NewPath("target", "name"), b.Target.Name, msgs[0])})
	}
	q := r.pods(req, name)
	q.Subresource = "binding"
	_, err := r.Update(ctx, q, func(_ context.Context, old api.Object) (api.Object, error) {
		pod := old.DeepCopyObject().(*corev1.Pod)
		conflict := func(format string, args ...any) error {
			return apierrors.NewConflict(corev1.Resource("pods/binding"), name, fmt.Errorf(format, args...))
		}
		switch {
		case b.UID != "" && b.UID != pod.UID:
			return nil, conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID)
		case pod.DeletionTimestamp != nil:
			return nil, conflict("pod %s is being deleted, cannot be assigned to a host", pod.Name)
		case pod.Spec.NodeName != "":
			return nil, conflict("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
		case len(pod.Spec.SchedulingGates) > 0:
			return nil, conflict("pod %v has non-empty .spec.schedulingGates", pod.Name)
		}
		pod.Spec.NodeName = b.Target.Name
		for k, v := range b.Annotations {
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, k, v)
		}
		for k, v := range b.Labels {
			metav1.SetMetaDataLabel(&pod.ObjectMeta, k, v)
		}
		pod.Status.Conditions = setCondition(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(r.Now().UTC())})
		return pod, nil
	})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

func setCondition(conditions []corev1.PodCondition, c corev1.PodCondition) []corev1.PodCondition {
	for n := range conditions {
		if conditions[n].Type == c.Type {
			conditions[n] = c
			return conditions
		}
	}
	return append(conditions, c)
}

// evict deletes a pod if every disruption budget that covers it allows one more disruption.
// Source: Kubernetes documentation, API-initiated Eviction.
func (r *Registry) evict(ctx context.Context, req Request, in runtime.Object) (runtime.Object, error) {
	e := in.(*policyv1.Eviction)
	switch {
	case e.Name != req.Name:
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	case e.Namespace != "" && e.Namespace != req.Namespace:
		return nil, otherNamespace()
	}
	q := r.pods(req, req.Name)
	_, old, err := r.current(ctx, q)
	if err != nil {
		return nil, err
	}
	pod := old.(*corev1.Pod)
	o := metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		o = *e.DeleteOptions
	}
	finished := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodPending
	if !finished && pod.DeletionTimestamp == nil {
		if err := r.disrupt(ctx, req, pod); err != nil {
			return nil, err
		}
	}
	status := q
	status.Subresource = "status"
	if _, err := r.Update(ctx, status, func(_ context.Context, old api.Object) (api.Object, error) {
		pod := old.DeepCopyObject().(*corev1.Pod)
		pod.Status.Conditions = setCondition(pod.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.NewTime(r.Now().UTC())})
		return pod, nil
	}); err != nil {
		return nil, err
	}
	if _, _, err := r.Delete(ctx, q, o); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// disrupt takes one allowed disruption from the budget that covers the pod, if there is one.
func (r *Registry) disrupt(ctx context.Context, req Request, pod *corev1.Pod) error {
	info := r.State.Info("poddisruptionbudgets")
	if err := r.State.Now(ctx); err != nil {
		return unavailable(err)
	}
	items, _ := r.State.List(info, watch.Filter{Namespace: pod.Namespace})
	var budget *policyv1.PodDisruptionBudget
	for _, item := range items {
		o, err := item.Object()
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		b := o.(*policyv1.PodDisruptionBudget)
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || !sel.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if budget != nil {
			return apierrors.NewInternalError(fmt.Errorf("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."))
		}
		budget = b
	}
	if budget == nil {
		return nil
	}
	q := req
	q.Info, q.Name, q.Subresource, q.system = info, budget.Name, "status", true
	_, err := r.Update(ctx, q, func(_ context.Context, old api.Object) (api.Object, error) {
		b := old.DeepCopyObject().(*policyv1.PodDisruptionBudget)
		if b.Status.ObservedGeneration < b.Generation || b.Status.DisruptionsAllowed <= 0 {
			err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
			err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause,
				Message: fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)})
			return nil, err
		}
		b.Status.DisruptionsAllowed--
		if b.Status.DisruptedPods == nil {
			b.Status.DisruptedPods = map[string]metav1.Time{}
		}
		b.Status.DisruptedPods[pod.Name] = metav1.NewTime(r.Now().UTC())
		return b, nil
	})
	return err
}
