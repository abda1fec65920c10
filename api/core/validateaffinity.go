package core

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func labelValue(value string, path *field.Path) field.ErrorList {
	return each(path, value, validation.IsValidLabelValue(value))
}

func topologyKey(key string, path *field.Path) field.ErrorList {
	if key == "" {
		return required(path, "can not be empty")
	}
	return metavalidation.ValidateLabelName(key, path)
}

const (
	requiredRules  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferredRules = "preferredDuringSchedulingIgnoredDuringExecution"
)

func validateAffinityRules(a *corev1.Affinity, path *field.Path) (errs field.ErrorList) {
	if a == nil {
		return nil
	}
	if n := a.NodeAffinity; n != nil {
		at := path.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			errs = append(errs, ValidateNodeSelector(n.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(requiredRules))...)
		}
		for i, p := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			in := at.Child(preferredRules).Index(i)
			errs = append(errs, weight(p.Weight, in)...)
			errs = append(errs, validateNodeTerm(&p.Preference, false, in.Child("preference"))...)
		}
	}
	if p := a.PodAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))...)
	}
	if p := a.PodAntiAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))...)
	}
	return errs
}

func weight(n int32, path *field.Path) field.ErrorList {
	if n <= 0 || n > 100 {
		return field.ErrorList{field.Invalid(path.Child("weight"), n, "must be in the range 1-100")}
	}
	return nil
}

func validatePodTerms(must []corev1.PodAffinityTerm, may []corev1.WeightedPodAffinityTerm, path *field.Path) (errs field.ErrorList) {
	for i := range must {
		errs = append(errs, validatePodTerm(&must[i], path.Child(requiredRules).Index(i))...)
	}
	for i := range may {
		at := path.Child(preferredRules).Index(i)
		errs = append(errs, weight(may[i].Weight, at)...)
		errs = append(errs, validatePodTerm(&may[i].PodAffinityTerm, at.Child("podAffinityTerm"))...)
	}
	return errs
}

func validatePodTerm(t *corev1.PodAffinityTerm, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, metavalidation.ValidateLabelSelector(t.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, path.Child("labelSelector"))...)
	errs = append(errs, metavalidation.ValidateLabelSelector(t.NamespaceSelector, metavalidation.LabelSelectorValidationOptions{}, path.Child("namespaceSelector"))...)
	for _, name := range t.Namespaces {
		errs = append(errs, each(path.Child("namespace"), name, apivalidation.ValidateNamespaceName(name, false))...)
	}
	for _, keys := range []struct {
		name string
		of   []string
	}{{"matchLabelKeys", t.MatchLabelKeys}, {"mismatchLabelKeys", t.MismatchLabelKeys}} {
		if at := path.Child(keys.name); len(keys.of) > 0 && t.LabelSelector == nil {
			errs = append(errs, field.Forbidden(at, "must not be specified when labelSelector is not set"))
		} else {
			for i, key := range keys.of {
				errs = append(errs, metavalidation.ValidateLabelName(key, at.Index(i))...)
			}
		}
	}
	if len(t.TopologyKey) == 0 {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, metavalidation.ValidateLabelName(t.TopologyKey, path.Child("topologyKey"))...)
}

func ValidateNodeSelector(s *corev1.NodeSelector, path *field.Path) (errs field.ErrorList) {
	at := path.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return required(at, "must have at least one node selector term")
	}
	for i := range s.NodeSelectorTerms {
		errs = append(errs, validateNodeTerm(&s.NodeSelectorTerms[i], true, at.Index(i))...)
	}
	return errs
}

// validateNodeTerm checks a term; strict: its values as well, which upstream does not look at in what is only preferred.
func validateNodeTerm(t *corev1.NodeSelectorTerm, strict bool, path *field.Path) (errs field.ErrorList) {
	for i, r := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
			}
		case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				errs = append(errs, field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
			}
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			if len(r.Values) != 1 {
				errs = append(errs, field.Required(at.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"))
			} else if _, err := strconv.ParseInt(r.Values[0], 10, 64); err != nil {
				errs = append(errs, field.Invalid(at.Child("values").Index(0), r.Values[0], "for 'Gt', 'Lt' operators, the value must be an integer"))
			}
		default:
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
		errs = append(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
		if strict && !slices.Contains([]corev1.NodeSelectorOperator{corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt}, r.Operator) {
			for j, value := range r.Values {
				errs = append(errs, labelValue(value, at.Child("values").Index(j))...)
			}
		}
	}
	for i, r := range t.MatchFields {
		at := path.Child("matchFields").Index(i)
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(r.Values) != 1 {
				errs = append(errs, field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
			}
		default:
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
		if r.Key != "metadata.name" {
			errs = append(errs, field.Invalid(at.Child("key"), r.Key, "not a valid field selector key"))
			continue
		}
		for j, value := range r.Values {
			errs = append(errs, each(at.Child("values").Index(j), value, apivalidation.NameIsDNSSubdomain(value, false))...)
		}
	}
	return errs
}
