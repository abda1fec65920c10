// Package admission is what the cluster allows beyond what a resource's own rules
// say: a chain of plugins, one file each, that may change (Mutate) and then
// refuse (Validate) a write. The registry runs the chain; plugins read the cluster through
// views of the server's own memory.
package admission

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/api"
)

// Operation is what is being done.
type Operation string

// The operations, as webhooks know them.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes describe one write. Mutating plugins change Object in place.
type Attributes struct {
	Operation   Operation
	Info        *api.Info
	Namespace   string
	Name        string
	Subresource string
	Object      api.Object // nil on delete
	Old         api.Object // nil on create; never to be written to
	User        authenticationv1.UserInfo
	DryRun      bool
	Warn        func(text string)

	// As describes what Object and Old are where they are no objects of Info: a Scale, Binding, Eviction, TokenRequest; nil: of Info.
	As *api.Info
	// Connection is what a CONNECT asks for, such as a PodExecOptions; Object and Old are nil then.
	Connection runtime.Object
	// FieldManager and FieldValidation are as the request says them, Deleting are the options of a DELETE.
	FieldManager, FieldValidation string
	Deleting                      *metav1.DeleteOptions
	// System: the write is the server's own share in one that was admitted, such as the status that an eviction sets. What
	// users add to admission is not asked.
	System bool
	// Annotate notes something for the audit trail; nil: nobody listens.
	Annotate func(key, value string)

	// Again is set by a plugin that changed the object in a way of its own: the chain changes it once more, with Second set.
	Again, Second bool
	// Altered: what users add to admission changed the object.
	Altered bool
	// AsSent puts back into Object what the client said of what nobody can change, and the server knows better; nil: it says nothing else.
	AsSent func() error
	// Shown: AsSent was called.
	Shown bool
	// OfCollection: the object is one of those of a deletecollection, whose request names none.
	OfCollection bool
	// Kept is what plugins keep from the first pass for the second, by their name.
	Kept map[string]any
}

// Shape describes what Object and Old are.
func (a *Attributes) Shape() *api.Info {
	if a.As != nil {
		return a.As
	}
	return a.Info
}

// Show makes Object what those whom users add to admission see before they change it: the object as the client sent it. It is whole again
// for those who validate.
func (a *Attributes) Show() error {
	if a.AsSent == nil || a.Shown {
		return nil
	}
	a.Shown = true
	return a.AsSent()
}

// Named is the name that the request says.
func (a *Attributes) Named() string {
	if a.OfCollection {
		return ""
	}
	return a.Name
}

// Note keeps a note for the audit trail, if there is one.
func (a *Attributes) Note(key, value string) {
	if a.Annotate != nil {
		a.Annotate(key, value)
	}
}

// Options are the options of the operation: CreateOptions, UpdateOptions or DeleteOptions of meta.k8s.io/v1; nil for CONNECT.
func (a *Attributes) Options() runtime.Object {
	var dry []string
	if a.DryRun {
		dry = []string{metav1.DryRunAll}
	}
	kind := func(name string) metav1.TypeMeta { return metav1.TypeMeta{Kind: name, APIVersion: "meta.k8s.io/v1"} }
	switch a.Operation {
	case Create:
		return &metav1.CreateOptions{TypeMeta: kind("CreateOptions"), DryRun: dry, FieldManager: a.FieldManager, FieldValidation: a.FieldValidation}
	case Update:
		return &metav1.UpdateOptions{TypeMeta: kind("UpdateOptions"), DryRun: dry, FieldManager: a.FieldManager, FieldValidation: a.FieldValidation}
	case Delete:
		o := &metav1.DeleteOptions{DryRun: dry}
		if a.Deleting != nil {
			o = a.Deleting.DeepCopy()
		}
		o.TypeMeta = kind("DeleteOptions")
		return o
	}
	return nil
}

type exempt struct{}

// Exempt marks what is done with the context as the server's own news about admission itself: webhooks and policies are not asked, so
// that a webhook cannot hide that it stands in its own way.
func Exempt(ctx context.Context) context.Context { return context.WithValue(ctx, exempt{}, true) }

// Exempted tells whether a context is marked by Exempt.
func Exempted(ctx context.Context) bool { return ctx.Value(exempt{}) != nil }

// Resource is the plural with the subresource, in the core group without prefix: "pods", "pods/status".
// Other groups' are followed by the group: "deployments.apps".
func (a *Attributes) Resource() string {
	r := a.Info.Resource
	if a.Info.Group != "" {
		r += "." + a.Info.Group
	}
	if a.Subresource != "" {
		r += "/" + a.Subresource
	}
	return r
}

// Plugin is one rule of the cluster. Errors are API errors (mostly Forbidden).
type Plugin struct {
	Name     string
	Mutate   func(ctx context.Context, a *Attributes) error // nil: changes nothing
	Validate func(ctx context.Context, a *Attributes) error // nil: refuses nothing
}

// Chain runs plugins in order.
type Chain []Plugin

// Mutate lets each plugin change the object; the first error ends it. If one asks for it all are asked once more, so that they see
// what it did. Source: Kubernetes documentation, Dynamic Admission Control, Reinvocation policy.
func (c Chain) Mutate(ctx context.Context, a *Attributes) error { return again(ctx, a, c.mutate) }

func again(ctx context.Context, a *Attributes, mutate func(context.Context, *Attributes) error) error {
	if err := mutate(ctx, a); err != nil || !a.Again {
		return err
	}
	a.Again, a.Second = false, true
	return mutate(ctx, a)
}

func (c Chain) mutate(ctx context.Context, a *Attributes) error {
	for _, p := range c {
		if p.Mutate != nil {
			if err := p.Mutate(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate lets each plugin refuse; the first error ends it.
func (c Chain) Validate(ctx context.Context, a *Attributes) error {
	for _, p := range c {
		if p.Validate != nil {
			if err := p.Validate(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}
