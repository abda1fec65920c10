// Package podgc deletes pods that nobody else will: those whose node is gone, those that were deleted before
// they had a node, those of nodes out of service, and finished ones when there are too many.
package podgc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// Threshold is how many finished pods a cluster keeps by default.
const Threshold = 12500

// quarantine is how long a node must have been missing before its pods are.
const quarantine = 40 * time.Second

// sweep is how long finished pods gather before the oldest above the threshold go.
const sweep = 20 * time.Second

// View is everything Decide may know of one pod.
type View struct {
	Pod     *corev1.Pod
	Missing time.Duration // for how long its node has been; 0: it is there
	Gone    bool          // and the API itself says so
	Again   bool          // the API could not be asked
	Out     bool          // its node is not ready and out of service
	Now     time.Time
}

// Decide deletes the pod at once if nobody can end it any more.
func Decide(v View) []controller.Action {
	leaving := v.Pod.DeletionTimestamp != nil
	switch {
	case v.Pod.Spec.NodeName == "" && leaving:
		return drop(v, "was deleted before it had a node", "")
	case v.Again:
		return []controller.Action{controller.After(5 * time.Second)}
	case v.Missing > 0 && v.Missing < quarantine:
		return []controller.Action{controller.After(quarantine - v.Missing)}
	case v.Gone:
		return drop(v, "node is gone", "PodGC: node no longer exists")
	case v.Out && leaving:
		return drop(v, "node is out of service", "PodGC: node is out of service")
	}
	return nil
}

// drop marks the pod failed, and DisruptionTarget with a message, unless it has ended; and deletes it without grace.
func drop(v View, reason, message string) (todo []controller.Action) {
	if message != "" && !pods.Finished(v.Pod) {
		condition := fmt.Sprintf(`{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC","message":%q,"lastTransitionTime":%q}`,
			message, v.Now.UTC().Format(time.RFC3339))
		patch := fmt.Sprintf(`{"metadata":{"uid":%q},"status":{"phase":"Failed","conditions":[%s]}}`, v.Pod.UID, condition)
		todo = append(todo, controller.Patch(client.Pods, v.Pod, "status", types.StrategicMergePatchType, []byte(patch), reason))
	}
	return append(todo, atOnce(v.Pod, reason))
}

func atOnce(p *corev1.Pod, reason string) controller.Action {
	a := controller.Delete(client.Pods, p, reason)
	a.Delete.GracePeriodSeconds = ptr.To[int64](0)
	return a
}

// tooMany deletes the oldest finished pods above the threshold, evicted ones first.
func tooMany(all []*corev1.Pod, threshold int) (todo []controller.Action) {
	done := slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return !pods.Finished(p) || p.DeletionTimestamp != nil })
	if len(done) <= threshold {
		return nil
	}
	rank := func(p *corev1.Pod) int {
		if p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(done, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range done[:len(done)-threshold] {
		todo = append(todo, atOnce(p, "too many finished pods"))
	}
	return todo
}

// missing remembers since when nodes that pods name have been missing. Safe for concurrent use.
type missing struct {
	mu    sync.Mutex
	since map[string]time.Time
}

func (m *missing) note(node string, there bool, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if there {
		delete(m.since, node)
		return 0
	}
	if m.since[node].IsZero() {
		m.since[node] = now
	}
	return max(now.Sub(m.since[node]), 1)
}

// Run collects until ctx ends. threshold is how many finished pods are kept; 0 or less: all.
func Run(ctx context.Context, env controller.Env, threshold int) error {
	nodes := client.Nodes.View(ctx, env.Client, client.Selection{})
	all := client.Pods.View(ctx, env.Client, client.Selection{})
	if nodes.WaitSynced(ctx) != nil {
		return nil // ctx ended
	}
	q, many, lost := env.Queue("orphaned_pods_nodes"), env.Queue("terminated_pods"), &missing{since: map[string]time.Time{}}
	controller.Feed(ctx, q, nodes, func(old, new *corev1.Node) (keys []string) {
		if new == nil || old == nil || out(new) && !out(old) {
			o := new
			if o == nil {
				o = old
			}
			for _, p := range all.By("node", o.Name) {
				keys = append(keys, controller.KeyOf(p))
			}
		}
		return keys
	})
	finished := 0 // only the feed's goroutine counts
	controller.Feed(ctx, q, all, func(old, new *corev1.Pod) []string {
		if old != nil && pods.Finished(old) {
			finished--
		}
		if new == nil {
			return nil
		}
		if pods.Finished(new) {
			if finished++; threshold > 0 && finished > threshold {
				many.AddAfter("all", sweep)
			}
		}
		n, there := nodes.Get("", new.Spec.NodeName)
		deleted := new.DeletionTimestamp != nil && (old == nil || old.DeletionTimestamp == nil)
		assigned := old == nil || old.Spec.NodeName != new.Spec.NodeName
		if deleted && (new.Spec.NodeName == "" || there && out(n)) || assigned && new.Spec.NodeName != "" && !there {
			return []string{controller.KeyOf(new)}
		}
		return nil
	})
	views := []client.View{nodes.View, all.View}
	one := controller.Loop[View]{Name: "pod gc", Env: env, Queue: q, Views: views, Decide: Decide,
		Look: func(key string) (View, bool) {
			p, ok := all.Get(controller.SplitKey(key))
			if !ok {
				return View{}, false
			}
			v := View{Pod: p, Now: env.Now()}
			if p.Spec.NodeName == "" {
				return v, true
			}
			n, there := nodes.Get("", p.Spec.NodeName)
			v.Missing = lost.note(p.Spec.NodeName, there, v.Now)
			v.Out = there && out(n)
			if v.Missing >= quarantine {
				_, err := client.Nodes.Get(ctx, env.Client, "", p.Spec.NodeName)
				v.Gone = apierrors.IsNotFound(err)
				v.Again = err != nil && !v.Gone
			}
			return v, true
		}}
	rest := controller.Loop[[]*corev1.Pod]{Name: "pod gc", Env: env, Queue: many, Views: views, Workers: 1,
		Look:   func(string) ([]*corev1.Pod, bool) { return all.List(""), true },
		Decide: func(list []*corev1.Pod) []controller.Action { return tooMany(list, threshold) }}
	var wg sync.WaitGroup
	wg.Go(func() { _ = rest.Run(ctx) }) // a loop ends with ctx, without error
	err := one.Run(ctx)
	wg.Wait()
	return err
}

// out tells whether somebody has declared the node dead: it is not ready and has the taint for that.
// Source: Kubernetes documentation, Node Shutdowns, Non-graceful node shutdown.
func out(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
