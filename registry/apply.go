package registry

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	autoscalingv1 "k8s.io/api/autoscaling/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/managed"
)

// Configuration is what a manager wants of an object: the fields that it says, and none that it said before and no more.
type Configuration struct {
	Object *unstructured.Unstructured
	Force  bool // take over what others own
	Size   int  // bytes that it came as
	// Create is asked before an object is made that is not there, once or more.
	Create func(ctx context.Context) error
}

// Apply merges a configuration into the object that the request names, or makes the object of it, and tells which.
// A subresource makes nothing. It is a Change like others, tried again on the newer object when somebody wrote in
// between; what is its own is that managedFields come with the merge. Source: Kubernetes documentation, Server-Side Apply.
func (r *Registry) Apply(ctx context.Context, req Request, c Configuration) (obj api.Object, created bool, err error) {
	req.applied = true
	change := func(_ context.Context, old api.Object) (api.Object, error) { return r.merge(req, req.Info, old, c) }
	if req.Subresource == "scale" {
		obj, err = r.Scale(ctx, req, func(_ context.Context, old api.Object) (api.Object, error) { return r.merge(req, ScaleInfo, old, c) })
		return obj, false, err
	}
	for try := 0; ; try++ {
		_, err = r.there(ctx, req)
		if err == nil {
			if obj, err = r.Update(ctx, req, change); !missing(req, err) || try >= patchRetries {
				return obj, false, err
			}
			continue // it went meanwhile
		}
		if !apierrors.IsNotFound(err) || req.Subresource != "" {
			return nil, false, err
		}
		if err := c.Create(ctx); err != nil {
			return nil, false, err
		}
		if obj, err = r.merge(req, req.Info, nil, c); err != nil {
			return nil, false, err
		}
		obj.SetResourceVersion("") // of an object that is not there any more
		if obj, err = r.Create(ctx, req, obj); !apierrors.IsAlreadyExists(err) || try >= patchRetries {
			return obj, true, err
		}
	}
}

// missing tells whether the error says that the request's own object is not there, and nothing else.
func missing(req Request, err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Name == req.Name && d.Kind == req.Info.Resource && d.Group == req.Info.Group
}

// merge is what old becomes; nil: what is made.
func (r *Registry) merge(req Request, i *api.Info, old api.Object, c Configuration) (api.Object, error) {
	obj, err := managed.Apply{Manager: req.Manager, Subresource: req.Subresource, Force: c.Force, Size: c.Size, Now: r.Now(), Versions: r.versionsOf(i)}.Merge(i, old, c.Object)
	if err != nil {
		var known apierrors.APIStatus
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, plain(err)
	}
	if i.Custom != nil { // as if it had been sent
		if _, err := i.Custom.Receive(obj); err != nil {
			return nil, plain(err)
		}
	}
	uid := obj.GetUID()
	switch {
	case old == nil && uid != "":
		return nil, apierrors.NewConflict(req.Info.GroupResource(), req.Name,
			fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
	case obj.GetName() == "":
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", req.Name))
	case old != nil && uid != old.GetUID() && obj.GetResourceVersion() == old.GetResourceVersion():
		return nil, invalid(i, req.Name, field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), string(uid), "field is immutable")})
	}
	return obj, nil
}

// plain is the 500 without a reason of an error that upstream's API server does not make a Status of either.
func plain(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 500, Message: err.Error()}}
}

// scaled maps the owners of a replica count between an object and its Scale.
func (r *Registry) scaled(i *api.Info, obj api.Object) *managedfields.ScaleHandler {
	path := i.Replicas
	if path == nil {
		path = fieldpath.MakePathOrDie("spec", "replicas")
	}
	paths := managedfields.ResourcePathMappings{i.GroupVersion().String(): path}
	for _, other := range r.versionsOf(i) {
		paths[other.GroupVersion().String()] = path
		if other.Replicas != nil {
			paths[other.GroupVersion().String()] = other.Replicas
		}
	}
	return managedfields.NewScaleHandler(api.Owners(obj), i.GroupVersion(), paths)
}

// ScaleInfo describes autoscaling/v1 Scale, which no store holds.
var ScaleInfo = api.Define(api.Resource[*autoscalingv1.Scale]{Group: "autoscaling", Version: "v1", Plural: "scale", Scope: api.Namespaced})
