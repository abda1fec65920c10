// Package namespace empties a Namespace that is being deleted: pods first, then everything else, and lets it go once
// nothing is left. What it waits for it says in the Namespace's conditions.
package namespace

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// View is everything Decide may know of one Namespace. Shared: never write to it.
type View struct {
	Namespace *corev1.Namespace
	Content   []Content // of resources that have any, or could not be listed
	Now       time.Time
}

// Content is what a namespace has of one resource, as the API itself says.
type Content struct {
	Resource client.Resource
	Objects  []client.Object
	Err      error // of listing
}

// Run empties namespaces until ctx ends. resources are all that is served beside custom ones; those without namespaces are skipped. Those
// that answer a list with "not found" or "method not allowed" are taken for empty.
func Run(ctx context.Context, env controller.Env, resources []client.Resource) error {
	namespaces := client.Namespaces.View(ctx, env.Client, client.Selection{})
	pods := client.Pods.View(ctx, env.Client, client.Selection{})
	q := env.Queue("namespace")
	leaving := func(name string) bool {
		ns, ok := namespaces.Get("", name)
		return ok && ns.DeletionTimestamp != nil
	}
	controller.Feed(ctx, q, namespaces, func(_, new *corev1.Namespace) []string {
		if new != nil && new.DeletionTimestamp != nil {
			return []string{new.Name}
		}
		return nil
	})
	controller.Feed(ctx, q, pods, func(old, new *corev1.Pod) []string {
		if new == nil && leaving(old.Namespace) {
			return []string{old.Namespace}
		}
		return nil
	})
	all := controller.AllResources(ctx, env.Client, slices.DeleteFunc(slices.Clone(resources), func(r client.Resource) bool { return !r.Namespaced }))
	look := func(name string) (View, bool) {
		ns, ok := namespaces.Get("", name)
		if !ok || ns.DeletionTimestamp == nil {
			return View{}, false
		}
		v := View{Namespace: ns, Now: env.Now()}
		for _, r := range all.Now() {
			if !r.Namespaced {
				continue
			}
			objects, _, err := env.Client.List(ctx, r, name, client.Selection{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil || len(objects) > 0 {
				v.Content = append(v.Content, Content{r, objects, err})
			}
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "namespace", Env: env, Queue: q, Views: []client.View{namespaces.View}, Look: look, Decide: Decide, Failed: Failed, Workers: 10}
	return loop.Run(ctx)
}
