package daemonset

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/revisions"
)

// burst is the most pods that one decision creates, and the most that it deletes.
const burst = 250

// place is a node, whether it is there or not, and the set's pods on it.
type place struct {
	name      string
	run, stay bool // may a pod start there, may it go on running
	pods      []*corev1.Pod
}

// decision is one in the making.
type decision struct {
	View
	hash          string
	places        []*place
	most, surge   int // pods that an update may take away, and add
	desired       int
	deletes, says []controller.Action
	creates       []string      // names of nodes
	again         time.Duration // 0: not by itself
}

// reconcile lists what to do so that each eligible node runs one pod of the present template.
func reconcile(v View) (todo []controller.Action) {
	set, sel := v.Set, selector(v.Set)
	ref := client.Reference(kind, set)
	if sel == nil {
		if set.Status.ObservedGeneration >= set.Generation {
			return nil
		}
		out := *set
		out.Status.ObservedGeneration = set.Generation
		return []controller.Action{
			controller.Say(ref, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required."),
			controller.Status(client.DaemonSets, &out, "selects everything")}
	}
	if set.DeletionTimestamp != nil {
		return nil
	}
	mine, adopt := controller.Claim(set, kind, sel, client.Pods, v.Pods, "")
	past, adoptPast := controller.Claim(set, kind, sel, client.ControllerRevisions, v.Revisions, "")
	past = revisions.Sort(past)
	current, make, taken := owner(set).Current(past, v.Namesake)
	if taken {
		out := *set
		out.Status.CollisionCount = ptr.To(ptr.Deref(set.Status.CollisionCount, 0) + 1)
		return []controller.Action{controller.Status(client.DaemonSets, &out, "the name "+v.Namesake.Name+" is taken")}
	}
	d := &decision{View: v, hash: current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]}
	d.lay(mine)
	d.bounds()
	for _, p := range d.places {
		d.tend(p)
	}
	if set.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		if d.surge > 0 {
			d.surgeUpdate()
		} else {
			d.update()
		}
	}
	todo = append(append(append(todo, adopt...), adoptPast...), make...)
	todo = append(todo, d.says...)
	todo = append(todo, d.deletes[:min(len(d.deletes), burst)]...)
	for _, node := range d.creates[:min(len(d.creates), burst)] {
		todo = append(todo, pods.Create(newPod(set, node, d.hash), ref, "node "+node+" has none"))
	}
	if len(d.creates) > burst || len(d.deletes) > burst {
		d.backIn(time.Millisecond)
	}
	used := func(r *appsv1.ControllerRevision) bool {
		h := r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
		return h == d.hash || slices.ContainsFunc(mine, func(p *corev1.Pod) bool { return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == h })
	}
	todo = append(todo, revisions.Truncate(past, used, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))...)
	todo = append(todo, d.status()...)
	if d.again > 0 {
		todo = append(todo, controller.After(d.again))
	}
	return todo
}

