package deployment

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Reasons of the condition Progressing that decide what comes next.
const (
	allAvailable = "NewReplicaSetAvailable"
	timedOut     = "ProgressDeadlineExceeded"
	paused       = "DeploymentPaused"
	resumed      = "DeploymentResumed"
)

// edit gives the copy of the set that this step writes.
func (s *step) edit(set *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if s.edits[set.UID] == nil {
		s.edits[set.UID] = set.DeepCopy()
	}
	return s.edits[set.UID]
}

// scale gives the set n pods, if it has not, and notes for which size of the Deployment.
func (s *step) scale(set *appsv1.ReplicaSet, n int32) {
	sized := number(set, desiredKey) == int64(s.replicas) && number(set, maxKey) == int64(s.replicas+s.surge)
	if size(set) == n && (sized || n == 0) {
		return
	}
	e := s.edit(set)
	e.Spec.Replicas = ptr.To(n)
	noteSize(e, s.replicas, s.replicas+s.surge)
}

// cleanUp deletes the oldest sets beyond revisionHistoryLimit.
func (s *step) cleanUp() {
	limit := max(0, ptr.Deref(s.d.Spec.RevisionHistoryLimit, math.MaxInt32))
	if limit == math.MaxInt32 {
		return
	}
	old := slices.DeleteFunc(slices.Clone(s.old), func(set *appsv1.ReplicaSet) bool { return set.DeletionTimestamp != nil })
	slices.SortStableFunc(old, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	for _, set := range old[:max(0, len(old)-int(limit))] {
		if set.Status.Replicas == 0 && size(set) == 0 && set.Generation <= set.Status.ObservedGeneration {
			s.todo = append(s.todo, controller.Delete(client.ReplicaSets, set, "beyond revisionHistoryLimit"))
		}
	}
}

// rewritten tells whether the step already wrote the Deployment: its status waits for the next look.
func (s *step) rewritten() bool {
	return slices.ContainsFunc(s.todo, func(a controller.Action) bool {
		return a.Resource.GroupVersionResource == client.Deployments.GroupVersionResource
	})
}

// done adds the edited sets, in order and with their events, and the status to the step's actions.
func (s *step) done(status appsv1.DeploymentStatus) []controller.Action {
	for _, set := range s.sets {
		e := s.edits[set.UID]
		if e == nil {
			continue
		}
		a := controller.Update(client.ReplicaSets, e, fmt.Sprintf("%d of %d replicas", size(e), s.replicas))
		if from, to := size(set), size(e); from != to {
			direction := "up"
			if to < from {
				direction = "down"
			}
			a = a.With(client.Reference(kind, s.d), controller.Event{Type: corev1.EventTypeNormal, Reason: "ScalingReplicaSet",
				Message: fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, set.Name, from, to)}, controller.Event{})
		}
		s.todo = append(s.todo, a)
	}
	if !equality.Semantic.DeepEqual(status, s.d.Status) {
		out := *s.d
		out.Status = status
		s.todo = append(s.todo, controller.Status(client.Deployments, &out, "status"))
	}
	return append(s.todo, s.deadline(status)...)
}

