// Package endpointslice keeps the EndpointSlices of every Service that selects pods. A pod that is no longer ready
// or is being deleted leaves the ready endpoints at once: nothing is gathered, except what changes while a write
// is under way or within Pace of the last one.
package endpointslice

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/services"
)

// ManagedBy is the value of the label endpointslice.kubernetes.io/managed-by on slices that are ours.
const ManagedBy = "endpointslice-controller.k8s.io"

// Pace is how often one Service's slices are written at most while its pods change all the time.
const Pace = 10 * time.Millisecond

// View is everything Decide may know of one Service. Shared: never write to it.
type View struct {
	Service *corev1.Service
	Pods    []*corev1.Pod                // that it selects and that have an address
	Nodes   map[string]*corev1.Node      // those of Pods, by name; missing: there is no such node
	Slices  []*discoveryv1.EndpointSlice // that the Service controls
}

// Run keeps the slices until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	all := client.Services.View(ctx, env.Client, client.Selection{})
	pods := client.Pods.View(ctx, env.Client, client.Selection{})
	nodes := client.Nodes.View(ctx, env.Client, client.Selection{})
	written := client.EndpointSlices.View(ctx, env.Client, client.Selection{})
	q := env.Queue("endpoint_slice")
	q.Pace = Pace
	index := services.Feed(ctx, q, all, pods)
	controller.Feed(ctx, q, nodes, func(old, new *corev1.Node) (keys []string) {
		if old != nil && new != nil && zone(old) == zone(new) {
			return nil
		}
		n := new
		if n == nil {
			n = old
		}
		for _, p := range pods.By("node", n.Name) {
			keys = append(keys, index.Of(p)...)
		}
		return keys
	})
	controller.FeedOwner(ctx, q, written, services.Kind.Kind)
	look := func(key string) (View, bool) {
		s, ok := all.Get(controller.SplitKey(key))
		if !ok || s.Spec.Type == corev1.ServiceTypeExternalName || len(s.Spec.Selector) == 0 {
			return View{}, false // deleted: its slices go with it, by their owner reference
		}
		v := View{Service: s, Pods: services.Pods(s, pods), Nodes: map[string]*corev1.Node{}}
		for _, p := range v.Pods {
			if n, ok := nodes.Get("", p.Spec.NodeName); ok {
				v.Nodes[n.Name] = n
			}
		}
		for _, slice := range written.OwnedBy(s.UID) {
			if slice.Labels[discoveryv1.LabelManagedBy] == ManagedBy {
				v.Slices = append(v.Slices, slice)
			}
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "endpointslice", Env: env, Queue: q, Look: look, Decide: Decide, Failed: failed,
		Views: []client.View{all.View, pods.View, nodes.View, written.View}}
	return loop.Run(ctx)
}

func failed(v View, _ controller.Action, err error) []controller.Action {
	return []controller.Action{controller.Say(client.Reference(services.Kind, v.Service), corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
		fmt.Sprintf("Error updating Endpoint Slices for Service %s/%s: %v", v.Service.Namespace, v.Service.Name, err))}
}

func zone(n *corev1.Node) string { return n.Labels[corev1.LabelTopologyZone] }
