// Package volumeprotection lets claims, volumes and classes of volume attributes that are being deleted go when nobody uses them: it takes away the finalizers
// that admission gave them. Keys come from changes of claims, volumes and pods.
// Source: Kubernetes documentation, Persistent Volumes, Storage Object in Use Protection.
package volumeprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

const (
	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
)

// ClaimView is everything decideClaim may know. Shared: never write to it.
type ClaimView struct {
	Claim *corev1.PersistentVolumeClaim
	Pods  []*corev1.Pod // of its namespace
}

// RunClaims lets claims go, until ctx ends.
func RunClaims(ctx context.Context, env controller.Env) error {
	claims := client.PersistentVolumeClaims.View(ctx, env.Client, client.Selection{})
	pods := client.Pods.View(ctx, env.Client, client.Selection{})
	q := env.Queue("pvcprotection")
	controller.FeedSelf(ctx, q, claims)
	controller.Feed(ctx, q, pods, func(old, new *corev1.Pod) (keys []string) {
		pod := old
		if pod == nil || new != nil && !over(new) {
			return nil // it begins to use claims, or goes on
		}
		for _, name := range claimsOf(pod) {
			keys = append(keys, controller.Key(pod.Namespace, name))
		}
		return keys
	})
	look := func(key string) (ClaimView, bool) {
		claim, ok := claims.Get(controller.SplitKey(key))
		if !ok || claim.DeletionTimestamp == nil {
			return ClaimView{}, false
		}
		return ClaimView{claim, pods.List(claim.Namespace)}, true
	}
	loop := controller.Loop[ClaimView]{Name: "pvc-protection", Env: env, Queue: q, Views: []client.View{claims.View, pods.View}, Look: look, Decide: decideClaim}
	return loop.Run(ctx)
}

// decideClaim lets a claim go that no pod on a node uses.
func decideClaim(v ClaimView) []controller.Action {
	if v.Claim.DeletionTimestamp == nil || !slices.Contains(v.Claim.Finalizers, claimFinalizer) {
		return nil
	}
	for _, pod := range v.Pods {
		// A pod that is on no node yet will not start: the scheduler sees that the claim is going.
		if pod.Spec.NodeName != "" && !over(pod) && slices.Contains(claimsOf(pod), v.Claim.Name) {
			return nil
		}
	}
	next := v.Claim.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == claimFinalizer })
	return []controller.Action{controller.Update(client.PersistentVolumeClaims, next, "no pod uses it")}
}

// over: the pod's containers have ended and will not start again.
func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// claimsOf names the claims that a pod's volumes are of.
func claimsOf(pod *corev1.Pod) (names []string) {
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, ephemeral.VolumeClaimName(pod, v))
		}
	}
	return names
}

// RunVolumes lets volumes go, until ctx ends.
func RunVolumes(ctx context.Context, env controller.Env) error {
	volumes := client.PersistentVolumes.View(ctx, env.Client, client.Selection{})
	q := env.Queue("pvprotection")
	controller.FeedSelf(ctx, q, volumes)
	look := func(key string) (*corev1.PersistentVolume, bool) {
		volume, ok := volumes.Get(controller.SplitKey(key))
		return volume, ok
	}
	loop := controller.Loop[*corev1.PersistentVolume]{Name: "pv-protection", Env: env, Queue: q, Views: []client.View{volumes.View}, Look: look, Decide: decideVolume}
	return loop.Run(ctx)
}

// decideVolume lets a volume go that is bound to no claim.
func decideVolume(v *corev1.PersistentVolume) []controller.Action {
	if v.DeletionTimestamp == nil || !slices.Contains(v.Finalizers, volumeFinalizer) || v.Status.Phase == corev1.VolumeBound {
		return nil
	}
	next := v.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == volumeFinalizer })
	return []controller.Action{controller.Update(client.PersistentVolumes, next, "it is bound to no claim")}
}
