// Package validatingadmissionpolicy says in each ValidatingAdmissionPolicy's status what is wrong with the types of its expressions, and
// which generation that is true of. What checks them is given by who runs it, since the types are the server's.
package validatingadmissionpolicy

import (
	"context"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Check gives the warnings about a policy.
type Check func(*admissionv1.ValidatingAdmissionPolicy) *admissionv1.TypeChecking

// View is everything Decide may know of one policy. Shared: never write to it.
type View struct {
	Policy *admissionv1.ValidatingAdmissionPolicy
	Check  Check
}

// checked tells whether the status is that of the policy as it is now.
func checked(p *admissionv1.ValidatingAdmissionPolicy) bool {
	return p.Status.TypeChecking != nil && p.Status.ObservedGeneration >= p.Generation
}

// Decide writes the status of a policy that nobody has looked at since it changed.
func Decide(v View) []controller.Action {
	if v.Policy.DeletionTimestamp != nil || checked(v.Policy) {
		return nil
	}
	p := v.Policy.DeepCopy()
	p.Status.ObservedGeneration, p.Status.TypeChecking = p.Generation, v.Check(v.Policy)
	return []controller.Action{controller.Status(client.ValidatingAdmissionPolicies, p, "the types of its expressions are checked")}
}

// Run checks policies until ctx ends.
func Run(ctx context.Context, env controller.Env, check Check) error {
	policies := client.ValidatingAdmissionPolicies.View(ctx, env.Client, client.Selection{})
	q := controller.NewQueue()
	controller.Feed(ctx, q, policies, func(_, p *admissionv1.ValidatingAdmissionPolicy) []string {
		if p == nil || checked(p) {
			return nil
		}
		return []string{controller.KeyOf(p)}
	})
	loop := controller.Loop[View]{Name: "validatingadmissionpolicy", Env: env, Queue: q, Views: []client.View{policies.View}, Workers: 1, Decide: Decide,
		Look: func(key string) (View, bool) {
			p, ok := policies.Get(controller.SplitKey(key))
			return View{p, check}, ok
		}}
	return loop.Run(ctx)
}