// status counts, and judges availability.
func (s *step) status() appsv1.DeploymentStatus {
	st := appsv1.DeploymentStatus{ObservedGeneration: s.d.Generation, CollisionCount: s.d.Status.CollisionCount,
		Conditions: slices.Clone(s.d.Status.Conditions), TerminatingReplicas: ptr.To[int32](0)}
	for _, set := range s.sets {
		st.Replicas += set.Status.Replicas
		st.ReadyReplicas += set.Status.ReadyReplicas
		st.AvailableReplicas += set.Status.AvailableReplicas
		if t := set.Status.TerminatingReplicas; t == nil {
			st.TerminatingReplicas = nil // one of them is not known
		} else if st.TerminatingReplicas != nil {
			*st.TerminatingReplicas += *t
		}
	}
	if s.current != nil {
		st.UpdatedReplicas = s.current.Status.Replicas
	}
	st.UnavailableReplicas = max(0, sum(s.sets, size)-st.AvailableReplicas)
	if st.AvailableReplicas >= s.replicas-s.unavailable {
		set(&st, s.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability."))
	} else {
		set(&st, s.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability."))
	}
	if s.progress != nil {
		set(&st, *s.progress)
	}
	return st
}

// complete tells whether the status is that of a rollout that is over.
func (s *step) complete(st appsv1.DeploymentStatus) bool {
	return st.UpdatedReplicas == s.replicas && st.Replicas == s.replicas && st.AvailableReplicas == s.replicas && st.ObservedGeneration >= s.d.Generation
}

// progressed judges whether the rollout moves on, is over, or takes longer than progressDeadlineSeconds; and
// takes over why pods cannot be made. Source: Kubernetes documentation, Deployments, "Deployment status".
func (s *step) progressed(st appsv1.DeploymentStatus) appsv1.DeploymentStatus {
	what := fmt.Sprintf("Deployment %q", s.d.Name)
	if s.current != nil {
		what = fmt.Sprintf("ReplicaSet %q", s.current.Name)
	}
	was, before := condition(st, appsv1.DeploymentProgressing), s.d.Status
	over := was != nil && was.Reason == allAvailable && st.Replicas == st.UpdatedReplicas
	switch {
	case !hasDeadline(s.d):
		drop(&st, appsv1.DeploymentProgressing)
	case over || s.progress != nil:
	case s.complete(st):
		set(&st, s.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, allAvailable, what+" has successfully progressed."))
	case st.UpdatedReplicas > before.UpdatedReplicas || st.Replicas-st.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		st.ReadyReplicas > before.ReadyReplicas || st.AvailableReplicas > before.AvailableReplicas:
		c := s.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", what+" is progressing.")
		if was != nil && was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
		drop(&st, appsv1.DeploymentProgressing) // so that its lastUpdateTime moves, whatever it was
		set(&st, c)
	case was != nil && s.late(*was):
		set(&st, s.condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, timedOut, what+" has timed out progressing."))
	}
	drop(&st, appsv1.DeploymentReplicaFailure)
	sets := s.old
	if s.current != nil {
		sets = append([]*appsv1.ReplicaSet{s.current}, s.old...)
	}
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && condition(st, appsv1.DeploymentReplicaFailure) == nil {
				set(&st, appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime})
			}
		}
	}
	return st
}

// late tells whether the rollout has not moved for progressDeadlineSeconds.
func (s *step) late(was appsv1.DeploymentCondition) bool {
	switch was.Reason {
	case allAvailable:
		return false
	case timedOut:
		return true
	}
	return s.Now.After(was.LastUpdateTime.Add(time.Duration(*s.d.Spec.ProgressDeadlineSeconds) * time.Second))
}

// deadline brings the Deployment back when progressDeadlineSeconds will be over.
func (s *step) deadline(st appsv1.DeploymentStatus) []controller.Action {
	c := condition(st, appsv1.DeploymentProgressing)
	if s.d.DeletionTimestamp != nil || s.d.Spec.Paused || !hasDeadline(s.d) || c == nil || c.Reason == allAvailable || c.Reason == timedOut || s.complete(st) {
		return nil
	}
	at := c.LastUpdateTime.Add(time.Duration(*s.d.Spec.ProgressDeadlineSeconds)*time.Second + time.Second)
	return []controller.Action{controller.After(max(time.Second, at.Sub(s.Now)))}
}

// pauseOrResume notes in Progressing that the rollout stands still, or no longer does; the deadline then begins anew.
func (s *step) pauseOrResume() {
	was := condition(s.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(s.d) || was != nil && was.Reason == timedOut {
		return
	}
	isPaused := was != nil && was.Reason == paused
	if s.d.Spec.Paused && !isPaused {
		s.note(corev1.ConditionUnknown, paused, "Deployment is paused")
	} else if !s.d.Spec.Paused && isPaused {
		s.note(corev1.ConditionUnknown, resumed, "Deployment is resumed")
	}
}

func (s *step) note(status corev1.ConditionStatus, reason, message string) {
	c := s.condition(appsv1.DeploymentProgressing, status, reason, message)
	s.progress = &c
}

func (s *step) condition(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	now := v1.NewTime(s.Now)
	return appsv1.DeploymentCondition{Type: t, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func condition(st appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	if i := slices.IndexFunc(st.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t }); i >= 0 {
		return &st.Conditions[i]
	}
	return nil
}

// set puts the condition in, unless there is one of the same status and reason.
func set(st *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if was := condition(*st, c.Type); was != nil {
		if was.Status == c.Status && was.Reason == c.Reason {
			return
		}
		if was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
	}
	drop(st, c.Type)
	st.Conditions = append(st.Conditions, c)
}

func drop(st *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	st.Conditions = slices.DeleteFunc(slices.Clone(st.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}
