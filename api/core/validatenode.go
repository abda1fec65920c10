package core

import (
	"fmt"
	"net"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validateEvent(e, _ *corev1.Event) (errs field.ErrorList) {
	about := e.InvolvedObject.Namespace
	if about == "" && e.Namespace != "" && e.Namespace != "default" || about != "" && about != e.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace"))
	}
	if e.EventTime.IsZero() {
		return errs // of the older kind
	}
	if e.ReportingController == "" {
		errs = append(errs, field.Required(field.NewPath("reportingComponent"), ""))
	} else {
		errs = append(errs, each(field.NewPath("reportingComponent"), e.ReportingController, validation.IsQualifiedName(e.ReportingController))...)
	}
	need := func(name, value string, max int) {
		path := field.NewPath(name)
		switch {
		case value == "":
			errs = append(errs, field.Required(path, ""))
		case len(value) > max:
			errs = append(errs, field.Invalid(path, "", fmt.Sprintf("can have at most %v characters", max)))
		}
	}
	need("reportingInstance", e.ReportingInstance, 128)
	need("action", e.Action, 128)
	need("reason", e.Reason, 128)
	if len(e.Message) > 1024 {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", "can have at most 1024 characters"))
	}
	return errs
}

func validateNode(n, old *corev1.Node) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))...) // where upstream says that they are
	if len(n.Spec.PodCIDRs) > 0 {
		path := spec.Child("podCIDRs")
		six := 0
		for i, c := range n.Spec.PodCIDRs {
			errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), c, true, cidrs(old))...)
			if ip, _, err := net.ParseCIDR(c); err == nil && ip.To4() == nil {
				six++
			}
		}
		if len(n.Spec.PodCIDRs) > 2 || len(n.Spec.PodCIDRs) == 2 && six != 1 {
			errs = append(errs, field.Invalid(path, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family"))
		}
	}
	if old == nil {
		return errs
	}
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), `node updates may not change podCIDR except from "" to valid`))
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID == "" {
		errs = append(errs, field.Invalid(spec.Child("providerID"), nil, "field cannot be cleared once set"))
	} else if old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID {
		errs = append(errs, field.Invalid(spec.Child("providerID"), nil, "field cannot be modified once set"))
	}
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(spec.Child("externalID"), "may not be updated"))
	}
	return errs
}

func validateTaints(taints []corev1.Taint, path *field.Path) (errs field.ErrorList) {
	type key struct{ key, effect string }
	seen := sets.New[key]()
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		errs = append(errs, each(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, taintEffect(t.Effect, false, at.Child("effect"))...)
		k := key{t.Key, string(t.Effect)}
		if seen.Has(k) {
			twice := field.Duplicate(at, t)
			twice.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, twice)
		}
		seen.Insert(k)
	}
	return errs
}

func taintEffect(e corev1.TaintEffect, mayBeEmpty bool, path *field.Path) field.ErrorList {
	if e == "" {
		if mayBeEmpty {
			return nil
		}
		return required(path, "")
	}
	return OneOf(e, path, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

// feature is the name of one that a node declares.
var feature = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(/[a-zA-Z0-9]+)*$`)

const featureForm = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"

func validateNodeStatus(n, _ *corev1.Node) (errs field.ErrorList) {
	status := field.NewPath("status")
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			errs = append(errs, field.Duplicate(status.Child("addresses").Index(i), a))
		}
		if api.Enough(errs) {
			break
		}
		seen.Insert(a)
	}
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"capacity", n.Status.Capacity}, {"allocatable", n.Status.Allocatable}} {
		at := status.Child(list.name)
		errs = append(errs, entries(list.of, at, func(name corev1.ResourceName, q resource.Quantity, _ *field.Path) field.ErrorList {
			return plainAmount(name, q, at.Child(string(name)))
		})...)
	}
	for i, f := range n.Status.DeclaredFeatures {
		if !feature.MatchString(f) {
			errs = append(errs, field.Invalid(status.Child("declaredFeatures").Index(i), f, fmt.Sprintf("invalid feature name %q: %s", f, featureForm)))
		}
		if api.Enough(errs) {
			break
		}
	}
	return errs
}

// cidrs are those a node has: what was written loosely before 1.36 may stay.
func cidrs(old *corev1.Node) []string {
	if old == nil {
		return nil
	}
	return old.Spec.PodCIDRs
}
