// Package policy holds the records of the group policy.
package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// All lists the resources of the group.
var All = []*api.Info{PodDisruptionBudget}

// PodDisruptionBudget bounds how many pods evictions may take away at once.
var PodDisruptionBudget = api.Define(api.Resource[*policyv1.PodDisruptionBudget]{
	Group: "policy", Version: "v1", Plural: "poddisruptionbudgets", Short: []string{"pdb"}, Scope: api.Namespaced, AnyFinalizer: true,
	Prepare: func(p, old *policyv1.PodDisruptionBudget) {
		p.Status = policyv1.PodDisruptionBudgetStatus{}
		if old != nil {
			p.Status = old.Status
		}
	},
	Validate:     validate,
	ValidateName: path.ValidatePathSegmentName,
	GenerationOf: func(p *policyv1.PodDisruptionBudget) any { return &p.Spec },
	Status: &api.Status[*policyv1.PodDisruptionBudget]{
		Copy: func(dst, src *policyv1.PodDisruptionBudget) { dst.Status = src.Status },
		Validate: func(p, _ *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
			s, status := p.Status, field.NewPath("status")
			errs = append(errs, metavalidation.ValidateConditions(s.Conditions, status.Child("conditions"))...)
			errs = append(errs, core.NonNegative(s.DisruptionsAllowed, status.Child("disruptionsAllowed"))...)
			errs = append(errs, core.NonNegative(s.CurrentHealthy, status.Child("currentHealthy"))...)
			errs = append(errs, core.NonNegative(s.DesiredHealthy, status.Child("desiredHealthy"))...)
			return append(errs, core.NonNegative(s.ExpectedPods, status.Child("expectedPods"))...)
		},
	},
	Columns: []api.Column[*policyv1.PodDisruptionBudget]{
		{Name: "Min Available", Help: "The minimum number of pods that must be available.", Show: func(p *policyv1.PodDisruptionBudget) any { return text(p.Spec.MinAvailable) }},
		{Name: "Max Unavailable", Help: "The maximum number of pods that may be unavailable.", Show: func(p *policyv1.PodDisruptionBudget) any { return text(p.Spec.MaxUnavailable) }},
		{Name: "Allowed Disruptions", Type: "integer", Help: "Calculated number of pods that may be disrupted at this time.", Show: func(p *policyv1.PodDisruptionBudget) any {
			return int64(p.Status.DisruptionsAllowed)
		}},
	},
})

func text(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validate(p, _ *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	s, spec := &p.Spec, field.NewPath("spec")
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(spec, *s, "minAvailable and maxUnavailable cannot be both set"))
	}
	for _, v := range []struct {
		name string
		of   *intstr.IntOrString
	}{{"minAvailable", s.MinAvailable}, {"maxUnavailable", s.MaxUnavailable}} {
		if v.of != nil {
			errs = append(errs, core.ValidateIntOrPercent(*v.of, spec.Child(v.name))...)
			errs = append(errs, core.ValidateAtMost100Percent(*v.of, spec.Child(v.name))...)
		}
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("selector"))...)
	if u := s.UnhealthyPodEvictionPolicy; u != nil {
		errs = append(errs, core.OneOf(*u, spec.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}
