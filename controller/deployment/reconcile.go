package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// step is one decision in the making.
type step struct {
	View
	d                  *appsv1.Deployment
	replicas           int32
	surge, unavailable int32                // pods above and below replicas that a rollout may have
	sets               []*appsv1.ReplicaSet // all, oldest first
	current            *appsv1.ReplicaSet   // of the present template, or nil
	old                []*appsv1.ReplicaSet // the others
	edits              map[types.UID]*appsv1.ReplicaSet
	progress           *appsv1.DeploymentCondition // Progressing, as a step sets it itself
	todo               []controller.Action
}

// reconcile lists what to do next for the Deployment.
func reconcile(v View) []controller.Action {
	d := v.Deployment
	sel := selector(d)
	if sel == nil {
		if d.Status.ObservedGeneration >= d.Generation {
			return nil
		}
		out := *d
		out.Status.ObservedGeneration = d.Generation
		return []controller.Action{
			controller.Say(client.Reference(kind, d), corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required."),
			controller.Status(client.Deployments, &out, "selects everything")}
	}
	mine, adopt := controller.Claim(d, kind, sel, client.ReplicaSets, v.Sets, "")
	if len(adopt) > 0 && d.DeletionTimestamp == nil {
		return adopt
	}
	s := newStep(v, mine)
	if d.DeletionTimestamp != nil {
		return s.done(s.status())
	}
	s.pauseOrResume()
	if s.progress != nil {
		return s.done(s.status())
	}
	if s.current != nil {
		s.upkeep(s.current)
	}
	switch {
	case len(s.todo) > 0: // the Deployment itself is written: the rest is for the next look
		return s.todo
	case d.Spec.Paused:
		s.resize()
		s.cleanUp()
		return s.done(s.status())
	}
	if s.resized() {
		if s.resize(); len(s.edits) > 0 {
			return s.done(s.status())
		}
	}
	switch {
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		s.recreate()
	default:
		s.roll()
	}
	if s.rewritten() {
		return s.todo
	}
	return s.done(s.progressed(s.status()))
}

// failed tells in the status that a new ReplicaSet could not be made.
func failed(v View, a controller.Action, err error) []controller.Action {
	if a.Verb != controller.CreateObject {
		return nil
	}
	mine, _ := controller.Claim(v.Deployment, kind, selector(v.Deployment), client.ReplicaSets, v.Sets, "")
	s := newStep(v, mine)
	if s.Namesake != nil || !hasDeadline(s.d) {
		return nil
	}
	s.note(corev1.ConditionFalse, "ReplicaSetCreateError", fmt.Sprintf("Failed to create new replica set %q: %v", a.Object.GetName(), err))
	return s.done(s.status())
}

func newStep(v View, mine []*appsv1.ReplicaSet) *step {
	s := &step{View: v, d: v.Deployment, replicas: replicasOf(v.Deployment), edits: map[types.UID]*appsv1.ReplicaSet{}}
	if u := s.d.Spec.Strategy.RollingUpdate; u != nil && s.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		s.surge, s.unavailable = bounds(u, s.replicas)
	}
	s.sets = slices.Clone(mine)
	slices.SortFunc(s.sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, set := range s.sets {
		if s.current == nil && sameTemplate(s.d, set) {
			s.current = set
		} else {
			s.old = append(s.old, set)
		}
	}
	return s
}

// bounds resolves maxSurge, rounded up, and maxUnavailable, rounded down; both 0 would never move.
func bounds(u *appsv1.RollingUpdateDeployment, replicas int32) (surge, unavailable int32) {
	quarter := intstr.FromString("25%")
	up, err := intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(u.MaxSurge, quarter)), int(replicas), true)
	if err != nil {
		up = 0
	}
	down, err := intstr.GetScaledValueFromIntOrPercent(ptr.To(ptr.Deref(u.MaxUnavailable, quarter)), int(replicas), false)
	if err != nil {
		down = 0
	}
	if up <= 0 && down <= 0 {
		up, down = 0, 1
	}
	return int32(up), min(int32(down), replicas)
}

