// Package rootca keeps the ConfigMap kube-root-ca.crt in every namespace, by which pods know the API server:
// restored when it is changed or deleted.
package rootca

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/pki"
)

// Name is the ConfigMap's, which the pods' token volumes rely on.
const Name = "kube-root-ca.crt"

const (
	description     = "kubernetes.io/description"
	descriptionText = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)

// View is everything Decide may know of one namespace.
type View struct {
	Namespace *corev1.Namespace
	Map       *corev1.ConfigMap // nil: there is none
	CA        string            // PEM
}

// Decide makes the ConfigMap say what CA says; not in a namespace that is on its way out.
func Decide(v View) []controller.Action {
	if v.Namespace.DeletionTimestamp != nil || v.Namespace.Status.Phase == corev1.NamespaceTerminating {
		return nil
	}
	data := map[string]string{"ca.crt": v.CA}
	if v.Map == nil {
		create := controller.Create(client.ConfigMaps, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: v.Namespace.Name, Name: Name, Annotations: map[string]string{description: descriptionText}},
			Data:       data}, "namespace has no root certificate")
		create.IgnoreExists = true
		return []controller.Action{create}
	}
	if maps.Equal(v.Map.Data, data) && v.Map.Annotations[description] != "" {
		return nil
	}
	right := v.Map.DeepCopy()
	right.Data = data
	if right.Annotations == nil {
		right.Annotations = map[string]string{}
	}
	right.Annotations[description] = descriptionText
	return []controller.Action{controller.Update(client.ConfigMaps, right, "root certificate was changed")}
}

// Run keeps the ConfigMaps until ctx ends.
func Run(ctx context.Context, env controller.Env, ca *pki.Trust) error {
	namespaces := client.Namespaces.View(ctx, env.Client, client.Selection{})
	configMaps := client.ConfigMaps.View(ctx, env.Client, client.Selection{Fields: "metadata.name=" + Name})
	q := env.Queue("root_ca_cert_publisher")
	controller.FeedSelf(ctx, q, namespaces)
	configMaps.View.Subscribe(ctx, func(c client.Change) {
		if c.Object().GetName() == Name {
			q.Add(c.Object().GetNamespace())
		}
	})
	ca.Tell(ctx, func() {
		for _, ns := range namespaces.List("") {
			q.Add(ns.Name)
		}
	})
	loop := controller.Loop[View]{Name: "rootca", Env: env, Queue: q, Views: []client.View{namespaces.View, configMaps.View}, Decide: Decide,
		Look: func(key string) (View, bool) {
			ns, ok := namespaces.Get("", key)
			m, _ := configMaps.Get(key, Name)
			return View{ns, m, string(ca.PEM())}, ok
		}}
	return loop.Run(ctx)
}
