// Package replicaset keeps as many pods running as each ReplicaSet asks for. Keys come from
// changes of ReplicaSets and of pods; the decision is Decide, which the replicationcontroller package shares.
package replicaset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// Kind is what these sets are.
var Kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Pace is how often one set is looked at while its pods change all the time.
const Pace = 20 * time.Millisecond

// Run keeps all ReplicaSets until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	sets := client.ReplicaSets.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	q := env.Queue("replicaset")
	q.Pace = Pace
	controller.FeedSelf(ctx, q, sets)
	children := controller.FeedChildren(ctx, q, all, Kind.Kind, pods.Adopters[*corev1.Pod](sets, selector))
	look := func(key string) (View, bool) {
		set, ok := sets.Get(controller.SplitKey(key))
		if !ok {
			return View{}, false
		}
		v := View{Set: set, Kind: Kind, Now: env.Now(), Pods: children.Of(set, selector(set))}
		if owner := v1.GetControllerOfNoCopy(set); owner != nil && v.tooMany() {
			var family []*corev1.Pod
			for _, sibling := range sets.OwnedBy(owner.UID) {
				family = append(family, all.OwnedBy(sibling.UID)...)
			}
			v.Crowd = pods.Crowd(family)
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "replicaset", Env: env, Queue: q, Views: []client.View{sets.View, all.View},
		Look: look, Decide: Decide, Failed: Failed}
	return loop.Run(ctx)
}

func selector(set *appsv1.ReplicaSet) labels.Selector { return pods.Selector(set.Spec.Selector) }

// View is everything that Decide may know. Shared: never write to it.
type View struct {
	Set   *appsv1.ReplicaSet
	Kind  schema.GroupVersionKind // of Set; a ReplicationController is shown as a ReplicaSet
	Pods  []*corev1.Pod           // that Set controls or may adopt, in any order
	Crowd map[string]int          // active pods of Set and its siblings per node; nil: of Set alone
	Now   time.Time
}

func (v View) replicas() int {
	if v.Set.Spec.Replicas == nil {
		return 1
	}
	return int(max(0, *v.Set.Spec.Replicas))
}

func (v View) tooMany() bool {
	n := 0
	for _, p := range v.Pods {
		if pods.Active(p) {
			n++
		}
	}
	return n > v.replicas()
}

func (v View) ref() corev1.ObjectReference { return client.Reference(v.Kind, v.Set) }
