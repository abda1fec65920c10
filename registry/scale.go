package registry

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ScaleOf shows an object's replica count as an autoscaling/v1 Scale.
func ScaleOf(i *api.Info, obj api.Object) *autoscalingv1.Scale {
	v := i.GetScale(obj)
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"},
		ObjectMeta: metav1.ObjectMeta{Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp()},
		Spec:   autoscalingv1.ScaleSpec{Replicas: v.Spec},
		Status: autoscalingv1.ScaleStatus{Replicas: v.Status, Selector: v.Selector},
	}
}

// Scalable is the error of a custom resource's object that says nothing of replicas.
// Source: apiextensions/v1, CustomResourceSubresourceScale.specReplicasPath.
func Scalable(i *api.Info, obj api.Object) error {
	if i.Custom == nil || i.Custom.Scalable == nil {
		return nil
	}
	if err := i.Custom.Scalable(obj); err != nil {
		return apierrors.NewInternalError(err)
	}
	return nil
}

// Scale changes an object's replica count; change is handed the present Scale and gives the wanted one.
func (r *Registry) Scale(ctx context.Context, req Request, change Change) (api.Object, error) {
	got, err := r.Update(ctx, req, func(ctx context.Context, old api.Object) (api.Object, error) {
		scale, owners := ScaleOf(req.Info, old), r.scaled(req.Info, old)
		if req.applied { // whose conflicts are about the owners of the replica count
			entries, err := owners.ToSubresource()
			if err != nil {
				return nil, plain(err)
			}
			scale.SetManagedFields(entries)
		}
		want, err := change(ctx, scale)
		if err != nil {
			return nil, err
		}
		s := want.(*autoscalingv1.Scale)
		if s.Name != "" && s.Name != req.Name {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", s.Name, req.Name))
		}
		if s.Spec.Replicas < 0 {
			return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), req.Name, field.ErrorList{
				field.Invalid(field.NewPath("spec", "replicas"), s.Spec.Replicas, "must be greater than or equal to 0")})
		}
		next := old.DeepCopyObject().(api.Object)
		if s.ResourceVersion == "" {
			next.SetResourceVersion("")
		} else {
			next.SetResourceVersion(s.ResourceVersion)
		}
		if s.UID != "" {
			next.SetUID(s.UID)
		}
		req.Info.SetScale(next, s.Spec.Replicas)
		if req.applied {
			entries, err := owners.ToParent(s.ManagedFields)
			if err != nil {
				return nil, plain(err)
			}
			api.SetOwners(next, entries)
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return ScaleOf(req.Info, got), nil
}
