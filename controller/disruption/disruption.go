// Package disruption keeps the status of PodDisruptionBudgets, by which the eviction API knows how many pods may go.
package disruption

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// Pace is how often one budget is looked at while its pods change all the time.
const Pace = 20 * time.Millisecond

// View is everything Decide may know of one budget. Shared: never write to it.
type View struct {
	Budget *policyv1.PodDisruptionBudget
	Pods   []*corev1.Pod       // that it selects
	Scales map[types.UID]int32 // of what controls the pods: how many there are to be, each once
	Alone  []string            // names of pods that nothing with a scale controls
	Now    time.Time
}

// owners looks up what pods are controlled by.
type owners struct {
	sets         client.TypedView[*appsv1.ReplicaSet]
	deployments  client.TypedView[*appsv1.Deployment]
	statefulSets client.TypedView[*appsv1.StatefulSet]
	controllers  client.TypedView[*corev1.ReplicationController]
}

// scale is what a pod's controller, or that one's, wants; ok false: nothing with a scale.
func (w owners) scale(p *corev1.Pod) (uid types.UID, n int32, ok bool) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return "", 0, false
	}
	switch ref.Kind {
	case "ReplicaSet":
		rs, there := w.sets.Get(p.Namespace, ref.Name)
		if !there || rs.UID != ref.UID {
			return "", 0, false
		}
		if up := metav1.GetControllerOfNoCopy(rs); up != nil && up.Kind == "Deployment" {
			d, there := w.deployments.Get(p.Namespace, up.Name)
			if !there || d.UID != up.UID {
				return "", 0, false
			}
			return d.UID, ptr.Deref(d.Spec.Replicas, 1), true
		}
		return rs.UID, ptr.Deref(rs.Spec.Replicas, 1), true
	case "StatefulSet":
		s, there := w.statefulSets.Get(p.Namespace, ref.Name)
		if there && s.UID == ref.UID {
			return s.UID, ptr.Deref(s.Spec.Replicas, 1), true
		}
	case "ReplicationController":
		rc, there := w.controllers.Get(p.Namespace, ref.Name)
		if there && rc.UID == ref.UID {
			return rc.UID, ptr.Deref(rc.Spec.Replicas, 1), true
		}
	}
	return "", 0, false
}

// Run keeps the budgets' status until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	all := client.Selection{}
	budgets := client.PodDisruptionBudgets.View(ctx, env.Client, all)
	podView := client.Pods.View(ctx, env.Client, all)
	w := owners{client.ReplicaSets.View(ctx, env.Client, all), client.Deployments.View(ctx, env.Client, all),
		client.StatefulSets.View(ctx, env.Client, all), client.ReplicationControllers.View(ctx, env.Client, all)}
	q := env.Queue("disruption")
	q.Pace = Pace
	controller.FeedSelf(ctx, q, budgets)
	controller.Feed(ctx, q, podView, func(old, new *corev1.Pod) (keys []string) {
		if old != nil && new != nil && old.UID == new.UID && pods.Ready(old) == pods.Ready(new) &&
			(old.DeletionTimestamp == nil) == (new.DeletionTimestamp == nil) && labels.Equals(old.Labels, new.Labels) {
			return nil
		}
		for _, p := range []*corev1.Pod{old, new} {
			if p == nil {
				continue
			}
			for _, b := range budgets.List(p.Namespace) {
				if s := selector(b); s != nil && s.Matches(labels.Set(p.Labels)) {
					keys = append(keys, controller.KeyOf(b))
				}
			}
		}
		return keys
	})
	whole := func(c client.Change) { // a scale may have changed
		if c.Old != nil && c.New != nil && c.Old.GetGeneration() == c.New.GetGeneration() {
			return
		}
		for _, b := range budgets.List(c.Object().GetNamespace()) {
			q.Add(controller.KeyOf(b))
		}
	}
	w.sets.View.Subscribe(ctx, whole)
	w.deployments.View.Subscribe(ctx, whole)
	w.statefulSets.View.Subscribe(ctx, whole)
	w.controllers.View.Subscribe(ctx, whole)
	look := func(key string) (View, bool) {
		b, ok := budgets.Get(controller.SplitKey(key))
		if !ok {
			return View{}, false
		}
		v := View{Budget: b, Scales: map[types.UID]int32{}, Now: env.Now()}
		s := selector(b)
		for _, p := range podView.List(b.Namespace) {
			if s == nil || !s.Matches(labels.Set(p.Labels)) {
				continue
			}
			v.Pods = append(v.Pods, p)
			if uid, n, ok := w.scale(p); ok {
				v.Scales[uid] = n
			} else {
				v.Alone = append(v.Alone, p.Name)
			}
		}
		slices.Sort(v.Alone)
		return v, true
	}
	loop := controller.Loop[View]{Name: "disruption", Env: env, Queue: q, Look: look, Decide: Decide,
		Views: []client.View{budgets.View, podView.View, w.sets.View, w.deployments.View, w.statefulSets.View, w.controllers.View}}
	return loop.Run(ctx)
}

// selector is the budget's; nil selects nothing, an empty one everything.
func selector(b *policyv1.PodDisruptionBudget) labels.Selector {
	if b.Spec.Selector == nil {
		return nil
	}
	s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil
	}
	return s
}
