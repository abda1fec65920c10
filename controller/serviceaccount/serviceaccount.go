// Package serviceaccount gives every namespace its ServiceAccount "default", and makes it anew when it is deleted.
package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Name is what the account is called that pods run as when they name none.
const Name = "default"

// View is everything Decide may know of one namespace.
type View struct {
	Namespace *corev1.Namespace
	Exists    bool // its account
}

// Decide makes the account where it is missing; not in a namespace that is on its way out.
func Decide(v View) []controller.Action {
	if v.Exists || v.Namespace.DeletionTimestamp != nil || v.Namespace.Status.Phase == corev1.NamespaceTerminating {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: v.Namespace.Name, Name: Name}}
	create := controller.Create(client.ServiceAccounts, account, "namespace has no default service account")
	create.IgnoreExists = true
	return []controller.Action{create}
}

// Run keeps the accounts until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	namespaces := client.Namespaces.View(ctx, env.Client, client.Selection{})
	accounts := client.ServiceAccounts.View(ctx, env.Client, client.Selection{Fields: "metadata.name=" + Name})
	q := env.Queue("serviceaccount")
	controller.FeedSelf(ctx, q, namespaces)
	controller.Feed(ctx, q, accounts, func(old, new *corev1.ServiceAccount) []string {
		if new == nil && old.Name == Name {
			return []string{old.Namespace}
		}
		return nil
	})
	loop := controller.Loop[View]{Name: "serviceaccount", Env: env, Queue: q, Views: []client.View{namespaces.View, accounts.View}, Decide: Decide,
		Look: func(key string) (View, bool) {
			ns, ok := namespaces.Get("", key)
			_, exists := accounts.Get(key, Name)
			return View{ns, exists}, ok
		}}
	return loop.Run(ctx)
}
