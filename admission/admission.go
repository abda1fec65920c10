// Package admission is what the cluster allows beyond what a resource's own rules
// say: a chain of plugins, one file each, that may change (Mutate) and then
// refuse (Validate) a write. The registry runs the chain; plugins read the cluster through
// views of the server's own memory.
package admission

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"

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
}

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

// Mutate lets each plugin change the object; the first error ends it.
func (c Chain) Mutate(ctx context.Context, a *Attributes) error {
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
