package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// since is a NoExecute taint and when its time began to count.
type since struct {
	taint corev1.Taint
	at    time.Time
}

// tainted knows the nodes with NoExecute taints, which are few. Safe for concurrent use.
type tainted struct {
	start time.Time // nothing counts from before we could have heard that it ended

	mu     sync.Mutex
	nodes  map[string][]since
	marked map[string]bool // keys of pods that have a deadline
}

// note takes in a node; changed is whether its NoExecute taints are others now.
func (t *tainted) note(name string, taints []corev1.Taint, now time.Time) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.nodes[name]
	var list []since
	for _, x := range taints {
		if x.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		s := since{x, now}
		if x.TimeAdded != nil && x.TimeAdded.After(t.start) {
			s.at = x.TimeAdded.Time
		}
		if i := slices.IndexFunc(old, func(o since) bool { return o.taint.MatchTaint(&x) && o.taint.Value == x.Value }); i >= 0 {
			s.at = old[i].at
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		delete(t.nodes, name)
	} else {
		t.nodes[name] = list
	}
	return !slices.EqualFunc(old, list, func(a, b since) bool { return a.taint.MatchTaint(&b.taint) && a.taint.Value == b.taint.Value })
}

func (t *tainted) on(node string) []since {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[node]
}

// mark notes whether a pod has a deadline, and tells whether it had one.
func (t *tainted) mark(key string, has bool) (had bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had = t.marked[key]
	if has {
		t.marked[key] = true
	} else {
		delete(t.marked, key)
	}
	return had
}

// deadline is when the pod has to leave its node because of the taints; ok false: never.
// Source: Kubernetes documentation, Taints and Tolerations, "tolerationSeconds".
func deadline(p *corev1.Pod, taints []since) (at time.Time, ok bool) {
	arrived := p.CreationTimestamp.Time
	if c := pods.Condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionTrue {
		arrived = c.LastTransitionTime.Time
	}
	for _, t := range taints {
		from := t.at
		if arrived.After(from) {
			from = arrived
		}
		i := slices.IndexFunc(p.Spec.Tolerations, func(x corev1.Toleration) bool { return tolerates(x, t.taint) })
		if i >= 0 {
			seconds := p.Spec.Tolerations[i].TolerationSeconds
			if seconds == nil {
				continue
			}
			from = from.Add(time.Duration(max(0, *seconds)) * time.Second)
		}
		if !ok || from.Before(at) {
			at, ok = from, true
		}
	}
	return at, ok
}

// tolerates tells whether a toleration matches a taint. Source: the API's Toleration type.
func tolerates(x corev1.Toleration, t corev1.Taint) bool {
	if x.Effect != "" && x.Effect != t.Effect || x.Key != "" && x.Key != t.Key {
		return false
	}
	switch x.Operator {
	case "", corev1.TolerationOpEqual:
		return x.Key != "" && x.Value == t.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}

// evictView is everything decideEviction may know of one pod.
type evictView struct {
	Pod    *corev1.Pod
	Taints []since // of its node
	Had    bool    // it had a deadline when last looked at
	Now    time.Time
}

// decideEviction deletes a pod whose time on its node is over.
func decideEviction(v evictView) []controller.Action {
	on := client.Reference(podKind, v.Pod)
	at, ok := deadline(v.Pod, v.Taints)
	name := v.Pod.Namespace + "/" + v.Pod.Name
	switch {
	case v.Pod.DeletionTimestamp != nil:
		return nil
	case !ok && v.Had:
		return []controller.Action{controller.Say(on, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod "+name)}
	case !ok:
		return nil
	case at.After(v.Now):
		return []controller.Action{controller.After(at.Sub(v.Now))}
	}
	var todo []controller.Action
	if !pods.Finished(v.Pod) {
		patch := fmt.Sprintf(`{"metadata":{"uid":%q},"status":{"conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByTaintManager","message":"Taint manager: deleting due to NoExecute taint","lastTransitionTime":%q}]}}`,
			v.Pod.UID, v.Now.UTC().Format(time.RFC3339))
		if c := pods.Condition(v.Pod, corev1.DisruptionTarget); c == nil || c.Status != corev1.ConditionTrue {
			todo = append(todo, controller.Patch(client.Pods, v.Pod, "status", types.StrategicMergePatchType, []byte(patch), "will be deleted"))
		}
	}
	return append(todo, controller.Delete(client.Pods, v.Pod, "does not tolerate its node's taints").
		With(on, controller.Event{Type: corev1.EventTypeNormal, Reason: "TaintManagerEviction", Message: "Marking for deletion Pod " + name}, controller.Event{}))
}

func runEviction(ctx context.Context, env controller.Env, nodes client.TypedView[*corev1.Node], all client.TypedView[*corev1.Pod]) error {
	t := &tainted{start: env.Now(), nodes: map[string][]since{}, marked: map[string]bool{}}
	q := env.Queue("taint_eviction_controller")
	controller.Feed(ctx, q, nodes, func(old, new *corev1.Node) (keys []string) {
		name, list := "", []corev1.Taint(nil)
		if new != nil {
			name, list = new.Name, new.Spec.Taints
		} else {
			name = old.Name
		}
		if t.note(name, list, env.Now()) {
			for _, p := range all.By("node", name) {
				keys = append(keys, controller.KeyOf(p))
			}
		}
		return keys
	})
	controller.Feed(ctx, q, all, func(old, new *corev1.Pod) []string {
		switch {
		case new == nil:
			t.mark(controller.KeyOf(old), false)
		case (old == nil || old.Spec.NodeName != new.Spec.NodeName || len(old.Spec.Tolerations) != len(new.Spec.Tolerations)) && len(t.on(new.Spec.NodeName)) > 0:
			return []string{controller.KeyOf(new)}
		}
		return nil
	})
	loop := controller.Loop[evictView]{Name: "taint eviction", Env: env, Queue: q, Views: []client.View{nodes.View, all.View}, Decide: decideEviction,
		Look: func(key string) (evictView, bool) {
			p, ok := all.Get(controller.SplitKey(key))
			if !ok || p.Spec.NodeName == "" {
				return evictView{}, false
			}
			v := evictView{Pod: p, Taints: t.on(p.Spec.NodeName), Now: env.Now()}
			_, has := deadline(p, v.Taints)
			v.Had = t.mark(key, has && p.DeletionTimestamp == nil)
			return v, true
		}}
	return loop.Run(ctx)
}
