package deployment

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

// Annotations by which kubectl and the steps of a rollout know a ReplicaSet.
const (
	revisionKey = "deployment.kubernetes.io/revision"
	historyKey  = "deployment.kubernetes.io/revision-history"
	desiredKey  = "deployment.kubernetes.io/desired-replicas" // spec.replicas of the Deployment when the set was last scaled
	maxKey      = "deployment.kubernetes.io/max-replicas"     // and that with maxSurge
)

// ownAnnotations are not handed down from a Deployment to its ReplicaSets.
var ownAnnotations = map[string]bool{corev1.LastAppliedConfigAnnotation: true, revisionKey: true, historyKey: true,
	desiredKey: true, maxKey: true, appsv1.DeprecatedRollbackTo: true}

// hash is the pod-template-hash of the Deployment's present template.
func hash(d *appsv1.Deployment) string {
	h := fnv.New32a()
	_ = json.NewEncoder(h).Encode(d.Spec.Template) // a template always encodes, a hash never fails
	if d.Status.CollisionCount != nil {
		fmt.Fprint(h, *d.Status.CollisionCount)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

func setName(d *appsv1.Deployment) string { return d.Name + "-" + hash(d) }

// newSet is the ReplicaSet of the Deployment's present template.
func newSet(d *appsv1.Deployment, replicas, most int32, revision int64) *appsv1.ReplicaSet {
	h := hash(d)
	template := *d.Spec.Template.DeepCopy()
	template.Labels = with(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, h)
	sel := d.Spec.Selector.DeepCopy()
	sel.MatchLabels = with(sel.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, h)
	set := &appsv1.ReplicaSet{
		ObjectMeta: v1.ObjectMeta{Namespace: d.Namespace, Name: setName(d), Labels: template.Labels,
			OwnerReferences: []v1.OwnerReference{*v1.NewControllerRef(d, kind)}},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(replicas), MinReadySeconds: d.Spec.MinReadySeconds, Selector: sel, Template: template},
	}
	set.Annotations = handedDown(d, nil)
	set.Annotations[revisionKey] = strconv.FormatInt(revision, 10)
	noteSize(set, replicasOf(d), most)
	return set
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// handedDown is the set's annotations with those that the Deployment hands down.
func handedDown(d *appsv1.Deployment, have map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range d.Annotations {
		if !ownAnnotations[k] {
			out[k] = v
		}
	}
	return out
}

// noteSize writes down for which size of the Deployment the set was scaled.
func noteSize(set *appsv1.ReplicaSet, desired, most int32) {
	set.Annotations = with(with(set.Annotations, desiredKey, fmt.Sprint(desired)), maxKey, fmt.Sprint(most))
}

// noteRevision gives the set a newer revision and remembers the old one.
func noteRevision(set *appsv1.ReplicaSet, revision int64) {
	old := set.Annotations[revisionKey]
	set.Annotations = with(set.Annotations, revisionKey, strconv.FormatInt(revision, 10))
	if old == "" {
		return
	}
	history := set.Annotations[historyKey]
	if history != "" {
		history += ","
	}
	for history += old; len(history) > 2000; { // an annotation is no archive
		_, rest, _ := strings.Cut(history, ",")
		history = rest
	}
	set.Annotations[historyKey] = history
}

func revisionOf(set *appsv1.ReplicaSet) int64 { return number(set, revisionKey) }

func number(set *appsv1.ReplicaSet, key string) int64 {
	n, err := strconv.ParseInt(set.Annotations[key], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// sameTemplate tells whether the set was made from the Deployment's present template.
func sameTemplate(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	a, b := d.Spec.Template, set.Spec.Template
	a.Labels, b.Labels = maps.Clone(a.Labels), maps.Clone(b.Labels)
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

func replicasOf(d *appsv1.Deployment) int32 { return max(0, ptr.Deref(d.Spec.Replicas, 1)) }

func size(set *appsv1.ReplicaSet) int32 { return max(0, ptr.Deref(set.Spec.Replicas, 1)) }

// available is how many available pods the set surely keeps: its status may still be that of a larger size.
func available(set *appsv1.ReplicaSet) int32 { return min(size(set), set.Status.AvailableReplicas) }

// footprint is how many pods the set may have now: those it should have, and those it has not yet deleted.
func footprint(set *appsv1.ReplicaSet) int32 { return max(size(set), set.Status.Replicas) }

// unseen tells whether the set was resized and has not answered yet: its pods may still be those of a larger size.
func unseen(set *appsv1.ReplicaSet) bool {
	return set.Generation > 1 && set.Status.ObservedGeneration < set.Generation
}

func sum(sets []*appsv1.ReplicaSet, f func(*appsv1.ReplicaSet) int32) (n int32) {
	for _, set := range sets {
		n += f(set)
	}
	return n
}
