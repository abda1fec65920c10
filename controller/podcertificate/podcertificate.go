// Package podcertificate deletes requests of pods for certificates once nobody needs them: a kubelet takes an answer
// at once, and asks anew when its request is gone.
package podcertificate

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// kept is how long a request stays, answered or not. Source: KEP-4317.
const kept = 15 * time.Minute

// View is everything Decide may know of one request.
type View struct {
	Request *certificatesv1.PodCertificateRequest
	Now     time.Time
}

// Decide deletes the request when its time is over.
func Decide(v View) []controller.Action {
	if v.Request.DeletionTimestamp != nil {
		return nil
	}
	if left := v.Request.CreationTimestamp.Add(kept).Sub(v.Now); left > 0 {
		return []controller.Action{controller.After(left)}
	}
	return []controller.Action{controller.Delete(client.PodCertificateRequests, v.Request, "it is older than "+kept.String())}
}

// Run deletes requests until ctx ends.
func Run(ctx context.Context, env controller.Env) error {
	requests := client.PodCertificateRequests.View(ctx, env.Client, client.Selection{})
	q := env.Queue("podcertificaterequest_cleaner")
	controller.Feed(ctx, q, requests, func(old, new *certificatesv1.PodCertificateRequest) []string {
		if new != nil && old == nil {
			return []string{controller.KeyOf(new)}
		}
		return nil
	})
	loop := controller.Loop[View]{Name: "podcertificate", Env: env, Queue: q, Views: []client.View{requests.View}, Workers: 1, Decide: Decide,
		Look: func(key string) (View, bool) {
			r, ok := requests.Get(controller.SplitKey(key))
			return View{r, env.Now()}, ok
		}}
	return loop.Run(ctx)
}
