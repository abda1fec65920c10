// Package replicationcontroller keeps as many pods running as each
// ReplicationController asks for. It is the elder of ReplicaSet: the decision is the same, on a translation.
package replicationcontroller

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/replicaset"
)

var kind = corev1.SchemeGroupVersion.WithKind("ReplicationController")

// Run keeps all ReplicationControllers until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	sets := client.ReplicationControllers.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	q := env.Queue("replicationmanager")
	q.Pace = replicaset.Pace
	controller.FeedSelf(ctx, q, sets)
	children := controller.FeedChildren(ctx, q, all, kind.Kind, pods.Adopters[*corev1.Pod](sets, selector))
	look := func(key string) (view, bool) {
		rc, ok := sets.Get(controller.SplitKey(key))
		if !ok {
			return view{}, false
		}
		return view{rc, children.Of(rc, selector(rc)), env.Now()}, true
	}
	loop := controller.Loop[view]{Name: "replicationcontroller", Env: env, Queue: q,
		Views: []client.View{sets.View, all.View}, Look: look, Decide: reconcile, Failed: failed}
	return loop.Run(ctx)
}

func selector(rc *corev1.ReplicationController) labels.Selector {
	if len(rc.Spec.Selector) == 0 {
		return nil
	}
	return labels.Set(rc.Spec.Selector).AsSelectorPreValidated()
}

// view is everything reconcile may know. Shared: never write to it.
type view struct {
	rc   *corev1.ReplicationController
	pods []*corev1.Pod // that rc controls or may adopt
	now  time.Time
}

func reconcile(v view) []controller.Action {
	set, ok := v.asSet()
	if !ok {
		return nil
	}
	return v.back(replicaset.Decide(set))
}

func failed(v view, a controller.Action, err error) []controller.Action {
	set, _ := v.asSet()
	return v.back(replicaset.Failed(set, a, err))
}

// asSet shows the ReplicationController as a ReplicaSet.
func (v view) asSet() (replicaset.View, bool) {
	rc := v.rc
	if rc.Spec.Template == nil {
		return replicaset.View{}, false
	}
	set := &appsv1.ReplicaSet{ObjectMeta: rc.ObjectMeta}
	set.Spec = appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
		Selector: &v1.LabelSelector{MatchLabels: rc.Spec.Selector}, Template: *rc.Spec.Template}
	s := rc.Status
	set.Status = appsv1.ReplicaSetStatus{Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas,
		ReadyReplicas: s.ReadyReplicas, AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration}
	for _, c := range s.Conditions {
		set.Status.Conditions = append(set.Status.Conditions, appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetConditionType(c.Type),
			Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	return replicaset.View{Set: set, Kind: kind, Pods: v.pods, Now: v.now}, true
}

// back turns what is to be written to the translation into what is to be written to the original.
func (v view) back(todo []controller.Action) (out []controller.Action) {
	for _, a := range todo {
		if a.Verb != controller.UpdateStatus {
			out = append(out, a)
			continue
		}
		s := a.Object.(*appsv1.ReplicaSet).Status
		rc := *v.rc
		rc.Status = corev1.ReplicationControllerStatus{Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas,
			ReadyReplicas: s.ReadyReplicas, AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration}
		for _, c := range s.Conditions {
			rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerConditionType(c.Type),
				Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
		}
		if !equality.Semantic.DeepEqual(rc.Status, v.rc.Status) { // terminatingReplicas may be all that changed
			out = append(out, controller.Status(client.ReplicationControllers, &rc, a.Reason))
		}
	}
	return out
}