// roll is a step of the strategy RollingUpdate: the new set grows as far as maxSurge lets it, or else
// the old ones shrink as far as maxUnavailable lets them.
func (s *step) roll() {
	room := s.replicas + s.surge - sum(s.sets, footprint)
	if slices.ContainsFunc(s.sets, unseen) {
		room = 0
	}
	if s.current == nil {
		s.create(max(0, min(room, s.replicas)))
		return
	}
	have := size(s.current)
	switch {
	case have > s.replicas:
		s.scale(s.current, s.replicas)
	case have < s.replicas && room > 0:
		s.scale(s.current, have+min(room, s.replicas-have))
	}
	if len(s.edits) > 0 {
		return
	}
	s.shrinkOld()
	if len(s.edits) == 0 && s.complete(s.status()) {
		s.cleanUp()
	}
}

// shrinkOld takes pods from old sets: first those that are not available and so not missed, then as many
// others as the available ones exceed what must stay.
func (s *step) shrinkOld() {
	least := s.replicas - s.unavailable
	spare := sum(s.sets, size) - least - (size(s.current) - available(s.current))
	if spare <= 0 {
		return
	}
	left := map[*appsv1.ReplicaSet]int32{}
	for _, set := range s.old {
		broken := max(0, min(spare, size(set)-available(set)))
		left[set] = size(set) - broken
		spare -= broken
	}
	spare = min(spare, sum(s.sets, available)-least)
	for _, set := range s.old {
		if spare > 0 {
			n := min(spare, left[set])
			left[set] -= n
			spare -= n
		}
		s.scale(set, left[set])
	}
}

// recreate is a step of the strategy Recreate: all old pods go, then the new ones come.
func (s *step) recreate() {
	for _, set := range s.old {
		s.scale(set, 0)
	}
	if len(s.edits) > 0 {
		return
	}
	for _, p := range s.Pods {
		if !pods.Finished(p) && slices.ContainsFunc(s.old, func(set *appsv1.ReplicaSet) bool { return owns(set, p) }) {
			return // it comes back when that pod has ended
		}
	}
	switch {
	case s.current == nil:
		s.create(s.replicas)
	case size(s.current) != s.replicas:
		s.scale(s.current, s.replicas)
	case s.complete(s.status()):
		s.cleanUp()
	}
}

func owns(set *appsv1.ReplicaSet, p *corev1.Pod) bool {
	return slices.ContainsFunc(p.OwnerReferences, func(r v1.OwnerReference) bool { return r.UID == set.UID && ptr.Deref(r.Controller, false) })
}

// resized tells whether spec.replicas changed since the sets were scaled.
func (s *step) resized() bool {
	return slices.ContainsFunc(s.sets, func(set *appsv1.ReplicaSet) bool {
		n := number(set, desiredKey)
		return size(set) > 0 && n >= 0 && n != int64(s.replicas)
	})
}

// resize brings the sets to a new spec.replicas without going on with the rollout: each keeps its share.
// Source: Kubernetes documentation, Deployments, "Proportional scaling".
func (s *step) resize() {
	active := slices.DeleteFunc(slices.Clone(s.sets), func(set *appsv1.ReplicaSet) bool { return size(set) == 0 })
	switch {
	case len(active) == 0 && s.current != nil:
		s.scale(s.current, s.replicas)
		return
	case len(active) == 0 && len(s.old) > 0:
		s.scale(s.old[len(s.old)-1], s.replicas)
		return
	case len(active) == 1:
		s.scale(active[0], s.replicas)
		return
	case s.current != nil && size(s.current) == s.replicas && number(s.current, desiredKey) == int64(s.replicas) && s.current.Status.AvailableReplicas == s.replicas:
		for _, set := range s.old {
			s.scale(set, 0)
		}
		return
	}
	if len(active) == 0 || s.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return
	}
	most := int32(0)
	if s.replicas > 0 {
		most = s.replicas + s.surge
	}
	diff := most - sum(active, size)
	slices.SortStableFunc(active, func(a, b *appsv1.ReplicaSet) int { // largest first; then who gains is young, who loses is old
		age := a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		if diff > 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(size(b), size(a)), age)
	})
	left, target := diff, make([]int32, len(active))
	for i, set := range active {
		share := s.share(set)
		if diff > 0 {
			share = max(0, min(share, left))
		} else {
			share = min(0, max(share, left))
		}
		target[i], left = size(set)+share, left-share
	}
	target[0] += left
	for i, set := range active {
		s.scale(set, max(0, target[i]))
	}
}

