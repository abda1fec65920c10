package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Delete begins or completes an object's deletion. It returns the object's last state and
// whether it is gone; when not, finalizers or its grace period hold it.
func (r *Registry) Delete(ctx context.Context, req Request, o metav1.DeleteOptions) (obj api.Object, gone bool, err error) {
	if errs := validation.ValidateDeleteOptions(&o); len(errs) > 0 {
		return nil, false, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("DeleteOptions").GroupKind(), "", errs)
	}
	if text := req.Info.OrphansWarning; text != "" && req.Warn != nil && o.OrphanDependents == nil && o.PropagationPolicy == nil && !req.several {
		req.Warn(text)
	}
	for {
		item, old, err := r.current(ctx, req)
		if apierrors.IsStoreReadError(err) && Unsafe(o) {
			return nil, true, r.discard(ctx, req)
		}
		if err != nil {
			return nil, false, err
		}
		if Unsafe(o) {
			return nil, false, readable(req)
		}
		obj, gone, err = r.delete(ctx, req, item, old, o)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return obj, gone, err
		}
		if err := r.State.Now(ctx); err != nil {
			return nil, false, unavailable(err)
		}
	}
}

// Unsafe tells whether a delete is to remove even an object that cannot be read.
func Unsafe(o metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}

// discard removes an object that cannot be read, without finalizers, preconditions and what belongs to it.
// Source: metav1.DeleteOptions, ignoreStoreReadErrorWithClusterBreakingPotential.
func (r *Registry) discard(ctx context.Context, req Request) error {
	lost := r.State.Unreadable(req.Info.Stored, watch.Filter{Namespace: req.Namespace, Name: req.Name})
	if lost == nil || req.DryRun {
		return nil
	}
	t := store.Txn{Ops: []store.Op{{Key: lost[0].Key, Expect: store.Revision(lost[0].Revision)}}}
	if _, err := r.commit(ctx, req.Info, "", nil, t); err != nil {
		return unavailable(err)
	}
	r.Log.Warn("object that could not be read was removed", "object", lost[0].Key, "user", req.User.Username)
	return nil
}

func (r *Registry) delete(ctx context.Context, req Request, item *watch.Item, old api.Object, o metav1.DeleteOptions) (api.Object, bool, error) {
	if err := preconditions(req, old, o.Preconditions); err != nil {
		return nil, false, err
	}
	a := req.attributes(admission.Delete, nil, old)
	a.Subresource, a.Deleting = "", &o
	if err := r.Admission.Mutate(ctx, a); err != nil {
		return nil, false, err
	}
	if err := r.Admission.Validate(ctx, a); err != nil {
		return nil, false, err
	}
	next := req.Info.Copied(old)
	r.mark(req.Info, next, o)
	if finished(req.Info, next) {
		if req.Info.Grace == nil && old.GetDeletionTimestamp() == nil {
			next = req.Info.Copied(old) // which was never on its way
		}
		if req.DryRun {
			return next, true, nil
		}
		revision, err := r.remove(ctx, req, item, next)
		if err != nil {
			return nil, false, err
		}
		next.SetResourceVersion(strconv.FormatUint(revision, 10))
		return next, true, nil
	}
	got, err := r.replace(ctx, req, item, old, next)
	return got, false, err
}

func preconditions(req Request, old api.Object, p *metav1.Preconditions) error {
	kind := schema.GroupResource{Group: req.Info.Group, Resource: req.Info.Kind} // as upstream names it here
	switch {
	case p == nil:
	case p.UID != nil && *p.UID != old.GetUID():
		return apierrors.NewConflict(kind, req.Name, fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, old.GetUID()))
	case p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion():
		return apierrors.NewConflict(kind, req.Name, fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, old.GetResourceVersion()))
	}
	return nil
}

