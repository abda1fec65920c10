package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

func validateFailurePolicy(s *batchv1.JobSpec, path *field.Path) (errs field.ErrorList) {
	rules := path.Child("rules")
	if len(s.PodFailurePolicy.Rules) > maxPolicyRules {
		errs = append(errs, field.TooMany(rules, len(s.PodFailurePolicy.Rules), maxPolicyRules))
	}
	for i, r := range s.PodFailurePolicy.Rules {
		at := rules.Index(i)
		if r.Action == "" {
			errs = append(errs, field.Required(at.Child("action"), `valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`))
		} else {
			errs = append(errs, core.OneOf(r.Action, at.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
				batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
			if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
				errs = append(errs, field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
			}
		}
		if r.OnExitCodes != nil {
			errs = append(errs, validateExitCodes(r.OnExitCodes, &s.Template.Spec, at.Child("onExitCodes"))...)
		}
		for k, c := range r.OnPodConditions {
			in := at.Child("onPodConditions").Index(k)
			for _, msg := range validation.IsQualifiedName(string(c.Type)) {
				errs = append(errs, field.Invalid(in.Child("type"), c.Type, msg))
			}
			errs = append(errs, core.OneOf(c.Status, in.Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
		}
		switch {
		case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
		case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
		}
	}
	return errs
}

func validateExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if r.Operator == "" {
		errs = append(errs, field.Required(path.Child("operator"), `valid values: ["In" "NotIn"]`))
	} else {
		errs = append(errs, core.OneOf(r.Operator, path.Child("operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)...)
	}
	if n := r.ContainerName; n != nil {
		named := func(c corev1.Container) bool { return c.Name == *n }
		if !slices.ContainsFunc(pod.Containers, named) && !slices.ContainsFunc(pod.InitContainers, named) {
			errs = append(errs, field.Invalid(path.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template"))
		}
	}
	values := path.Child("values")
	if len(r.Values) == 0 {
		errs = append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	} else if len(r.Values) > 255 {
		errs = append(errs, field.TooMany(values, len(r.Values), 255))
	}
	again := api.Again[int32]()
	for i, v := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			errs = append(errs, field.Invalid(values.Index(i), v, "must not be 0 for the In operator"))
		}
		if again(v) {
			errs = append(errs, field.Duplicate(values.Index(i), v))
		} else if i > 0 && v < r.Values[i-1] {
			errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
		}
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, path *field.Path) (errs field.ErrorList) {
	rules := path.Child("rules")
	if len(s.SuccessPolicy.Rules) == 0 {
		errs = append(errs, field.Required(rules, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(s.SuccessPolicy.Rules) > maxPolicyRules {
		errs = append(errs, field.TooMany(rules, len(s.SuccessPolicy.Rules), maxPolicyRules))
	}
	for i, r := range s.SuccessPolicy.Rules {
		at := rules.Index(i)
		if r.SucceededCount == nil && r.SucceededIndexes == nil {
			errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
		}
		total := int32(-1)
		if r.SucceededIndexes != nil && s.Completions != nil {
			n, err := countIndexes(*r.SucceededIndexes, *s.Completions)
			if err != nil {
				errs = append(errs, field.Invalid(at.Child("succeededIndexes"), *r.SucceededIndexes, "error parsing succeededIndexes: "+err.Error()))
			}
			total = n
		}
		if c := r.SucceededCount; c != nil {
			errs = append(errs, core.NonNegative(*c, at.Child("succeededCount"))...)
			if s.Completions != nil && *c > *s.Completions {
				errs = append(errs, field.Invalid(at.Child("succeededCount"), *c, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", *s.Completions)))
			}
			if total >= 0 && *c > total {
				errs = append(errs, field.Invalid(at.Child("succeededCount"), *c, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total)))
			}
		}
	}
	return errs
}

// countIndexes counts a list such as "0,2-4" of rising indexes below completions.
func countIndexes(list string, completions int32) (n int32, err error) {
	if list == "" {
		return 0, nil
	}
	last := int64(-1)
	for _, part := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.ParseInt(from, 10, 32)
		b, err2 := strconv.ParseInt(to, 10, 32)
		switch {
		case err1 != nil:
			return 0, fmt.Errorf("cannot convert string to integer for index: %q", from)
		case err2 != nil:
			return 0, fmt.Errorf("cannot convert string to integer for index: %q", to)
		case a <= last:
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, a)
		case ranged && b <= a:
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", a, b)
		case a >= int64(completions):
			return 0, fmt.Errorf("too large index: %q", from)
		case b >= int64(completions):
			return 0, fmt.Errorf("too large index: %q", to)
		}
		n += int32(b - a + 1)
		last = b
	}
	return n, nil
}
