package authz

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/client"
)

// Ensure brings the default roles and bindings, or others like them, into the cluster: it creates what is missing and
// adds what was taken out, see Reconcile. The namespaces must be there, and c must be one that may do everything. Roles
// are written before bindings, many at a time: they wait for the disk together.
func Ensure(ctx context.Context, c client.Client, wanted []client.Object) error {
	existing := map[string]client.Object{}
	for _, r := range []client.Resource{client.ClusterRoles.Resource, client.ClusterRoleBindings.Resource, client.Roles.Resource, client.RoleBindings.Resource} {
		items, _, err := c.List(ctx, r, "", client.Selection{})
		if err != nil {
			return fmt.Errorf("list %s: %w", r.Resource, err)
		}
		for _, o := range items {
			existing[id(r, o)] = o
		}
	}
	for _, bindings := range []bool{false, true} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(64)
		for _, want := range wanted {
			r, isBinding := resourceOf(want)
			if isBinding != bindings {
				continue
			}
			g.Go(func() error {
				if err := ensure(ctx, c, r, existing[id(r, want)], want); err != nil {
					return fmt.Errorf("default %s %s: %w", r.Kind, want.GetName(), err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func id(r client.Resource, o client.Object) string {
	return r.Resource + "/" + o.GetNamespace() + "/" + o.GetName()
}

func resourceOf(o client.Object) (r client.Resource, isBinding bool) {
	switch o.(type) {
	case *rbacv1.ClusterRole:
		return client.ClusterRoles.Resource, false
	case *rbacv1.Role:
		return client.Roles.Resource, false
	case *rbacv1.ClusterRoleBinding:
		return client.ClusterRoleBindings.Resource, true
	case *rbacv1.RoleBinding:
		return client.RoleBindings.Resource, true
	}
	panic(fmt.Sprintf("authz: %T is neither a role nor a binding", o))
}

// ensure writes one object, again when another server of the cluster was quicker.
func ensure(ctx context.Context, c client.Client, r client.Resource, existing, want client.Object) error {
	for try := 0; ; try++ {
		change, o := Reconcile(existing, want)
		var err error
		switch change {
		case Keep:
			return nil
		case Update:
			_, err = c.Update(ctx, r, "", o)
		case Recreate:
			uid := existing.GetUID()
			if err = c.Delete(ctx, r, o.GetNamespace(), o.GetName(), v1.DeleteOptions{Preconditions: &v1.Preconditions{UID: &uid}}); err != nil && !apierrors.IsNotFound(err) {
				break
			}
			fallthrough
		case Create:
			_, err = c.Create(ctx, r, o.GetNamespace(), o.GetName(), "", o)
		}
		if err == nil || try == 5 || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
		if existing, err = c.Get(ctx, r, o.GetNamespace(), o.GetName()); apierrors.IsNotFound(err) {
			existing = nil
		} else if err != nil {
			return err
		}
	}
}