// lay finds the place of each pod and who may run where.
func (d *decision) lay(mine []*corev1.Pod) {
	can := eligibility(d.Set)
	at := map[string]*place{}
	for _, n := range d.Nodes {
		p := &place{name: n.Name}
		p.run, p.stay = can(n)
		at[n.Name] = p
		d.places = append(d.places, p)
		if p.run {
			d.desired++
		}
	}
	for _, pod := range mine {
		name := nodeOf(pod)
		p := at[name]
		if p == nil { // no such node; who runs there is the node controller's
			if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
				d.del(pod, "its node is gone")
			}
			continue
		}
		p.pods = append(p.pods, pod)
	}
	for _, p := range d.places {
		slices.SortFunc(p.pods, func(a, b *corev1.Pod) int {
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
	}
}

// bounds resolves maxUnavailable and maxSurge, both rounded up.
func (d *decision) bounds() {
	d.most = 1
	u := d.Set.Spec.UpdateStrategy.RollingUpdate
	if u == nil {
		return
	}
	resolve := func(x *intstr.IntOrString, otherwise int) int {
		if x == nil {
			return otherwise
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(x, d.desired, true)
		if err != nil {
			return otherwise
		}
		return max(0, n)
	}
	d.surge = resolve(u.MaxSurge, 0)
	if d.most = resolve(u.MaxUnavailable, 1); d.surge == 0 && d.most == 0 {
		d.most = 1
	}
}

// backIn brings the set back after a delay; of several the shortest counts.
func (d *decision) backIn(delay time.Duration) {
	if d.again == 0 || delay < d.again {
		d.again = delay
	}
}

func (d *decision) del(p *corev1.Pod, reason string) {
	if !slices.ContainsFunc(d.deletes, func(a controller.Action) bool { return a.Object.GetUID() == p.UID }) {
		d.deletes = append(d.deletes, pods.Delete(p, client.Reference(kind, d.Set), reason))
	}
}

// tend gives the place a pod if it has none and takes away what has ended or is one too many.
func (d *decision) tend(at *place) {
	var alive []*corev1.Pod
	for _, p := range at.pods {
		switch {
		case p.DeletionTimestamp != nil:
		case p.Status.Phase == corev1.PodFailed:
			if wait := d.NotBefore[p.UID].Sub(d.Now); wait > 0 {
				d.backIn(wait)
				continue
			}
			d.ended(p, at, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it")
		case p.Status.Phase == corev1.PodSucceeded:
			d.ended(p, at, corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it")
		default:
			alive = append(alive, p)
		}
	}
	switch {
	case !at.stay:
		for _, p := range alive {
			d.del(p, "not meant for node "+at.name)
		}
	case at.run && len(at.pods) == 0:
		d.creates = append(d.creates, at.name)
	case d.surge == 0:
		d.thin(alive)
	default: // one of each kind
		var old, updated []*corev1.Pod
		for _, p := range alive {
			if d.updated(p) {
				updated = append(updated, p)
			} else {
				old = append(old, p)
			}
		}
		d.thin(old)
		d.thin(updated)
	}
}

// thin leaves the oldest of the pods, one that is bound to its node first.
func (d *decision) thin(list []*corev1.Pod) {
	if len(list) < 2 {
		return
	}
	keep := max(0, slices.IndexFunc(list, func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }))
	for i, p := range list {
		if i != keep {
			d.del(p, "node "+nodeOf(p)+" has another")
		}
	}
}

func (d *decision) ended(p *corev1.Pod, at *place, kindOf, reason, message string) {
	d.says = append(d.says, controller.Say(client.Reference(kind, d.Set), kindOf, reason, fmt.Sprintf(message, p.Namespace, p.Name, at.name)))
	d.del(p, reason)
}

// updated tells whether the pod is of the present template.
func (d *decision) updated(p *corev1.Pod) bool {
	return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == d.hash
}

func (d *decision) available(p *corev1.Pod) bool {
	ok, left := pods.Available(p, d.Set.Spec.MinReadySeconds, d.Now)
	if left > 0 {
		d.backIn(left)
	}
	return ok
}

// pair is the place's first old and first updated pod that stay.
func (d *decision) pair(at *place) (old, updated *corev1.Pod) {
	for _, p := range at.pods {
		switch {
		case p.DeletionTimestamp != nil || pods.Finished(p):
		case d.updated(p) && updated == nil:
			updated = p
		case !d.updated(p) && old == nil:
			old = p
		}
	}
	return old, updated
}

// update deletes old pods: all that are not available, and of the others as many as maxUnavailable allows.
func (d *decision) update() {
	missing, candidates := 0, []*corev1.Pod(nil)
	for _, at := range d.places {
		if len(at.pods) == 0 && !at.run {
			continue
		}
		switch old, updated := d.pair(at); {
		case updated != nil:
			if !d.available(updated) {
				missing++
			}
		case old == nil:
			missing++
		case !d.available(old):
			missing++
			d.del(old, "update")
		default:
			candidates = append(candidates, old)
		}
	}
	for _, p := range candidates[:min(len(candidates), max(0, d.most-missing))] {
		d.del(p, "update")
	}
}

// surgeUpdate puts new pods beside old ones, and deletes the old when the new are available.
func (d *decision) surgeUpdate() {
	beside, candidates := 0, []string(nil)
	for _, at := range d.places {
		switch old, updated := d.pair(at); {
		case old == nil || !at.run:
		case updated != nil && d.available(updated):
			d.del(old, "update")
		case updated != nil:
			beside++
		case !d.available(old): // nobody misses it
			d.creates = append(d.creates, at.name)
		default:
			candidates = append(candidates, at.name)
		}
	}
	d.creates = append(d.creates, candidates[:min(len(candidates), max(0, d.surge-beside))]...)
}

// status counts nodes.
func (d *decision) status() []controller.Action {
	s := d.Set.Status
	s.ObservedGeneration = d.Set.Generation
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = int32(d.desired), 0, 0
	s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable = 0, 0, 0
	for _, at := range d.places {
		switch {
		case len(at.pods) == 0:
		case !at.run:
			s.NumberMisscheduled++
		default:
			s.CurrentNumberScheduled++
			p := at.pods[0] // the oldest
			if pods.Ready(p) {
				s.NumberReady++
				if d.available(p) {
					s.NumberAvailable++
				}
			}
			if d.updated(p) {
				s.UpdatedNumberScheduled++
			}
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	if equality.Semantic.DeepEqual(s, d.Set.Status) {
		return nil
	}
	out := *d.Set
	out.Status = s
	return []controller.Action{controller.Status(client.DaemonSets, &out, "status")}
}
