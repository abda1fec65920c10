package controllertest

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Start is when the pods of Pods became ready.
var Start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// Pods reads pods from words such as "a:Running,ready b:Pending c:Failed,deleting d:orphan". The word after
// the name is the phase; then, in any order: ready, deleting, orphan, other (labels do not match), @n1 (node),
// #3 (completion index). What owner controls has its namespace and the labels.
func Pods(words string, owner client.Object, kind schema.GroupVersionKind, labels map[string]string) (out []*corev1.Pod) {
	for _, word := range strings.Fields(words) {
		name, states, _ := strings.Cut(word, ":")
		p := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: owner.GetNamespace(), Name: name, UID: types.UID("uid-" + name), Labels: labels,
			CreationTimestamp: v1.NewTime(Start), OwnerReferences: []v1.OwnerReference{*v1.NewControllerRef(owner, kind)}}}
		p.Status.Phase = corev1.PodPending
		for _, s := range strings.Split(states, ",") {
			switch {
			case s == "ready":
				SetReady(p, Start)
			case s == "deleting":
				p.DeletionTimestamp = &v1.Time{Time: Start}
			case s == "orphan":
				p.OwnerReferences = nil
			case s == "other":
				p.Labels = map[string]string{"other": "yes"}
			case strings.HasPrefix(s, "@"):
				p.Spec.NodeName = s[1:]
			case strings.HasPrefix(s, "#"):
				p.Annotations = map[string]string{"batch.kubernetes.io/job-completion-index": s[1:]}
			case s != "":
				p.Status.Phase = corev1.PodPhase(s)
			}
		}
		out = append(out, p)
	}
	return out
}

// SetReady makes a pod run and be ready since then.
func SetReady(p *corev1.Pod, since time.Time) {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: v1.NewTime(since)}}
}

// Show writes actions in words: "create Pod, delete Pod b, update status ReplicaSet web, again in 5s".
func Show(todo []controller.Action) string {
	var out []string
	for _, a := range todo {
		switch {
		case a.Requeue > 0:
			out = append(out, "again in "+a.Requeue.String())
		case a.Verb == controller.SayEvent:
			out = append(out, "event "+a.Event.Reason)
		case a.Object.GetName() == "":
			out = append(out, string(a.Verb)+" "+a.Resource.Kind)
		default:
			out = append(out, string(a.Verb)+" "+a.Resource.Kind+" "+a.Object.GetName())
		}
	}
	return strings.Join(out, ", ")
}
