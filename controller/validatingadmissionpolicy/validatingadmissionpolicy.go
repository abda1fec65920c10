// Package validatingadmissionpolicy says in each ValidatingAdmissionPolicy's status what is wrong with the types of its expressions, and
// which generation that is true of. What checks them is given by who runs it, since the types are the server's.
package validatingadmissionpolicy

import (
	"context"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

type policy = admissionv1.ValidatingAdmissionPolicy

// Types is what expressions are checked against.
type Types interface {
	// Check gives the warnings about a policy.
	Check(*policy) *admissionv1.TypeChecking
	// Follow calls told, until ctx ends, each time that types change, with what tells which policies that concerns.
	Follow(ctx context.Context, told func(concerns func(*policy) bool))
}

// View is everything Decide may know of one policy. Shared: never write to it.
type View struct {
	Policy *policy
	Found  *admissionv1.TypeChecking // by the types of now
}

// checked tells whether the status is that of the policy as it is now.
func checked(p *policy) bool {
	return p.Status.TypeChecking != nil && p.Status.ObservedGeneration >= p.Generation
}

// Decide writes the status of a policy that does not say what is found now.
func Decide(v View) []controller.Action {
	if v.Policy.DeletionTimestamp != nil || checked(v.Policy) && apiequality.Semantic.DeepEqual(v.Policy.Status.TypeChecking, v.Found) {
		return nil
	}
	p := v.Policy.DeepCopy()
	p.Status.ObservedGeneration, p.Status.TypeChecking = p.Generation, v.Found
	return []controller.Action{controller.Status(client.ValidatingAdmissionPolicies, p, "the types of its expressions are checked")}
}

// Run checks policies until ctx ends: each when it changes, and those whose types change.
func Run(ctx context.Context, env controller.Env, types Types) error {
	policies := client.ValidatingAdmissionPolicies.View(ctx, env.Client, client.Selection{})
	q := env.Queue("validatingadmissionpolicy-status")
	controller.Feed(ctx, q, policies, func(old, p *policy) []string {
		if p == nil || old != nil && checked(p) { // at the beginning all are looked at: types may have changed meanwhile
			return nil
		}
		return []string{controller.KeyOf(p)}
	})
	types.Follow(ctx, func(concerns func(*policy) bool) {
		for _, p := range policies.List("") {
			if concerns(p) {
				q.Add(controller.KeyOf(p))
			}
		}
	})
	loop := controller.Loop[View]{Name: "validatingadmissionpolicy", Env: env, Queue: q, Views: []client.View{policies.View}, Workers: 1, Decide: Decide,
		Look: func(key string) (View, bool) {
			p, ok := policies.Get(controller.SplitKey(key))
			if !ok {
				return View{}, false
			}
			return View{p, types.Check(p)}, true
		}}
	return loop.Run(ctx)
}
