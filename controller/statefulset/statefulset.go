// Package statefulset gives each StatefulSet its pods by name: web-0, web-1 ... in order or all at
// once, never two of one name. Keys come from changes of StatefulSets, their pods and their revisions.
package statefulset

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/revisions"
)

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// hashLabel is where a StatefulSet's revision has its hash; its pods name the whole revision.
const hashLabel = "controller.kubernetes.io/hash"

// Run keeps all StatefulSets until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	sets := client.StatefulSets.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	history := client.ControllerRevisions.View(ctx, env.Client, client.Selection{})
	q := env.Queue("statefulset")
	controller.FeedSelf(ctx, q, sets)
	children := controller.FeedChildren(ctx, q, all, kind.Kind, pods.Adopters[*corev1.Pod](sets, selector))
	past := controller.FeedChildren(ctx, q, history, kind.Kind, pods.Adopters[*appsv1.ControllerRevision](sets, selector))
	look := func(key string) (View, bool) {
		set, ok := sets.Get(controller.SplitKey(key))
		if !ok {
			return View{}, false
		}
		sel := selector(set)
		v := View{Set: set, Pods: children.Of(set, sel), Revisions: past.Of(set, sel), Now: env.Now()}
		v.Namesake, _ = history.Get(set.Namespace, owner(set).Name())
		return v, true
	}
	loop := controller.Loop[View]{Name: "statefulset", Env: env, Queue: q,
		Views: []client.View{sets.View, all.View, history.View}, Look: look, Decide: reconcile}
	return loop.Run(ctx)
}

func selector(set *appsv1.StatefulSet) labels.Selector { return pods.Selector(set.Spec.Selector) }

func owner(set *appsv1.StatefulSet) revisions.Owner {
	return revisions.Owner{Object: set, Kind: kind, Template: &set.Spec.Template, Collision: set.Status.CollisionCount, HashLabel: hashLabel}
}

// View is everything reconcile may know. Shared: never write to it.
type View struct {
	Set       *appsv1.StatefulSet
	Pods      []*corev1.Pod // that it controls or may adopt
	Revisions []*appsv1.ControllerRevision
	Namesake  *appsv1.ControllerRevision // whoever has the name that a new revision would get, or nil
	Now       time.Time
}

// ordinalOf is the number in the name of a pod of the set; ok is false for other names.
func ordinalOf(set *appsv1.StatefulSet, name string) (n int, ok bool) {
	text, ok := strings.CutPrefix(name, set.Name+"-")
	n, err := strconv.Atoi(text)
	return n, ok && err == nil && n >= 0 && strconv.Itoa(n) == text
}

// identity is the labels by which a pod is known. Source: Kubernetes documentation, StatefulSets, "Pod Identity".
func identity(set *appsv1.StatefulSet, ordinal int) map[string]string {
	text := strconv.Itoa(ordinal)
	return map[string]string{appsv1.StatefulSetPodNameLabel: set.Name + "-" + text, appsv1.PodIndexLabel: text}
}

// newPod makes the pod of an ordinal from a template of the revision.
func newPod(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, ordinal int) *corev1.Pod {
	p := pods.New(template, set, kind)
	p.GenerateName, p.Name = "", set.Name+"-"+strconv.Itoa(ordinal)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	maps.Copy(p.Labels, identity(set, ordinal))
	p.Labels[appsv1.StatefulSetRevisionLabel] = revision
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
	for _, c := range set.Spec.VolumeClaimTemplates {
		p.Spec.Volumes = slices.DeleteFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == c.Name })
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, c.Name, ordinal)}}})
	}
	return p
}

func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return template + "-" + set.Name + "-" + strconv.Itoa(ordinal)
}

// newClaims makes the claims of an ordinal. They outlive the pod and the set.
func newClaims(set *appsv1.StatefulSet, ordinal int) (out []*corev1.PersistentVolumeClaim) {
	for i := range set.Spec.VolumeClaimTemplates {
		c := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		c.Name, c.Namespace = claimName(set, c.Name, ordinal), set.Namespace
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		out = append(out, c)
	}
	return out
}
