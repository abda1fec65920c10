// Package daemonset runs one pod of each DaemonSet on every node that it is meant for. Keys
// come from changes of DaemonSets, their pods and revisions, and from nodes that come, go or change labels or taints.
package daemonset

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/revisions"
)

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// pace is how often one DaemonSet is looked at while its pods change all the time.
const pace = 20 * time.Millisecond

// Run keeps all DaemonSets until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	sets := client.DaemonSets.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	nodes := client.Nodes.View(ctx, env.Client, client.Selection{})
	history := client.ControllerRevisions.View(ctx, env.Client, client.Selection{})
	q := env.Queue("daemonset")
	q.Pace = pace
	controller.FeedSelf(ctx, q, sets)
	children := controller.FeedChildren(ctx, q, all, kind.Kind, pods.Adopters[*corev1.Pod](sets, selector))
	past := controller.FeedChildren(ctx, q, history, kind.Kind, pods.Adopters[*appsv1.ControllerRevision](sets, selector))
	controller.Feed(ctx, q, nodes, func(old, now *corev1.Node) (keys []string) {
		if old != nil && now != nil && sameForUs(old, now) {
			return nil
		}
		for _, set := range sets.List("") {
			keys = append(keys, controller.KeyOf(set))
		}
		return keys
	})
	delays := newDelays()
	look := func(key string) (View, bool) {
		set, ok := sets.Get(controller.SplitKey(key))
		if !ok {
			delays.forget(key)
			return View{}, false
		}
		sel := selector(set)
		v := View{Set: set, Nodes: nodes.List(""), Pods: children.Of(set, sel), Revisions: past.Of(set, sel), Now: env.Now()}
		v.Namesake, _ = history.Get(set.Namespace, owner(set).Name())
		v.NotBefore = delays.of(key, v.Pods, v.Now)
		return v, true
	}
	loop := controller.Loop[View]{Name: "daemonset", Env: env, Queue: q,
		Views: []client.View{sets.View, all.View, nodes.View, history.View}, Look: look, Decide: reconcile}
	return loop.Run(ctx)
}

func selector(set *appsv1.DaemonSet) labels.Selector { return pods.Selector(set.Spec.Selector) }

func owner(set *appsv1.DaemonSet) revisions.Owner {
	return revisions.Owner{Object: set, Kind: kind, Template: &set.Spec.Template, Collision: set.Status.CollisionCount,
		HashLabel: appsv1.DefaultDaemonSetUniqueLabelKey}
}

// sameForUs tells whether nothing about a node changed that decides who runs there.
func sameForUs(a, b *corev1.Node) bool {
	return maps.Equal(a.Labels, b.Labels) && a.Spec.Unschedulable == b.Spec.Unschedulable &&
		slices.EqualFunc(a.Spec.Taints, b.Spec.Taints, func(x, y corev1.Taint) bool {
			return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect
		})
}

// View is everything reconcile may know. Shared: never write to it.
type View struct {
	Set       *appsv1.DaemonSet
	Nodes     []*corev1.Node
	Pods      []*corev1.Pod // that it controls or may adopt
	Revisions []*appsv1.ControllerRevision
	Namesake  *appsv1.ControllerRevision // whoever has the name that a new revision would get, or nil
	NotBefore map[types.UID]time.Time    // when failed pods may be replaced; missing: at once
	Now       time.Time
}

// Delays before a pod that failed on a node is replaced, doubling while that goes on.
const (
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
)

// delays remembers when pods failed: a pod that a node refuses again and again must not be made a hundred times a second.
// Safe for concurrent use.
type delays struct {
	mu   sync.Mutex
	sets map[string]map[string]*failure // key of the set, node
}

type failure struct {
	pod   types.UID
	at    time.Time
	delay time.Duration // before this pod is replaced
}

func newDelays() *delays { return &delays{sets: map[string]map[string]*failure{}} }
