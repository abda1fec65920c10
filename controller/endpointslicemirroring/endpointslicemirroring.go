// Package endpointslicemirroring shows what users write into Endpoints, for a Service that selects no pods, as
// EndpointSlices: the proxy and DNS read nothing else.
// Source: Kubernetes documentation, EndpointSlices, EndpointSlice mirroring; KEP-0752.
package endpointslicemirroring

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// ManagedBy is the value of the label endpointslice.kubernetes.io/managed-by on slices that are ours.
const ManagedBy = "endpointslicemirroring-controller.k8s.io"

// Pace is how often the slices of one name are written at most while its Endpoints change all the time.
const Pace = 50 * time.Millisecond

var kind = corev1.SchemeGroupVersion.WithKind("Endpoints")

// View is everything Decide may know of one name. Shared: never write to it.
type View struct {
	Endpoints *corev1.Endpoints
	Service   *corev1.Service              // nil: there is none
	Slices    []*discoveryv1.EndpointSlice // ours, that the Endpoints control
}

// Run keeps the slices until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	all := client.Endpoints.View(ctx, env.Client, client.Selection{})
	services := client.Services.View(ctx, env.Client, client.Selection{})
	written := client.EndpointSlices.View(ctx, env.Client, client.Selection{})
	q := env.Queue("endpoint_slice_mirroring")
	q.Pace = Pace
	controller.FeedSelf(ctx, q, all)
	controller.FeedSelf(ctx, q, services)
	controller.FeedOwner(ctx, q, written, kind.Kind)
	look := func(key string) (v View, ok bool) {
		ns, name := controller.SplitKey(key)
		if v.Endpoints, ok = all.Get(ns, name); !ok {
			return v, false // deleted: its slices go with it, by their owner reference
		}
		v.Service, _ = services.Get(ns, name)
		for _, s := range written.OwnedBy(v.Endpoints.UID) {
			if s.Labels[discoveryv1.LabelManagedBy] == ManagedBy {
				v.Slices = append(v.Slices, s)
			}
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "endpointslicemirroring", Env: env, Queue: q, Look: look, Decide: Decide, Failed: failed,
		Views: []client.View{all.View, services.View, written.View}}
	return loop.Run(ctx)
}

func failed(v View, _ controller.Action, err error) []controller.Action {
	return []controller.Action{controller.Say(client.Reference(kind, v.Endpoints), corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
		fmt.Sprintf("Error updating Endpoint Slices for Endpoints %s/%s: %v", v.Endpoints.Namespace, v.Endpoints.Name, err))}
}
