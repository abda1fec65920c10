package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

var quotaScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass,
	corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// unscoped are the scopes that are there or not, with no values.
func unscoped(s corev1.ResourceQuotaScope) bool {
	return s != corev1.ResourceQuotaScopePriorityClass && s != corev1.ResourceQuotaScopeVolumeAttributesClass
}

func validateQuota(q, old *corev1.ResourceQuota) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, quotaList(q.Spec.Hard, spec.Child("hard"))...)
	scopes := sets.New[corev1.ResourceQuotaScope]()
	for _, s := range q.Spec.Scopes {
		if !slices.Contains(quotaScopes, s) {
			errs = append(errs, field.Invalid(spec.Child("scopes"), q.Spec.Scopes, "unsupported scope"))
		}
		scopes.Insert(s)
	}
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if scopes.HasAll(pair[0], pair[1]) {
			errs = append(errs, field.Invalid(spec.Child("scopes"), q.Spec.Scopes, "conflicting scopes"))
		}
	}
	if sel := q.Spec.ScopeSelector; sel != nil {
		path := spec.Child("scopeSelector", "matchExpressions")
		for _, e := range sel.MatchExpressions {
			if !slices.Contains(quotaScopes, e.ScopeName) {
				errs = append(errs, field.Invalid(path.Child("scopeName"), e.ScopeName, "unsupported scope"))
			}
			switch e.Operator {
			case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
				if len(e.Values) == 0 {
					errs = append(errs, field.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
				}
				if e.ScopeName != "" && unscoped(e.ScopeName) && slices.Contains(quotaScopes, e.ScopeName) {
					errs = append(errs, field.Invalid(path.Child("operator"), e.Operator, "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
				}
			case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
				if len(e.Values) > 0 {
					errs = append(errs, field.Invalid(path.Child("values"), e.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
				}
			default:
				errs = append(errs, field.Invalid(path.Child("operator"), e.Operator, "not a valid selector operator"))
			}
		}
	}
	if old != nil {
		was := sets.New(old.Spec.Scopes...)
		if !was.Equal(scopes) {
			errs = append(errs, field.Invalid(spec.Child("scopes"), q.Spec.Scopes, "field is immutable"))
		}
	}
	return errs
}

func quotaList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	return entries(list, path, func(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
		errs := resourceName(name, at)
		if !strings.Contains(string(name), "/") && !quotaName(name) {
			errs = append(errs, field.Invalid(at, string(name), "must be a standard resource for quota"))
		}
		return append(errs, resourceValue(name, q, at)...)
	})
}

func quotaName(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceRequestsCPU,
		corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage, corev1.ResourcePods,
		corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourcePersistentVolumeClaims, corev1.ResourceConfigMaps, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func validateQuotaStatus(q, _ *corev1.ResourceQuota) field.ErrorList {
	status := field.NewPath("status")
	return append(quotaList(q.Status.Hard, status.Child("hard")), quotaList(q.Status.Used, status.Child("used"))...)
}

// resourceValue checks an amount: whole pages, not negative, and whole where parts make no sense.
func resourceValue(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
		// An amount of huge pages is a number of such pages; nodes without any say 0.
		if page, err := resource.ParseQuantity(size); err == nil && page.Sign() > 0 && q.Sign() >= 0 && q.Value()%page.Value() != 0 {
			return field.ErrorList{field.Invalid(path, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name))}
		}
	}
	return plainAmount(name, q, path)
}

// plainAmount is what a node and a quota may say too, who do not count in pages.
func plainAmount(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than or equal to 0")}
	}
	if _, is := q.AsInt64(); !is && wholeResource(name) { // or too large to tell
		if whole := q.DeepCopy(); !whole.RoundUp(0) {
			bad := q
			return field.ErrorList{field.Invalid(path, &bad, "must be an integer")}
		}
	}
	return nil
}

func wholeResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return extendedResource(name)
}

// extendedResource tells whether a resource is one that a node's plugins bring, such as example.com/gpu.
func extendedResource(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") && !nativeResource(s) && !strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix) &&
		len(api.QualifiedName(corev1.DefaultResourceRequestsPrefix+s)) == 0
}

func nativeResource(s string) bool {
	return !strings.Contains(s, "/") || strings.Contains(s, corev1.ResourceDefaultNamespacePrefix)
}
