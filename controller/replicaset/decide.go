package replicaset

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"

	"github.com/lighter-k8s/lighter/api/equal"
)

// burst is the most pods that one decision creates or deletes.
const burst = 500

// Decide lists what to do so that the set has spec.replicas active pods and its status tells so.
func Decide(v View) (todo []controller.Action) {
	sel := selector(v.Set)
	if sel == nil {
		return nil // the API accepts no such set
	}
	unfinished := slices.DeleteFunc(slices.Clone(v.Pods), pods.Finished)
	mine, todo := controller.Claim(v.Set, v.Kind, sel, client.Pods, unfinished, "")
	live := slices.DeleteFunc(slices.Clone(mine), func(p *corev1.Pod) bool { return !pods.Active(p) })
	want, have, made := v.replicas(), len(live), 0
	if v.Set.DeletionTimestamp == nil {
		reason := fmt.Sprintf("%d of %d replicas", have, want)
		for made < min(want-have, burst) {
			made++
			todo = append(todo, pods.Create(pods.New(&v.Set.Spec.Template, v.Set, v.Kind), v.ref(), reason))
		}
		if have > want {
			crowd := v.Crowd
			if crowd == nil {
				crowd = pods.Crowd(live)
			}
			live = pods.LeastUseful(live, crowd, v.Now)
			n := min(have-want, burst)
			for _, p := range live[:n] {
				todo = append(todo, pods.Delete(p, v.ref(), reason))
			}
			live = live[n:]
		}
	}
	// The status is written after all that and tells of the world as it then is: who reads that it is of the
	// newest generation must find no pod in it that is already on its way out.
	s, soon := status(v, mine, live)
	s.Replicas += int32(made)
	s.FullyLabeledReplicas += int32(made)
	s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c appsv1.ReplicaSetCondition) bool {
		return c.Type == appsv1.ReplicaSetReplicaFailure
	})
	return append(append(todo, writeStatus(v, s)...), soon...)
}

// Failed tells in the status that pods could not be created or deleted.
func Failed(v View, a controller.Action, err error) []controller.Action {
	if a.Resource.GroupVersionResource != client.Pods.GroupVersionResource || a.Verb == controller.PatchObject {
		return nil
	}
	reason := "FailedCreate"
	if a.Verb == controller.DeleteObject {
		reason = "FailedDelete"
	}
	mine, _ := controller.Claim(v.Set, v.Kind, selector(v.Set), client.Pods, v.Pods, "")
	live := slices.DeleteFunc(slices.Clone(mine), func(p *corev1.Pod) bool { return !pods.Active(p) })
	s, _ := status(v, mine, live)
	s.Conditions = slices.Clone(s.Conditions)
	c := appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: v1.NewTime(v.Now), Reason: reason, Message: err.Error()}
	if i := slices.IndexFunc(s.Conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }); i < 0 {
		s.Conditions = append(s.Conditions, c)
	} // else: the first failure stays until there is none
	return writeStatus(v, s)
}

// status counts; soon brings the set back when the next ready pod becomes available.
func status(v View, mine, live []*corev1.Pod) (s appsv1.ReplicaSetStatus, soon []controller.Action) {
	s = v.Set.Status
	s.ObservedGeneration = v.Set.Generation
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = int32(len(live)), 0, 0, 0
	template := labels.Set(v.Set.Spec.Template.Labels).AsSelectorPreValidated()
	var wait controller.Action
	for _, p := range live {
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		if !pods.Ready(p) {
			continue
		}
		s.ReadyReplicas++
		if ok, left := pods.Available(p, v.Set.Spec.MinReadySeconds, v.Now); ok {
			s.AvailableReplicas++
		} else if wait.Requeue == 0 || left < wait.Requeue {
			wait = controller.After(left)
		}
	}
	leaving := int32(0)
	for _, p := range mine {
		if pods.Terminating(p) {
			leaving++
		}
	}
	s.TerminatingReplicas = ptr.To(leaving)
	if wait.Requeue > 0 {
		soon = append(soon, wait)
	}
	return s, soon
}

func writeStatus(v View, s appsv1.ReplicaSetStatus) []controller.Action {
	if equal.Semantic(s, v.Set.Status) {
		return nil
	}
	set := *v.Set
	set.Status = s
	return []controller.Action{controller.Status(client.ReplicaSets, &set, "status")}
}
