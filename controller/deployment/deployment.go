// Package deployment rolls out what each Deployment asks for: a ReplicaSet per pod template,
// the newest growing while the others shrink within maxSurge and maxUnavailable. Keys come from changes of
// Deployments, of their ReplicaSets and, for the strategy Recreate, from pods that end.
//
// One decision is one step of a rollout. Its writes expect the ReplicaSets as they were seen, and the
// next step looks at the world with those writes in it.
package deployment

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// pace is how often one Deployment is looked at while its ReplicaSets change all the time.
const pace = 20 * time.Millisecond

// Run rolls out all Deployments until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	deployments := client.Deployments.View(ctx, env.Client, client.Selection{})
	sets := client.ReplicaSets.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	q := env.Queue("deployment")
	q.Pace = pace
	controller.FeedSelf(ctx, q, deployments)
	children := controller.FeedChildren(ctx, q, sets, kind.Kind, pods.Adopters[*appsv1.ReplicaSet](deployments, selector))
	controller.Feed(ctx, q, all, func(old, now *corev1.Pod) []string {
		if old == nil || pods.Finished(old) || now != nil && !pods.Finished(now) {
			return nil // only the end of a pod can be what Recreate waits for
		}
		ref := v1.GetControllerOfNoCopy(old)
		if ref == nil || ref.Kind != "ReplicaSet" {
			return nil
		}
		set, _ := sets.Get(old.Namespace, ref.Name)
		if set == nil {
			return nil
		}
		if ref = v1.GetControllerOfNoCopy(set); ref == nil || ref.Kind != kind.Kind {
			return nil
		}
		if d, _ := deployments.Get(old.Namespace, ref.Name); d == nil || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
			return nil
		}
		return []string{controller.Key(old.Namespace, ref.Name)}
	})
	look := func(key string) (View, bool) {
		d, ok := deployments.Get(controller.SplitKey(key))
		if !ok {
			return View{}, false
		}
		v := View{Deployment: d, Sets: children.Of(d, selector(d)), Now: env.Now()}
		v.Namesake, _ = sets.Get(d.Namespace, setName(d))
		if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			for _, set := range v.Sets {
				v.Pods = append(v.Pods, all.OwnedBy(set.UID)...)
			}
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "deployment", Env: env, Queue: q,
		Views: []client.View{deployments.View, sets.View, all.View}, Look: look, Decide: reconcile, Failed: failed}
	return loop.Run(ctx)
}

func selector(d *appsv1.Deployment) labels.Selector { return pods.Selector(d.Spec.Selector) }

// View is everything reconcile may know. Shared: never write to it.
type View struct {
	Deployment *appsv1.Deployment
	Sets       []*appsv1.ReplicaSet // that it controls or may adopt
	Namesake   *appsv1.ReplicaSet   // whoever has the name that a new ReplicaSet would get, or nil
	Pods       []*corev1.Pod        // of Sets; only with the strategy Recreate
	Now        time.Time
}
