package statefulset

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/revisions"
)

// burst is the most pods that one decision creates.
const burst = 500

// decision is one in the making.
type decision struct {
	View
	ref             corev1.ObjectReference
	start, replicas int
	ordered         bool
	current, update *appsv1.ControllerRevision // what pods have, and what they are to have
	wanted          map[int]*corev1.Pod        // by ordinal, start to start+replicas-1; missing: not there
	condemned       []*corev1.Pod              // of other ordinals, highest first
	todo            []controller.Action
	again           time.Duration // 0: not by itself
}

// reconcile lists what to do so that the set has one pod of the right revision for each of its ordinals.
func reconcile(v View) []controller.Action {
	set, sel := v.Set, selector(v.Set)
	if sel == nil || set.DeletionTimestamp != nil {
		return nil
	}
	members := slices.DeleteFunc(slices.Clone(v.Pods), func(p *corev1.Pod) bool { _, ok := ordinalOf(set, p.Name); return !ok })
	mine, adopt := controller.Claim(set, kind, sel, client.Pods, members, "")
	past, adoptPast := controller.Claim(set, kind, sel, client.ControllerRevisions, v.Revisions, "")
	past = revisions.Sort(past)
	update, history, taken := owner(set).Current(past, v.Namesake)
	if taken {
		out := *set
		out.Status.CollisionCount = ptr.To(ptr.Deref(set.Status.CollisionCount, 0) + 1)
		return []controller.Action{controller.Status(client.StatefulSets, &out, "the name "+v.Namesake.Name+" is taken")}
	}
	d := &decision{View: v, ref: client.Reference(kind, set), replicas: int(max(0, ptr.Deref(set.Spec.Replicas, 1))),
		ordered: set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement, current: update, update: update, wanted: map[int]*corev1.Pod{}}
	if set.Spec.Ordinals != nil {
		d.start = int(set.Spec.Ordinals.Start)
	}
	for _, r := range past {
		if r.Name == set.Status.CurrentRevision && r.Name != update.Name {
			d.current = r
		}
	}
	for _, p := range mine {
		if n, _ := ordinalOf(set, p.Name); n >= d.start && n < d.start+d.replicas {
			d.wanted[n] = p
		} else {
			d.condemned = append(d.condemned, p)
		}
	}
	slices.SortFunc(d.condemned, func(a, b *corev1.Pod) int { return cmp.Compare(d.ordinal(b), d.ordinal(a)) })
	d.todo = slices.Concat(adopt, adoptPast, history)
	if d.fill() && d.shrink() {
		d.roll()
	}
	used := func(r *appsv1.ControllerRevision) bool {
		return r.Name == d.current.Name || r.Name == d.update.Name || slices.ContainsFunc(mine, func(p *corev1.Pod) bool { return revisionOf(p) == r.Name })
	}
	d.todo = append(d.todo, revisions.Truncate(past, used, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))...)
	d.todo = append(d.todo, d.status(mine)...)
	if d.again > 0 {
		d.todo = append(d.todo, controller.After(d.again))
	}
	return d.todo
}

func (d *decision) ordinal(p *corev1.Pod) int { n, _ := ordinalOf(d.Set, p.Name); return n }

func revisionOf(p *corev1.Pod) string { return p.Labels[appsv1.StatefulSetRevisionLabel] }

// healthy tells whether the pod runs and is ready.
func healthy(p *corev1.Pod) bool {
	return p != nil && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && pods.Ready(p)
}

// available tells whether it has been so for minReadySeconds.
func (d *decision) available(p *corev1.Pod) bool {
	if !healthy(p) {
		return false
	}
	ok, left := pods.Available(p, d.Set.Spec.MinReadySeconds, d.Now)
	if left > 0 && (d.again == 0 || left < d.again) {
		d.again = left
	}
	return ok
}

// fill creates missing pods and replaces those that ended. With ordered pods it goes no further than
// the first that is not available, and then tells to wait. Source: Kubernetes documentation, StatefulSets,
// "Deployment and Scaling Guarantees".
func (d *decision) fill() bool {
	made := 0
	for n := d.start; n < d.start+d.replicas; n++ {
		p := d.wanted[n]
		switch {
		case p == nil:
			d.create(n)
			if made++; made == burst {
				return false
			}
		case p.DeletionTimestamp != nil:
		case p.Status.Phase == corev1.PodFailed:
			d.recreate(p, corev1.EventTypeWarning, "RecreatingFailedPod", "failed")
		case p.Status.Phase == corev1.PodSucceeded:
			d.recreate(p, corev1.EventTypeNormal, "RecreatingTerminatedPod", "terminated")
		default:
			d.name(p, n)
			if d.available(p) {
				continue
			}
		}
		if d.ordered {
			return false
		}
	}
	return true
}

// shrink deletes pods that are no longer wanted; ordered pods one by one, the highest first.
func (d *decision) shrink() bool {
	var unhealthy *corev1.Pod // the lowest
	for _, p := range d.condemned {
		if !healthy(p) {
			unhealthy = p
		}
	}
	for _, p := range d.condemned {
		if p.DeletionTimestamp != nil {
			if d.ordered {
				return false
			}
			continue
		}
		if d.ordered && !healthy(p) && p != unhealthy {
			return false
		}
		d.delete(p, "beyond spec.replicas")
		if d.ordered {
			return false
		}
	}
	return true
}

