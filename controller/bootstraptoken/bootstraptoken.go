// Package bootstraptoken deletes the Secrets of bootstrap tokens that have expired.
package bootstraptoken

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

const secretType corev1.SecretType = "bootstrap.kubernetes.io/token"

// View is everything Decide may know of one token.
type View struct {
	Secret *corev1.Secret
	Now    time.Time
}

// Decide deletes the token if it has expired. One whose time cannot be read counts as expired; one without lives on.
func Decide(v View) []controller.Action {
	text := string(v.Secret.Data["expiration"])
	if v.Secret.Type != secretType || v.Secret.DeletionTimestamp != nil || text == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if left := at.Sub(v.Now); err == nil && left > 0 {
		return []controller.Action{controller.After(left)}
	}
	return []controller.Action{controller.Delete(client.Secrets, v.Secret, "expired at "+text)}
}

// Run deletes expired tokens until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	secrets := client.Secrets.View(ctx, env.Client, client.Selection{Namespace: metav1.NamespaceSystem})
	q := env.Queue("token_cleaner")
	controller.Feed(ctx, q, secrets, func(_, new *corev1.Secret) []string {
		if new != nil && new.Type == secretType {
			return []string{controller.KeyOf(new)}
		}
		return nil
	})
	loop := controller.Loop[View]{Name: "bootstraptoken", Env: env, Queue: q, Views: []client.View{secrets.View}, Workers: 1, Decide: Decide,
		Look: func(key string) (View, bool) {
			s, ok := secrets.Get(controller.SplitKey(key))
			return View{s, env.Now()}, ok
		}}
	return loop.Run(ctx)
}
