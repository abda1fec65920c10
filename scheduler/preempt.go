package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// What preemption says of a node.
const (
	isNotHelpful = "Preemption is not helpful for scheduling"
	hasNoVictims = "No preemption victims found for incoming pod"
)

// plan is what would have to leave a node so that the pod fits.
type plan struct {
	node     *node
	victims  []*pod // most important first
	breaches int    // of disruption budgets
}

// mostPlans is how many nodes are thought through before the best plan is taken.
const mostPlans = 100

// preempt looks for a node where the pod would fit if pods of lower priority left, and chooses the least
// harm. Without one it says why in d.after. Source: Kubernetes documentation, Pod Priority and Preemption.
func (s *scheduler) preempt(a *ask, d *decision) *plan {
	if p := a.obj.Spec.PreemptionPolicy; p != nil && *p == corev1.PreemptNever {
		d.after = "preemption: not eligible due to preemptionPolicy=Never."
		return nil
	}
	if s.victimsLeave(a, d) {
		d.leaving, d.after = true, "preemption: not eligible due to a terminating pod on the nominated node."
		return nil
	}
	why := map[string]int{}
	if n := d.nodes - len(d.resolvable); n > 0 {
		why[isNotHelpful] = n
	}
	var best *plan
	plans, first := 0, s.rand.IntN(max(len(d.resolvable), 1))
	for i := range d.resolvable {
		n := d.resolvable[(first+i)%len(d.resolvable)]
		p, not := s.planOn(a, n)
		for _, text := range not {
			why[text]++
		}
		if p != nil {
			if plans++; best == nil || p.compare(best) < 0 {
				best = p
			}
			if plans == mostPlans {
				break
			}
		}
	}
	if best == nil {
		d.after = fmt.Sprintf("preemption: 0/%d nodes are available: %s.", d.nodes, counted(why))
	}
	return best
}

// victimsLeave tells whether earlier victims are still on their way out of the node that the pod waits for.
func (s *scheduler) victimsLeave(a *ask, d *decision) bool {
	n := a.nominated
	return n != nil && slices.Contains(d.resolvable, n) &&
		slices.ContainsFunc(n.pods, func(p *pod) bool { return p.priority < a.priority && p.leaving })
}

// planOn thinks through one node; without a plan it says why. It takes pods off and puts them back on.
func (s *scheduler) planOn(a *ask, n *node) (*plan, []string) {
	c := s.cache
	var lower []*pod
	for _, p := range n.pods {
		if p.priority < a.priority {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil, []string{hasNoVictims}
	}
	slices.SortFunc(lower, moreImportant)
	kept := c.keep(n) // a node without pods may not be forgotten meanwhile
	defer kept()
	off := func(p *pod) {
		assumed := p.assumed
		c.discount(p)
		p.assumed = assumed
	}
	for _, p := range lower {
		off(p)
	}
	fits := func() []reason {
		c.survey(a)
		return s.refusal(a, n, nil)
	}
	if why := fits(); len(why) > 0 {
		var texts []string
		for _, r := range why {
			texts = append(texts, r.text)
		}
		for _, p := range lower {
			c.count(p, n)
		}
		return nil, texts
	}
	plan := &plan{node: n}
	protected, others := s.split(lower)
	spare := func(list []*pod, breach int) {
		for _, p := range list {
			c.count(p, n)
			if len(fits()) > 0 {
				off(p)
				plan.victims = append(plan.victims, p)
				plan.breaches += breach
			}
		}
	}
	spare(protected, 1)
	spare(others, 0)
	for _, p := range plan.victims {
		c.count(p, n)
	}
	slices.SortFunc(plan.victims, moreImportant)
	return plan, nil
}

// split tells the pods whose end would breach a disruption budget from the others.
func (s *scheduler) split(pods []*pod) (protected, others []*pod) {
	left := map[*policyv1.PodDisruptionBudget]int32{}
	for _, p := range pods {
		breach := false
		for _, b := range s.views.budgets.List(p.namespace) {
			if _, leaves := b.Status.DisruptedPods[p.name]; leaves || len(p.labels) == 0 {
				continue
			}
			sel, err := v1.LabelSelectorAsSelector(b.Spec.Selector)
			if err != nil || sel.Empty() || !sel.Matches(labels.Set(p.labels)) {
				continue
			}
			if _, ok := left[b]; !ok {
				left[b] = b.Status.DisruptionsAllowed
			}
			if left[b]--; left[b] < 0 {
				breach = true
			}
		}
		if breach {
			protected = append(protected, p)
		} else {
			others = append(others, p)
		}
	}
	return protected, others
}

// moreImportant orders by priority, then by who has run longer.
func moreImportant(a, b *pod) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), started(a).Compare(started(b)), cmp.Compare(a.key, b.key))
}

