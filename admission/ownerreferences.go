package admission

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/authz"
)

// OwnerReferences (OwnerReferencesPermissionEnforcement) lets only those say who owns an object who may delete it, since that is
// what may come of it; and only those hold up an owner's deletion who may write the owner's finalizers.
// resources names the resources of a kind; none: the kind is not served.
// Source: Kubernetes documentation, Admission Control, OwnerReferencesPermissionEnforcement.
func OwnerReferences(judge authz.Authorizer, resources func(schema.GroupVersionKind) []schema.GroupVersionResource) Plugin {
	return Plugin{Name: "OwnerReferencesPermissionEnforcement", Validate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Create && a.Operation != Update || a.Subresource == "status" || a.Object == nil {
			return nil
		}
		owners := a.Object.GetOwnerReferences()
		var had []metav1.OwnerReference
		if a.Old != nil {
			had = a.Old.GetOwnerReferences()
		}
		if len(owners) == 0 && len(had) == 0 || equality.Semantic.DeepEqual(owners, had) {
			return nil
		}
		if a.Operation == Update { // who creates an object may say whose it is
			may := authz.Attributes{User: a.User, Verb: "delete", ResourceRequest: true, Group: a.Info.Group, Version: a.Info.Version,
				Resource: a.Info.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name}
			if decision, reason, err := judge.Authorize(ctx, may); decision != authz.Allow {
				return refused(a, fmt.Errorf("cannot set an ownerRef on a resource you can't delete: %s, %v", reason, err))
			}
		}
		for _, o := range blocking(owners, had) {
			version, err := schema.ParseGroupVersion(o.APIVersion)
			if err != nil {
				return refused(a, err)
			}
			kinds := resources(version.WithKind(o.Kind))
			if len(kinds) == 0 {
				return refused(a, fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s", o.APIVersion, o.Kind))
			}
			for _, r := range kinds {
				may := authz.Attributes{User: a.User, Verb: "update", ResourceRequest: true, Group: r.Group, Version: r.Version, Resource: r.Resource,
					Subresource: "finalizers", Namespace: a.Namespace, Name: o.Name}
				if decision, reason, err := judge.Authorize(ctx, may); decision != authz.Allow {
					return refused(a, fmt.Errorf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %s, %v", reason, err))
				}
			}
		}
		return nil
	}}
}

func refused(a *Attributes, err error) error {
	err = fmt.Errorf("%s", strings.TrimSuffix(err.Error(), ", <nil>")) // there is a reason, and mostly no error
	return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, err)
}

// blocking are the owners whose deletion the references hold up, and did not before.
func blocking(now, before []metav1.OwnerReference) (out []metav1.OwnerReference) {
	blocks := func(o metav1.OwnerReference) bool { return o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion }
	did := map[string]bool{}
	for _, o := range before {
		if blocks(o) {
			did[o.APIVersion+"/"+o.Kind+"/"+string(o.UID)] = true
		}
	}
	for _, o := range now {
		if blocks(o) && !did[o.APIVersion+"/"+o.Kind+"/"+string(o.UID)] {
			out = append(out, o)
		}
	}
	return out
}
