package disruption

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// patience is how long an eviction that was allowed counts although its pod is still there.
// Source: the API's PodDisruptionBudgetStatus, disruptedPods.
const patience = 2 * time.Minute

// Decide brings the budget's status up to date.
func Decide(v View) (todo []controller.Action) {
	b := *v.Budget
	s := &b.Status
	var again controller.Action
	s.DisruptedPods, again = disrupted(v)
	s.CurrentHealthy = 0
	for _, p := range v.Pods {
		if _, going := s.DisruptedPods[p.Name]; !going && p.DeletionTimestamp == nil && pods.Ready(p) {
			s.CurrentHealthy++
		}
	}
	var err error
	s.ExpectedPods, s.DesiredHealthy, err = expected(v)
	s.DisruptionsAllowed = max(0, s.CurrentHealthy-s.DesiredHealthy)
	if s.ExpectedPods <= 0 || err != nil {
		s.DisruptionsAllowed = 0
	}
	s.ObservedGeneration = b.Generation
	c := metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason, ObservedGeneration: b.Generation}
	switch {
	case err != nil:
		c.Reason, c.Message = policyv1.SyncFailedReason, err.Error()
	case s.DisruptionsAllowed > 0:
		c.Status, c.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	s.Conditions = with(s.Conditions, c, v.Now)
	if !equality.Semantic.DeepEqual(*s, v.Budget.Status) {
		on := client.Reference(policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), v.Budget)
		a := controller.Status(client.PodDisruptionBudgets, &b, "status")
		if len(v.Pods) == 0 {
			a = a.With(on, controller.Event{Type: corev1.EventTypeNormal, Reason: "NoPods", Message: "No matching pods found"}, controller.Event{})
		}
		if err != nil {
			todo = append(todo, controller.Say(on, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: "+err.Error()))
		}
		todo = append(todo, a)
	}
	if again.Requeue > 0 {
		todo = append(todo, again)
	}
	return todo
}

// disrupted are the evictions that still count: allowed lately, and the pod does not show it yet.
func disrupted(v View) (out map[string]metav1.Time, again controller.Action) {
	for name, at := range v.Budget.Status.DisruptedPods {
		left := at.Add(patience).Sub(v.Now)
		there := slices.ContainsFunc(v.Pods, func(p *corev1.Pod) bool { return p.Name == name && p.DeletionTimestamp == nil })
		if !there || left <= 0 {
			continue
		}
		if out == nil {
			out = map[string]metav1.Time{}
		}
		out[name] = at
		if again.Requeue == 0 || left < again.Requeue {
			again = controller.After(left)
		}
	}
	return out, again
}

// expected is how many pods there are to be, and how many of them healthy. Source: Kubernetes documentation,
// Specifying a Disruption Budget for your Application: percentages round up.
func expected(v View) (count, healthy int32, err error) {
	lowest, most := v.Budget.Spec.MinAvailable, v.Budget.Spec.MaxUnavailable
	if most == nil && (lowest == nil || lowest.Type == intstr.Int) {
		if lowest != nil {
			healthy = lowest.IntVal
		}
		return int32(len(v.Pods)), healthy, nil
	}
	for _, n := range v.Scales {
		count += n
	}
	if len(v.Scales) == 0 && len(v.Alone) > 0 {
		return 0, 0, fmt.Errorf("found no controllers for pods %q", v.Alone)
	}
	of := lowest
	if most != nil {
		of = most
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(of, int(count), true)
	if err != nil {
		return 0, 0, err
	}
	if most != nil {
		return count, max(0, count-int32(n)), nil
	}
	return count, int32(n), nil
}

// with is the list with the condition as it is now.
func with(list []metav1.Condition, c metav1.Condition, now time.Time) []metav1.Condition {
	out := slices.Clone(list)
	c.LastTransitionTime = metav1.NewTime(now)
	i := slices.IndexFunc(out, func(o metav1.Condition) bool { return o.Type == c.Type })
	if i < 0 {
		return append(out, c)
	}
	if out[i].Status == c.Status {
		c.LastTransitionTime = out[i].LastTransitionTime
	}
	out[i] = c
	return out
}
