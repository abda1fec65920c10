package aggregate

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/client"
)

// managed is the label of objects that a server keeps itself: "onstart" for what is built in, "true" for custom resources.
const managed = "kube-aggregator.kubernetes.io/automanaged"

// Local is a group's version that this server serves itself.
type Local struct {
	schema.GroupVersion
	Custom                  bool
	GroupPriority, Priority int32
}

// KeepLocal makes the objects of what this server serves, and lets those go that it serves no more, whenever changed says so,
// until ctx ends. What users say of a group's version stays.
func (s *Services) KeepLocal(ctx context.Context, local func() []Local, changed <-chan struct{}) error {
	if err := s.View.WaitSynced(ctx); err != nil {
		return nil // ctx ended
	}
	for {
		if err := s.keep(ctx, local()); err != nil && ctx.Err() == nil {
			s.Log.Warn("local API services not written", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (s *Services) keep(ctx context.Context, local []Local) error {
	wanted := map[string]bool{}
	var errs []error
	for _, l := range local {
		name, label := l.Version+"."+l.Group, "onstart"
		if l.Custom {
			label = "true"
		}
		wanted[name] = true
		spec := apiregistrationv1.APIServiceSpec{Group: l.Group, Version: l.Version, GroupPriorityMinimum: l.GroupPriority, VersionPriority: l.Priority}
		o, there := s.View.Get("", name)
		if there && (o.Labels[managed] == "" || reflect.DeepEqual(o.Spec, spec)) {
			continue
		}
		var err error
		if there {
			next := o.DeepCopy()
			next.Spec = spec
			_, err = client.APIServices.Update(ctx, s.Client, next)
		} else {
			_, err = client.APIServices.Create(ctx, s.Client, &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managed: label}}, Spec: spec})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("API service %s: %w", name, err))
		}
	}
	for _, o := range s.View.List("") {
		if o.Labels[managed] == "" || wanted[o.Name] {
			continue
		}
		if err := client.APIServices.Delete(ctx, s.Client, "", o.Name, *metav1.NewPreconditionDeleteOptions(string(o.UID))); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("API service %s: %w", o.Name, err))
		}
	}
	return errors.Join(errs...)
}
