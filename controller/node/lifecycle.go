package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/pods"
)

// View is everything Decide may know of one node. Shared: never write to it.
type View struct {
	Node    *corev1.Node
	Silent  bool // it stopped posting, and the API itself says so
	Again   bool // whether it did could not be found out
	AllDown bool // no node of the cluster is ready
	// May tells whether its pods may begin to be taken away; if not, Wait is when to ask again (0: not by time).
	May    bool
	Wait   time.Duration
	Events []controller.Event // that happened to it
	Pods   []*corev1.Pod      // on it, when it is not ready
	Now    time.Time
}

// Decide lists what to do so that conditions, taints and pods tell how the node is.
func Decide(v View) (todo []controller.Action) {
	on := client.Reference(nodeKind, v.Node)
	for _, e := range v.Events {
		todo = append(todo, controller.Say(on, e.Type, e.Reason, e.Message))
	}
	if v.Again {
		return append(todo, controller.After(check))
	}
	if v.Silent {
		n := *v.Node
		n.Status.Conditions = unknown(v.Node, v.Now)
		return append(todo, controller.Status(client.Nodes, &n, "silent")) // the rest when that is written
	}
	noExecute := ""
	if !v.AllDown {
		noExecute = wantNoExecute(v.Node)
	}
	if noExecute != "" && !evicting(v.Node) && !v.May {
		noExecute = ""
		if v.Wait > 0 {
			todo = append(todo, controller.After(v.Wait))
		}
	}
	if want, changed := taints(v.Node, noExecute, v.Now); changed {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": v.Node.ResourceVersion}, "spec": map[string]any{"taints": want}})
		if err != nil {
			panic(err) // taints are plain values
		}
		todo = append(todo, controller.Patch(client.Nodes, v.Node, "", types.MergePatchType, patch, "taints"))
	}
	return append(todo, markPods(v)...)
}

// unknown is the node's conditions after it was silent for too long.
func unknown(n *corev1.Node, now time.Time) []corev1.NodeCondition {
	out := slices.Clone(n.Status.Conditions)
	at := metav1.NewTime(now)
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		i := slices.IndexFunc(out, func(c corev1.NodeCondition) bool { return c.Type == t })
		switch {
		case i < 0:
			out = append(out, corev1.NodeCondition{Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated",
				Message: "Kubelet never posted node status.", LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: at})
		case out[i].Status != corev1.ConditionUnknown:
			out[i].Status, out[i].Reason, out[i].Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			out[i].LastTransitionTime = at
		}
	}
	return out
}

// markPods says of pods on a node that is not ready that they are not ready either; once: what their kubelet says
// later is true.
func markPods(v View) (todo []controller.Action) {
	c := condition(v.Node, corev1.NodeReady)
	if c == nil || c.Status == corev1.ConditionTrue {
		return nil
	}
	for _, p := range v.Pods {
		r := pods.Condition(p, corev1.PodReady)
		if r == nil || r.Status != corev1.ConditionTrue || r.LastTransitionTime.After(c.LastTransitionTime.Time) {
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"uid":%q},"status":{"conditions":[{"type":"Ready","status":"False","lastTransitionTime":%q}]}}`,
			p.UID, v.Now.UTC().Format(time.RFC3339))
		todo = append(todo, controller.Patch(client.Pods, p, "status", types.StrategicMergePatchType, []byte(patch), "its node is not ready").
			With(client.Reference(podKind, p), controller.Event{Type: corev1.EventTypeWarning, Reason: "NodeNotReady", Message: "Node is not ready"}, controller.Event{}))
	}
	return todo
}

// news is what happened to nodes and was not yet said. Safe for concurrent use.
type news struct {
	mu sync.Mutex
	of map[string][]controller.Event
}

func (n *news) add(name, reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of[name] = append(n.of[name], controller.Event{Type: corev1.EventTypeNormal, Reason: reason, Message: message})
}

func (n *news) take(name string) []controller.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.of[name]
	delete(n.of, name)
	return out
}

// sameForUs tells whether nothing about a node changed that Decide looks at: most changes are heartbeats.
func sameForUs(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable == b.Spec.Unschedulable && equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) &&
		slices.EqualFunc(a.Status.Conditions, b.Status.Conditions, func(x, y corev1.NodeCondition) bool { return x.Type == y.Type && x.Status == y.Status })
}

func runLifecycle(ctx context.Context, env controller.Env, nodes client.TypedView[*corev1.Node], all client.TypedView[*corev1.Pod],
	leases client.TypedView[*coordinationv1.Lease], grace time.Duration) error {
	start := env.Now()
	p, z, q, said := newPulse(grace, env.Now), newZones(), env.Queue("node_lifecycle_controller"), &news{of: map[string][]controller.Event{}}
	if nodes.WaitSynced(ctx) != nil {
		return nil // ctx ended
	}
	for _, n := range nodes.List("") { // before anything is decided all are counted
		z.note(nil, n)
	}
	leases.Subscribe(ctx, func(old, new *coordinationv1.Lease) {
		switch {
		case new == nil:
			p.forget(old.Name)
		case new.Namespace == corev1.NamespaceNodeLease:
			p.renewed(new)
		}
	})
	controller.Feed(ctx, q, nodes, func(old, new *corev1.Node) (keys []string) {
		p.node(old, new)
		wasDown := z.down()
		if z.note(old, new) {
			for _, n := range nodes.List("") {
				keys = append(keys, n.Name)
			}
			if wasDown && !z.down() {
				p.anew() // we can see again: each node gets its time
			}
		}
		switch {
		case new == nil:
			env.Events.EventOn(client.Reference(nodeKind, old), corev1.EventTypeNormal,
				"RemovingNode", fmt.Sprintf("Node %s event: Removing Node %s from Controller", old.Name, old.Name))
			return keys
		case old == nil && new.CreationTimestamp.After(start.Add(-time.Second)):
			said.add(new.Name, "RegisteredNode", fmt.Sprintf("Node %s event: Registered Node %s in Controller", new.Name, new.Name))
		case old != nil && ready(old) == corev1.ConditionTrue && ready(new) != corev1.ConditionTrue:
			said.add(new.Name, "NodeNotReady", fmt.Sprintf("Node %s status is now: NodeNotReady", new.Name))
		case old != nil && sameForUs(old, new):
			return keys
		}
		return append(keys, new.Name)
	})
	look := func(name string) (View, bool) {
		n, ok := nodes.Get("", name)
		if !ok {
			return View{}, false
		}
		v := View{Node: n, AllDown: z.down(), Events: said.take(name), Now: env.Now()}
		if p.late(name) {
			v.Silent, v.Again = p.confirm(ctx, env.Client, name)
		}
		if ready(n) != corev1.ConditionTrue {
			v.Pods = all.By("node", name)
			if !v.Silent && !v.Again && !v.AllDown && wantNoExecute(n) != "" && !evicting(n) {
				v.May, v.Wait = z.take(name, v.Now)
			}
		}
		return v, true
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.watch(ctx, q.Add) })
	loop := controller.Loop[View]{Name: "node", Env: env, Queue: q, Views: []client.View{nodes.View, all.View, leases.View}, Look: look, Decide: Decide}
	err := loop.Run(ctx)
	wg.Wait()
	return err
}
