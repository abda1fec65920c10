package scheduler

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/client"
)

// groups finds what pods belong together: the Services that select them and the set that owns them.
type groups struct {
	services map[string]map[string]labels.Selector // by namespace and name
	rcs      client.TypedView[*corev1.ReplicationController]
	sets     client.TypedView[*appsv1.ReplicaSet]
	stateful client.TypedView[*appsv1.StatefulSet]
}

func (g *groups) follow(ctx context.Context, s *scheduler) []client.View {
	g.services = map[string]map[string]labels.Selector{}
	services := client.Services.View(ctx, s.Client, client.Selection{})
	g.rcs = client.ReplicationControllers.View(ctx, s.Client, client.Selection{})
	g.sets = client.ReplicaSets.View(ctx, s.Client, client.Selection{})
	g.stateful = client.StatefulSets.View(ctx, s.Client, client.Selection{})
	services.Subscribe(ctx, func(old, new *corev1.Service) { s.post(func() { g.serviceChanged(old, new) }) })
	return []client.View{services.View, g.rcs.View, g.sets.View, g.stateful.View}
}

func (g *groups) serviceChanged(old, new *corev1.Service) {
	if new == nil {
		delete(g.services[old.Namespace], old.Name)
		return
	}
	if len(new.Spec.Selector) == 0 {
		delete(g.services[new.Namespace], new.Name)
		return
	}
	if g.services[new.Namespace] == nil {
		g.services[new.Namespace] = map[string]labels.Selector{}
	}
	g.services[new.Namespace][new.Name] = labels.SelectorFromValidatedSet(new.Spec.Selector)
}

// selector matches the pods that belong together with one: what all its Services and its owner select; nil: nobody.
func (g *groups) selector(obj *corev1.Pod) labels.Selector {
	var all labels.Requirements
	add := func(s labels.Selector) {
		if reqs, ok := s.Requirements(); ok {
			all = append(all, reqs...)
		}
	}
	for _, s := range g.services[obj.Namespace] {
		if s.Matches(labels.Set(obj.Labels)) {
			add(s)
		}
	}
	if owner := v1.GetControllerOfNoCopy(obj); owner != nil {
		var set *v1.LabelSelector
		switch owner.Kind {
		case "ReplicaSet":
			if o, ok := g.sets.Get(obj.Namespace, owner.Name); ok {
				set = o.Spec.Selector
			}
		case "StatefulSet":
			if o, ok := g.stateful.Get(obj.Namespace, owner.Name); ok {
				set = o.Spec.Selector
			}
		case "ReplicationController":
			if o, ok := g.rcs.Get(obj.Namespace, owner.Name); ok {
				add(labels.SelectorFromValidatedSet(o.Spec.Selector))
			}
		}
		if set != nil {
			if s, err := v1.LabelSelectorAsSelector(set); err == nil {
				add(s)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return labels.NewSelector().Add(all...)
}

// spreadByDefault gives a pod without constraints the cluster's: rather not many of a kind on one node or in one zone.
// Source: Kubernetes documentation, Pod Topology Spread Constraints, built-in default constraints.
func (g *groups) spreadByDefault(a *ask) {
	if len(a.obj.Spec.TopologySpreadConstraints) > 0 {
		return
	}
	a.near.spread = nil
	sel := g.selector(a.obj)
	if sel == nil {
		return
	}
	for _, d := range [...]spread{{label: corev1.LabelHostname, maxSkew: 3}, {label: corev1.LabelTopologyZone, maxSkew: 5}} {
		d.byDefault, d.byAffinity = true, true
		d.of(a.obj, sel)
		a.near.spread = append(a.near.spread, d)
	}
}