// share is by how much the set grows or shrinks to keep its part of the whole.
func (s *step) share(set *appsv1.ReplicaSet) int32 {
	if s.replicas == 0 {
		return -size(set)
	}
	was := number(set, maxKey)
	if was <= 0 {
		was = int64(max(1, s.d.Status.Replicas))
	}
	whole := int64(size(set)) * int64(s.replicas+s.surge)
	return int32((2*whole+was)/(2*was)) - size(set) // rounded
}

// create makes the set of the present template, under a new name if somebody else has its name.
func (s *step) create(replicas int32) {
	if s.Namesake != nil {
		out := *s.d
		out.Status.CollisionCount = ptr.To(ptr.Deref(s.d.Status.CollisionCount, 0) + 1)
		s.todo = append(s.todo, controller.Status(client.Deployments, &out, "the name "+s.Namesake.Name+" is taken"))
		return
	}
	revision := int64(1)
	for _, set := range s.old {
		revision = max(revision, revisionOf(set)+1)
	}
	if s.setRevision(revision) {
		return
	}
	set := newSet(s.d, replicas, s.replicas+s.surge, revision)
	fail := controller.Event{Type: corev1.EventTypeWarning, Reason: "ReplicaSetCreateError", Message: "Failed to create new replica set \"" + set.Name + "\": %e"}
	done := controller.Event{}
	if replicas > 0 {
		done = controller.Event{Type: corev1.EventTypeNormal, Reason: "ScalingReplicaSet", Message: fmt.Sprintf("Scaled up replica set %s from 0 to %d", set.Name, replicas)}
	}
	s.todo = append(s.todo, controller.Create(client.ReplicaSets, set, "new pod template").With(client.Reference(kind, s.d), done, fail))
	if hasDeadline(s.d) {
		s.note(corev1.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", set.Name))
	}
}

// setRevision writes the Deployment's revision, if it is another one.
func (s *step) setRevision(revision int64) bool {
	text := strconv.FormatInt(revision, 10)
	if s.d.Annotations[revisionKey] == text {
		return false
	}
	out := *s.d
	out.Annotations = with(out.Annotations, revisionKey, text)
	s.todo = append(s.todo, controller.Update(client.Deployments, &out, "revision "+text))
	return true
}

// upkeep keeps revision, annotations and minReadySeconds of the current set right.
func (s *step) upkeep(set *appsv1.ReplicaSet) {
	newest := int64(0)
	for _, o := range s.old {
		newest = max(newest, revisionOf(o))
	}
	revision := revisionOf(set)
	if revision <= newest { // an old template came back, or the set was adopted
		revision = newest + 1
	}
	if s.setRevision(revision) {
		return
	}
	if revision != revisionOf(set) {
		noteRevision(s.edit(set), revision)
	}
	if want := handedDown(s.d, set.Annotations); !maps.Equal(want, set.Annotations) {
		e := s.edit(set)
		e.Annotations = handedDown(s.d, e.Annotations)
	}
	if set.Spec.MinReadySeconds != s.d.Spec.MinReadySeconds {
		s.edit(set).Spec.MinReadySeconds = s.d.Spec.MinReadySeconds
	}
	if len(s.edits) > 0 && hasDeadline(s.d) && condition(s.d.Status, appsv1.DeploymentProgressing) == nil {
		s.note(corev1.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", set.Name))
	}
}
