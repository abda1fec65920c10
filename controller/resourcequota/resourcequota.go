// Package resourcequota adds up what a namespace's objects use and writes it into its quotas' status. What a write adds the
// registry charges itself, in the write's transaction; this gives back what objects no longer use, and takes in
// quotas that are new or changed. Keys come from changes of quotas and of what they count.
package resourcequota

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api/quota"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// View is everything reconcile may know of one quota. Shared: never write to it.
type View struct {
	Quota   *corev1.ResourceQuota
	Objects map[schema.GroupResource][]client.Object // of the namespace, of the resources that the quota counts
	Polled  bool                                     // some of them are looked at now and then only
	Now     time.Time
}

// again is how long a quota waits that counts what is not watched.
const again = 10 * time.Second

// Run keeps the status of quotas until ctx ends. resources are all that is served beside custom ones: a quota may count any of them.
func Run(ctx context.Context, env controller.Env, resources []client.Resource) error {
	quotas := client.ResourceQuotas.View(ctx, env.Client, client.Selection{})
	q := env.Queue("resourcequota_primary")
	controller.FeedSelf(ctx, q, quotas)
	watched := map[schema.GroupResource]client.View{}
	all := []client.View{quotas.View}
	for _, r := range []client.Resource{client.Pods.Resource, client.Services.Resource, client.PersistentVolumeClaims.Resource} {
		v := env.Client.View(ctx, r, client.Selection{})
		watched[r.GroupResource()] = v
		all = append(all, client.ViewOf{View: v, Resource: r})
		v.Subscribe(ctx, func(c client.Change) {
			if c.New != nil && c.Old == nil {
				return // charged when it was written
			}
			for _, of := range quotas.List(c.Object().GetNamespace()) {
				q.Add(controller.KeyOf(of))
			}
		})
	}
	served := controller.AllResources(ctx, env.Client, resources)
	look := func(key string) (View, bool) {
		of, ok := quotas.Get(controller.SplitKey(key))
		if !ok {
			return View{}, false
		}
		v := View{Quota: of, Objects: map[schema.GroupResource][]client.Object{}, Now: env.Now()}
		for name := range of.Spec.Hard {
			gr := quota.Of(name)
			if _, done := v.Objects[gr]; done {
				continue
			}
			if seen := watched[gr]; seen != nil {
				v.Objects[gr] = seen.List(of.Namespace)
				continue
			}
			there := served.Now()
			n := slices.IndexFunc(there, func(r client.Resource) bool { return r.GroupResource() == gr })
			if n < 0 {
				continue
			}
			objects, _, err := env.Client.List(ctx, there[n], of.Namespace, client.Selection{})
			if err != nil {
				env.Log.Warn("a quota's objects could not be listed", "object", key, "err", err)
				return View{}, false
			}
			v.Objects[gr], v.Polled = objects, true
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "resourcequota", Env: env, Queue: q, Views: all, Look: look, Decide: reconcile}
	return loop.Run(ctx)
}

// reconcile writes what the quota's objects use, if its status says something else.
func reconcile(v View) (todo []controller.Action) {
	used := corev1.ResourceList{}
	for name := range v.Quota.Spec.Hard {
		used[name] = *resource.NewQuantity(0, resource.DecimalSI)
	}
	for gr, objects := range v.Objects {
		for _, o := range objects {
			if quota.Counts(v.Quota, o) {
				quota.Sum(used, quota.Masked(quota.Usage(gr, o, v.Now), v.Quota.Spec.Hard))
			}
		}
	}
	status := corev1.ResourceQuotaStatus{Hard: v.Quota.Spec.Hard, Used: used}
	if !equality.Semantic.DeepEqual(status, v.Quota.Status) {
		next := v.Quota.DeepCopy()
		next.Status = *status.DeepCopy()
		todo = append(todo, controller.Status(client.ResourceQuotas, next, "what its objects use has changed"))
	}
	if v.Polled {
		todo = append(todo, controller.After(again))
	}
	return todo
}