func started(p *pod) time.Time {
	if t := p.started; t != nil {
		return t.Time
	}
	return p.created.Time
}

// compare is below 0 when p harms less: fewer breached budgets, a lower highest priority, a lower sum of
// priorities, fewer victims, a most important victim that started later.
func (p *plan) compare(q *plan) int {
	sum := func(p *plan) (n int64) {
		for _, v := range p.victims {
			n += int64(v.priority) + 1<<31 + 1 // above 0, so that fewer is less
		}
		return n
	}
	if len(p.victims) == 0 || len(q.victims) == 0 {
		return cmp.Compare(len(p.victims), len(q.victims))
	}
	return cmp.Or(cmp.Compare(p.breaches, q.breaches), cmp.Compare(p.victims[0].priority, q.victims[0].priority),
		cmp.Compare(sum(p), sum(q)), cmp.Compare(len(p.victims), len(q.victims)), started(q.victims[0]).Compare(started(p.victims[0])))
}

// carryOut ends the victims of a plan and keeps the room for the pod. It waits for nothing.
func (s *scheduler) carryOut(ctx context.Context, e *entry, p *plan) {
	s.nominate(e.ask, p.node)
	for _, o := range slices.Clone(p.node.nominated) {
		if o.priority < e.ask.priority {
			s.nominate(o, nil) // the room is no longer for it
			if other := s.queue.entries[o.uid]; other != nil {
				s.queue.wakeOne(other, s.Now())
			}
		}
	}
	by, name := e.ask.obj, p.node.name
	for _, v := range p.victims {
		if v.leaving {
			continue
		}
		s.Log.Info("pod preempted", "object", v.key, "node", name, "by", e.ask.key)
		obj := v.object()
		s.out.do(func() {
			err := s.evict(ctx, obj)
			switch {
			case err == nil:
				s.tell(obj, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %s on node %s", by.UID, name))
			case ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
				s.Log.Info("victim not deleted", "object", obj.Namespace+"/"+obj.Name, "err", err)
				s.post(func() { s.wakeIfAside(e) })
			}
		})
	}
}

func (s *scheduler) wakeIfAside(e *entry) {
	if e.place == aside {
		s.queue.wakeOne(e, s.Now())
	}
}

// evict says in the victim's status why it ends and deletes it.
func (s *scheduler) evict(ctx context.Context, obj *corev1.Pod) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": obj.UID}, "status": map[string]any{"conditions": []any{
		map[string]any{"type": corev1.DisruptionTarget, "status": corev1.ConditionTrue, "reason": corev1.PodReasonPreemptionByScheduler,
			"message":            s.SchedulerName + ": preempting to accommodate a higher priority pod",
			"observedGeneration": obj.Generation, "lastProbeTime": nil, "lastTransitionTime": v1.NewTime(s.Now())}}}})
	if err != nil {
		return err
	}
	if _, err := client.Pods.Patch(ctx, s.Client, obj.Namespace, obj.Name, "status", types.StrategicMergePatchType, patch); err != nil {
		return fmt.Errorf("mark victim %s: %w", obj.Name, err)
	}
	return client.Pods.Delete(ctx, s.Client, obj.Namespace, obj.Name, *v1.NewPreconditionDeleteOptions(string(obj.UID)))
}

// nominate keeps room for a pod on a node; nil ends that.
func (s *scheduler) nominate(a *ask, n *node) {
	old := a.nominated
	if old == n {
		return
	}
	if old != nil {
		old.nominated = slices.DeleteFunc(old.nominated, func(o *ask) bool { return o == a })
	}
	if a.nominated = n; n != nil {
		n.nominated = append(n.nominated, a)
	}
	if old != nil {
		s.queue.wake(byResources|byPorts|bySpread|byNeighbours, s.Now()) // the room is free for others
	}
}

// drop forgets a pod that waits no longer.
func (s *scheduler) drop(uid types.UID) {
	if e := s.queue.entries[uid]; e != nil {
		s.nominate(e.ask, nil)
		s.queue.remove(uid)
	}
}

// refusal is the cache's, with the pods counted for which room on the node is kept, if they are as important.
func (s *scheduler) refusal(a *ask, n *node, why []reason) []reason {
	why = s.cache.refusal(a, n, why)
	if len(why) > 0 || len(n.nominated) == 0 {
		return why
	}
	var guests []*pod
	for _, o := range n.nominated {
		if o != a && o.node == nil && o.priority >= a.priority && o.obj.UID != a.obj.UID {
			guests = append(guests, o.pod)
		}
	}
	for _, p := range guests {
		s.cache.count(p, n)
	}
	if len(guests) > 0 {
		why = s.cache.refusal(a, n, why)
	}
	for _, p := range guests {
		s.cache.discount(p)
	}
	return why
}
