package flow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/lighter-k8s/lighter/client"
)

// Ensure makes the objects that every cluster has. Mandatory ones are kept as they are; of the others those that users changed
// stay: an annotation says so, or that the object is not in its first generation any more. Source: API Priority and Fairness,
// Maintenance of the mandatory and suggested configuration objects.
func Ensure(ctx context.Context, c client.Client) error {
	for n, all := range [][]*flowcontrolv1.PriorityLevelConfiguration{bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations} {
		for _, o := range all {
			if err := ensure(ctx, c, client.PriorityLevelConfigurations, o, n == 0, func(have *flowcontrolv1.PriorityLevelConfiguration) bool {
				want := *o.Spec.DeepCopy()
				if want.Exempt != nil && have.Spec.Exempt != nil {
					want.Exempt = have.Spec.Exempt // how much of it is lent is the users' to say
				}
				same := apiequality.Semantic.DeepEqual(have.Spec, want)
				have.Spec = want
				return same
			}); err != nil {
				return err
			}
		}
	}
	for n, all := range [][]*flowcontrolv1.FlowSchema{bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas} {
		for _, o := range all {
			if err := ensure(ctx, c, client.FlowSchemas, o, n == 0, func(have *flowcontrolv1.FlowSchema) bool {
				same := apiequality.Semantic.DeepEqual(have.Spec, o.Spec)
				have.Spec = o.Spec
				return same
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ensure makes one object, or what it should be of the one that is there. same puts the wanted spec into an object, and tells whether it
// was there already.
func ensure[T interface {
	client.Object
	DeepCopy() T
}](ctx context.Context, c client.Client, k client.Kind[T], want T, mandatory bool, same func(have T) bool) error {
	annotate := func(o T, value string) {
		all := maps.Clone(o.GetAnnotations())
		if all == nil {
			all = map[string]string{}
		}
		all[flowcontrolv1.AutoUpdateAnnotationKey] = value
		o.SetAnnotations(all)
	}
	shown, err := k.Get(ctx, c, "", want.GetName())
	if apierrors.IsNotFound(err) {
		made := want.DeepCopy()
		annotate(made, "true")
		if _, err = k.Create(ctx, c, made); err == nil || apierrors.IsAlreadyExists(err) {
			return nil // this server did, or another one
		}
	}
	if err != nil {
		return fmt.Errorf("default %s %s: %w", k.Kind, want.GetName(), err)
	}
	have := shown.DeepCopy()
	said := have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]
	keep := said == "true" || said == "" && have.GetGeneration() == 1
	value := fmt.Sprint(mandatory || keep)
	right := said == value || !mandatory && slices.Contains([]string{"true", "false"}, said)
	if mandatory || keep {
		right = same(have) && right
	}
	if right {
		return nil
	}
	annotate(have, value)
	if _, err := k.Update(ctx, c, have); err != nil && !apierrors.IsConflict(err) { // the next round sees what is there by then
		return errors.Join(fmt.Errorf("default %s %s", k.Kind, want.GetName()), err)
	}
	return nil
}