// roll deletes pods of another revision than the present, the highest ordinal first, so that fill makes them anew:
// no more at a time, and no more unavailable ones, than maxUnavailable.
func (d *decision) roll() {
	if d.Set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	most, busy, missing := d.maxUnavailable(), 0, 0
	old := func(p *corev1.Pod) bool {
		return p != nil && p.DeletionTimestamp == nil && !pods.Finished(p) && revisionOf(p) != d.update.Name
	}
	for n := d.start; n < d.start+d.replicas; n++ {
		if p := d.wanted[n]; !d.available(p) {
			missing++
			if !old(p) {
				busy++ // it is on its way to the present revision
			}
		}
	}
	for n := d.start + d.replicas - 1; n >= d.start+d.partition(); n-- {
		p := d.wanted[n]
		if !old(p) {
			continue
		}
		well := d.available(p)
		if busy >= most || well && missing >= most {
			return
		}
		d.delete(p, "update to "+d.update.Name)
		busy++
		if well {
			missing++
		}
	}
}

// partition is how many of the lowest ordinals keep the current revision.
func (d *decision) partition() int {
	u := d.Set.Spec.UpdateStrategy.RollingUpdate
	if u == nil {
		return 0
	}
	return int(max(0, ptr.Deref(u.Partition, 0)))
}

func (d *decision) maxUnavailable() int {
	u := d.Set.Spec.UpdateStrategy.RollingUpdate
	if u == nil || u.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(u.MaxUnavailable, d.replicas, true)
	if err != nil {
		return 1
	}
	return max(1, n)
}

func (d *decision) create(n int) {
	template, revision := &d.Set.Spec.Template, d.update.Name
	if d.current != d.update && n < d.start+d.partition() && d.Set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		if t, err := revisions.Template(d.current); err == nil {
			template, revision = t, d.current.Name
		}
	}
	for _, c := range newClaims(d.Set, n) {
		a := controller.Create(client.PersistentVolumeClaims, c, "claim of ordinal "+fmt.Sprint(n))
		a.IgnoreExists = true
		d.todo = append(d.todo, a)
	}
	p := newPod(d.Set, template, revision, n)
	d.todo = append(d.todo, controller.Create(client.Pods, p, fmt.Sprintf("ordinal %d has no pod", n)).With(d.ref,
		controller.Event{Type: corev1.EventTypeNormal, Reason: "SuccessfulCreate", Message: fmt.Sprintf("create Pod %s in StatefulSet %s successful", p.Name, d.Set.Name)},
		controller.Event{Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: fmt.Sprintf("create Pod %s in StatefulSet %s failed error: ", p.Name, d.Set.Name) + "%e"}))
}

func (d *decision) delete(p *corev1.Pod, reason string) {
	d.todo = append(d.todo, controller.Delete(client.Pods, p, reason).With(d.ref,
		controller.Event{Type: corev1.EventTypeNormal, Reason: "SuccessfulDelete", Message: fmt.Sprintf("delete Pod %s in StatefulSet %s successful", p.Name, d.Set.Name)},
		controller.Event{Type: corev1.EventTypeWarning, Reason: "FailedDelete", Message: fmt.Sprintf("delete Pod %s in StatefulSet %s failed error: ", p.Name, d.Set.Name) + "%e"}))
}

func (d *decision) recreate(p *corev1.Pod, kindOf, reason, what string) {
	d.todo = append(d.todo, controller.Say(d.ref, kindOf, reason, fmt.Sprintf("StatefulSet %s/%s is recreating %s Pod %s", d.Set.Namespace, d.Set.Name, what, p.Name)))
	d.delete(p, what)
}

// name gives a pod the labels of its identity, if somebody took them.
func (d *decision) name(p *corev1.Pod, n int) {
	want := maps.Clone(p.Labels)
	if want == nil {
		want = map[string]string{}
	}
	maps.Copy(want, identity(d.Set, n))
	if maps.Equal(want, p.Labels) {
		return
	}
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID, "labels": identity(d.Set, n)}}) // strings always encode
	d.todo = append(d.todo, controller.Patch(client.Pods, p, "", types.MergePatchType, patch, "identity"))
}

// status counts, and ends an update when all pods have it.
func (d *decision) status(mine []*corev1.Pod) []controller.Action {
	s := appsv1.StatefulSetStatus{ObservedGeneration: d.Set.Generation, CurrentRevision: d.current.Name, UpdateRevision: d.update.Name,
		CollisionCount: ptr.To(ptr.Deref(d.Set.Status.CollisionCount, 0)), Conditions: d.Set.Status.Conditions}
	for _, p := range mine {
		s.Replicas++
		if p.Status.Phase == corev1.PodRunning && pods.Ready(p) {
			s.ReadyReplicas++
			if d.available(p) {
				s.AvailableReplicas++
			}
		}
		if p.DeletionTimestamp == nil && revisionOf(p) == d.current.Name {
			s.CurrentReplicas++
		}
		if p.DeletionTimestamp == nil && revisionOf(p) == d.update.Name {
			s.UpdatedReplicas++
		}
	}
	if n := int32(d.replicas); d.Set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && s.UpdatedReplicas == n && s.ReadyReplicas == n && s.Replicas == n {
		s.CurrentRevision, s.CurrentReplicas = s.UpdateRevision, s.UpdatedReplicas
	}
	if equality.Semantic.DeepEqual(s, d.Set.Status) {
		return nil
	}
	out := *d.Set
	out.Status = s
	return []controller.Action{controller.Status(client.StatefulSets, &out, "status")}
}