// mark makes obj one that is being deleted: timestamp, grace period, and the finalizer that the propagation
// policy asks for. A second deletion can only shorten the grace period.
func (r *Registry) mark(i *api.Info, obj api.Object, o metav1.DeleteOptions) {
	grace := int64(0)
	if i.Grace != nil {
		grace = i.Grace(obj, o.GracePeriodSeconds)
	}
	at := metav1.NewTime(r.Now().UTC().Add(time.Duration(grace) * time.Second).Truncate(time.Second))
	ns, isNamespace := obj.(*corev1.Namespace)
	empties := isNamespace || i.StoreKey == api.DefinitionsKey // it ends when nothing is in it
	if was := obj.GetDeletionGracePeriodSeconds(); obj.GetDeletionTimestamp() == nil {
		obj.SetDeletionTimestamp(&at)
		if !empties {
			obj.SetDeletionGracePeriodSeconds(&grace)
		}
		if obj.GetGeneration() > 0 {
			obj.SetGeneration(obj.GetGeneration() + 1)
		}
		propagate(i, obj, o)
		if isNamespace {
			ns.Status.Phase = corev1.NamespaceTerminating
		}
		if i.Deleted != nil {
			i.Deleted(obj, metav1.NewTime(r.Now().UTC().Truncate(time.Second)))
		}
	} else if !empties && (was == nil || o.GracePeriodSeconds != nil && grace < *was) {
		if i.Grace != nil && was != nil && *was > 0 {
			start := obj.GetDeletionTimestamp().Add(-time.Duration(*was) * time.Second)
			at = metav1.NewTime(start.Add(time.Duration(grace) * time.Second))
		}
		obj.SetDeletionTimestamp(&at)
		obj.SetDeletionGracePeriodSeconds(&grace)
	}
}

// propagate sets the finalizer by which the garbage collector sees what is to become of dependents.
// Source: Kubernetes documentation, Garbage Collection, Cascading deletion.
func propagate(i *api.Info, obj api.Object, o metav1.DeleteOptions) {
	known := func(s string) bool {
		return s == metav1.FinalizerOrphanDependents || s == metav1.FinalizerDeleteDependents
	}
	var want string
	switch {
	case o.OrphanDependents != nil && *o.OrphanDependents:
		want = metav1.FinalizerOrphanDependents
	case o.OrphanDependents == nil && o.PropagationPolicy == nil && i.Orphans && !slices.ContainsFunc(obj.GetFinalizers(), known):
		want = metav1.FinalizerOrphanDependents
	case o.PropagationPolicy == nil:
		return
	case *o.PropagationPolicy == metav1.DeletePropagationOrphan:
		want = metav1.FinalizerOrphanDependents
	case *o.PropagationPolicy == metav1.DeletePropagationForeground:
		want = metav1.FinalizerDeleteDependents
	}
	f := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), known)
	if want != "" {
		f = append(f, want)
	}
	obj.SetFinalizers(f)
}

// remove deletes the object for good, with what belongs to it; a *store.Conflict says that it changed.
func (r *Registry) remove(ctx context.Context, req Request, item *watch.Item, obj api.Object) (uint64, error) {
	t := store.Txn{Class: class(req.Info), Ops: []store.Op{{Key: watch.Key(req.Info, req.Namespace, req.Name), Expect: store.Revision(item.Revision)}}}
	if extra := r.extras[req.Info.StoreKey]; extra != nil {
		ops, err := extra(ctx, req, nil, obj)
		if err != nil {
			return 0, err
		}
		t.Ops = append(t.Ops, ops...)
	}
	revision, err := r.commit(ctx, req.Info, "", nil, t)
	var conflict *store.Conflict
	if err != nil && !errors.As(err, &conflict) {
		return 0, unavailable(err)
	}
	if conflict != nil {
		return 0, conflict
	}
	return revision, nil
}

// DeleteCollection deletes each object that the filter takes, and returns them.
func (r *Registry) DeleteCollection(ctx context.Context, req Request, f watch.Filter, o metav1.DeleteOptions) ([]api.Object, error) {
	errs := validation.ValidateDeleteOptions(&o)
	if Unsafe(o) && len(errs) == 0 { // Source: what Kubernetes 1.37 says
		errs = append(errs, field.Invalid(field.NewPath("ignoreStoreReadErrorWithClusterBreakingPotential"), true, "is not allowed with DELETECOLLECTION, try again after removing the option"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("DeleteOptions").GroupKind(), "", errs)
	}
	if text := req.Info.OrphansWarning; text != "" && req.Warn != nil && o.OrphanDependents == nil && o.PropagationPolicy == nil {
		req.Warn(text)
	}
	if err := r.State.Now(ctx); err != nil {
		return nil, unavailable(err)
	}
	items, _ := r.State.List(req.Info.Stored, f)
	var out []api.Object
	for _, item := range items {
		one := req
		one.Namespace, one.Name, one.several = item.Namespace, item.Name, true
		obj, _, err := r.Delete(ctx, one, o)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, obj)
	}
	return out, nil
}
