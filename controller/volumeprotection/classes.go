package volumeprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

const classFinalizer = "kubernetes.io/vac-protection"

// ClassView is everything decideClass may know. Shared: never write to it.
type ClassView struct {
	Class   *storagev1.VolumeAttributesClass
	Claims  []*corev1.PersistentVolumeClaim
	Volumes []*corev1.PersistentVolume
}

// RunClasses lets classes of volume attributes go, until ctx ends. Source: KEP-3751, VolumeAttributesClass.
func RunClasses(ctx context.Context, env controller.Env) error {
	classes := client.VolumeAttributesClasses.View(ctx, env.Client, client.Selection{})
	claims := client.PersistentVolumeClaims.View(ctx, env.Client, client.Selection{})
	volumes := client.PersistentVolumes.View(ctx, env.Client, client.Selection{})
	q := env.Queue("vacprotection")
	controller.FeedSelf(ctx, q, classes)
	// Only what no longer has a class can let it go.
	controller.Feed(ctx, q, claims, func(old, new *corev1.PersistentVolumeClaim) []string {
		return left(classesOfClaim(old), classesOfClaim(new))
	})
	controller.Feed(ctx, q, volumes, func(old, new *corev1.PersistentVolume) []string {
		return left(classesOfVolume(old), classesOfVolume(new))
	})
	look := func(key string) (ClassView, bool) {
		class, ok := classes.Get(controller.SplitKey(key))
		if !ok || class.DeletionTimestamp == nil {
			return ClassView{}, false
		}
		return ClassView{class, claims.List(""), volumes.List("")}, true
	}
	loop := controller.Loop[ClassView]{Name: "vac-protection", Env: env, Queue: q, Views: []client.View{classes.View, claims.View, volumes.View}, Look: look, Decide: decideClass}
	return loop.Run(ctx)
}

// decideClass lets a class go that no claim and no volume has, is to have or had last.
func decideClass(v ClassView) []controller.Action {
	if v.Class.DeletionTimestamp == nil || !slices.Contains(v.Class.Finalizers, classFinalizer) {
		return nil
	}
	uses := func(names []string) bool { return slices.Contains(names, v.Class.Name) }
	if slices.ContainsFunc(v.Claims, func(c *corev1.PersistentVolumeClaim) bool { return uses(classesOfClaim(c)) }) ||
		slices.ContainsFunc(v.Volumes, func(p *corev1.PersistentVolume) bool { return uses(classesOfVolume(p)) }) {
		return nil
	}
	next := v.Class.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == classFinalizer })
	return []controller.Action{controller.Update(client.VolumeAttributesClasses, next, "no claim and no volume has it")}
}

func classesOfClaim(c *corev1.PersistentVolumeClaim) (names []string) {
	if c == nil {
		return nil
	}
	for _, name := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	if s := c.Status.ModifyVolumeStatus; s != nil && s.TargetVolumeAttributesClassName != "" {
		names = append(names, s.TargetVolumeAttributesClassName)
	}
	return names
}

func classesOfVolume(v *corev1.PersistentVolume) []string {
	if v == nil || v.Spec.VolumeAttributesClassName == nil || *v.Spec.VolumeAttributesClassName == "" {
		return nil
	}
	return []string{*v.Spec.VolumeAttributesClassName}
}

// left are the keys of classes that are had no more.
func left(before, now []string) (keys []string) {
	for _, name := range before {
		if !slices.Contains(now, name) {
			keys = append(keys, controller.Key("", name))
		}
	}
	return keys
}
