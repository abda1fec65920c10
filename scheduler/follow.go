package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/lighter-k8s/lighter/client"
)

// views are what the scheduler watches.
type views struct {
	pods  client.TypedView[*corev1.Pod]
	nodes client.TypedView[*corev1.Node]
	groups
	storage
	budgets client.TypedView[*policyv1.PodDisruptionBudget]
}

// follow begins the views and returns when all that was there has been taken in: no decision is
// made before every bound pod is counted.
func (s *scheduler) follow(ctx context.Context) error {
	s.views.pods = client.Pods.View(ctx, s.Client, client.Selection{})
	s.views.nodes = client.Nodes.View(ctx, s.Client, client.Selection{})
	s.views.budgets = client.PodDisruptionBudgets.View(ctx, s.Client, client.Selection{})
	namespaces := client.Namespaces.View(ctx, s.Client, client.Selection{})
	others := slices.Concat(s.views.groups.follow(ctx, s), s.views.storage.follow(ctx, s))
	for _, v := range append(others, s.views.pods.View, s.views.nodes.View, namespaces.View, s.views.budgets.View) {
		if err := v.WaitSynced(ctx); err != nil {
			return err
		}
	}
	namespaces.Subscribe(ctx, func(old, new *corev1.Namespace) { s.post(func() { s.namespaceChanged(old, new) }) })
	s.views.nodes.Subscribe(ctx, func(old, new *corev1.Node) { s.post(func() { s.nodeChanged(old, new) }) })
	seen := map[string]uint64{} // by UID; nil once all are there
	s.views.pods.Subscribe(ctx, func(old, new *corev1.Pod) {
		s.post(func() {
			s.podChanged(ctx, old, new)
			if seen != nil && new != nil {
				seen[string(new.UID)] = client.Version(new)
			}
		})
	})
	for {
		s.takeIn()
		if s.caughtUp(seen) {
			seen = nil
			return nil
		}
		t := time.NewTimer(10 * time.Millisecond) // what was listed may be gone before the subscription began
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-s.more:
		case <-t.C:
		}
		t.Stop()
	}
}

// caughtUp tells whether all that the views have was taken in.
func (s *scheduler) caughtUp(seen map[string]uint64) bool {
	for _, n := range s.views.nodes.List("") {
		if k := s.cache.byName[n.Name]; k == nil || k.obj == nil {
			return false
		}
	}
	for _, p := range s.views.pods.List("") {
		if seen[string(p.UID)] < client.Version(p) {
			return false
		}
	}
	return true
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// podChanged takes in a change of a pod: it waits for a node, or takes from one, or neither.
func (s *scheduler) podChanged(ctx context.Context, old, new *corev1.Pod) {
	if old != nil && (new == nil || new.UID != old.UID) {
		s.podGone(old)
	}
	if new == nil {
		return
	}
	switch {
	case finished(new):
		s.podGone(new)
	case new.Spec.NodeName != "":
		s.drop(new.UID)
		if s.cache.setPod(new) {
			s.queue.wake(bySpread|byNeighbours|byResources, s.Now())
		}
	case new.DeletionTimestamp != nil:
		s.drop(new.UID)
	case new.Spec.SchedulerName != s.SchedulerName && new.Spec.SchedulerName != "":
	case len(new.Spec.SchedulingGates) > 0:
		s.gated(ctx, new)
	default:
		s.podWaits(old, new)
	}
}

func (s *scheduler) podGone(p *corev1.Pod) {
	s.drop(p.UID)
	if s.cache.deletePod(p.UID) {
		s.queue.wake(byResources|byPorts|bySpread|byNeighbours|byVolumes, s.Now())
	}
}

// podWaits takes in a pod without node. Our own news about it changes nothing.
func (s *scheduler) podWaits(old, new *corev1.Pod) {
	if p := s.cache.pods[new.UID]; p != nil {
		return // it was decided on; the binding is on its way
	}
	if e := s.queue.entries[new.UID]; e != nil && old != nil && old.Generation == new.Generation && maps.Equal(old.Labels, new.Labels) {
		e.ask.obj, e.ask.brief = new, briefOf(new)
		return
	}
	a := s.cache.newAsk(new)
	s.queue.add(a, s.Now())
	if n := s.cache.byName[new.Status.NominatedNodeName]; n != nil && a.nominated == nil {
		s.nominate(a, n)
	}
}

func (s *scheduler) namespaceChanged(old, new *corev1.Namespace) {
	switch {
	case new == nil:
		s.cache.setNamespace(old.Name, nil)
		delete(s.cache.namespaces, old.Name)
		return
	case old != nil && maps.Equal(old.Labels, new.Labels):
		return
	}
	s.cache.setNamespace(new.Name, new.Labels)
	s.queue.wake(byNeighbours, s.Now())
}

// nodeChanged takes in a change of a node.
func (s *scheduler) nodeChanged(old, new *corev1.Node) {
	if new == nil {
		s.cache.deleteNode(old.Name)
		s.queue.wake(bySpread, s.Now())
		return
	}
	s.cache.setNode(new)
	if by := helps(old, new); by != 0 {
		s.queue.wake(by, s.Now())
	}
}

// helps is which refusals a change of a node can end.
func helps(old, new *corev1.Node) (by cause) {
	if old == nil {
		return byAnything
	}
	if old.Spec.Unschedulable != new.Spec.Unschedulable || !slices.EqualFunc(old.Spec.Taints, new.Spec.Taints, func(a, b corev1.Taint) bool { return a.MatchTaint(&b) && a.Value == b.Value }) {
		by |= byNode | bySpread
	}
	if !maps.Equal(old.Labels, new.Labels) {
		by |= byNode | bySpread | byNeighbours | byVolumes
	}
	if !maps.EqualFunc(old.Status.Allocatable, new.Status.Allocatable, func(a, b apiQuantity) bool { return a.Cmp(b) == 0 }) {
		by |= byResources
	}
	return by
}
