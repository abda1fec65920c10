package crd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/watch"
)

// held is how soon a definition is looked at again whose objects have finalizers of their own.
const held = time.Second

// cleanUp deletes a definition's objects and, once none is left, lets it go. A crash anywhere within is made good by doing it
// again: objects cannot be made meanwhile, the registry sees to that in the write itself.
// Source: apiextensions/v1, CustomResourceCleanupFinalizer, Terminating.
func (l *life) cleanUp(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	if !slices.Contains(crd.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return nil // others hold it
	}
	left, err := l.deleteAll(ctx, crd)
	switch {
	case err != nil:
		return errors.Join(err, l.terminating(ctx, crd, true, "InstanceDeletionFailed", err.Error()))
	case left > 0:
		l.queue.AddAfter(crd.Name, held)
		return l.terminating(ctx, crd, true, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
	}
	next := l.copied(crd)
	if done := condition(next, false, "InstanceDeletionCompleted", "removed all instances", l.now()); done {
		if next, err = kind.UpdateStatus(ctx, l.Client, next); err != nil {
			return err
		}
		next = l.copied(next)
	}
	apihelpers.CRDRemoveFinalizer(next, apiextensionsv1.CustomResourceCleanupFinalizer)
	_, err = kind.Update(ctx, l.Client, next)
	return err
}

// copied is a definition that may be changed, but for its schemas.
func (l *life) copied(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	return l.State.Info(api.DefinitionsKey).Copied(crd).(*apiextensionsv1.CustomResourceDefinition)
}

func (l *life) now() metav1.Time { return metav1.NewTime(l.Now().UTC().Truncate(time.Second)) }

// deleteAll deletes all objects of a definition and tells how many are still there.
func (l *life) deleteAll(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (left int, err error) {
	d := l.find(crd.Name)
	if d == nil {
		if apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			return 0, fmt.Errorf("%s is not served yet", crd.Name)
		}
		return 0, nil // it never was: nobody could make any
	}
	if err := l.State.Now(ctx); err != nil {
		return 0, err
	}
	r := resourceOf(d.version(d.storage).info) // whether it is served or not
	items, _ := l.State.List(d.stored, watch.Filter{})
	background := metav1.DeletePropagationBackground
	for _, item := range items {
		err := l.Client.Delete(ctx, r, item.Namespace, item.Name, metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("delete %s %s: %w", r.Kind, item.Key(), err)
		}
	}
	items, _ = l.State.List(d.stored, watch.Filter{})
	return len(items), nil
}

// terminating says how far the end of a definition is.
func (l *life) terminating(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, is bool, reason, message string) error {
	next := l.copied(crd)
	if !condition(next, is, reason, message, l.now()) {
		return nil
	}
	_, err := kind.UpdateStatus(ctx, l.Client, next)
	return err
}

// condition sets the condition Terminating and tells whether it changed.
func condition(crd *apiextensionsv1.CustomResourceDefinition, is bool, reason, message string, now metav1.Time) bool {
	c := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionFalse, LastTransitionTime: now, Reason: reason, Message: message}
	if is {
		c.Status = apiextensionsv1.ConditionTrue
	}
	return put(crd, c)
}

// resourceOf is a record as client knows it.
func resourceOf(i *api.Info) client.Resource {
	return client.Resource{GroupVersionResource: i.GroupVersionResource, Kind: i.Kind, Namespaced: i.Namespaced, New: func() client.Object { return i.New() }}
}
