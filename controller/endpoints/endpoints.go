// Package endpoints keeps the Endpoints of every Service that selects pods, for those who do not read
// EndpointSlices yet.
package endpoints

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/services"
)

// Pace is how often one Service's Endpoints are written at most while its pods change all the time.
const Pace = 50 * time.Millisecond

// View is everything Decide may know of one name. Shared: never write to it.
type View struct {
	Service   *corev1.Service // nil: there is none
	Pods      []*corev1.Pod   // that it selects and that have an address
	Endpoints *corev1.Endpoints
}

// Run keeps the Endpoints until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	all := client.Services.View(ctx, env.Client, client.Selection{})
	pods := client.Pods.View(ctx, env.Client, client.Selection{})
	written := client.Endpoints.View(ctx, env.Client, client.Selection{})
	q := env.Queue("endpoint")
	q.Pace = Pace
	services.Feed(ctx, q, all, pods)
	controller.FeedSelf(ctx, q, written)
	look := func(key string) (v View, ok bool) {
		ns, name := controller.SplitKey(key)
		v.Endpoints, _ = written.Get(ns, name)
		if v.Service, ok = all.Get(ns, name); ok {
			v.Pods = services.Pods(v.Service, pods)
		}
		return v, v.Service != nil || v.Endpoints != nil
	}
	loop := controller.Loop[View]{Name: "endpoints", Env: env, Queue: q, Look: look, Decide: Decide, Failed: failed,
		Views: []client.View{all.View, pods.View, written.View}}
	return loop.Run(ctx)
}

func failed(v View, a controller.Action, err error) []controller.Action {
	kind, reason := "create", "FailedToCreateEndpoint"
	switch {
	case v.Endpoints == nil && a.Verb == controller.CreateObject:
	case a.Verb == controller.UpdateObject:
		kind, reason = "update", "FailedToUpdateEndpoint"
	default:
		return nil
	}
	return []controller.Action{controller.Say(client.Reference(corev1.SchemeGroupVersion.WithKind("Endpoints"), a.Object), corev1.EventTypeWarning, reason,
		fmt.Sprintf("Failed to %s endpoint %s/%s: %v", kind, a.Object.GetNamespace(), a.Object.GetName(), err))}
}
