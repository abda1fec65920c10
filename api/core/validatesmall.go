package core

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
	errs = append(errs, validateTaints(n.Spec.Taints, spec.Child("taints"))...)
	if len(n.Spec.PodCIDRs) > 0 {
		path := spec.Child("podCIDRs")
		six := 0
		for i, c := range n.Spec.PodCIDRs {
			errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), c, false, nil)...)
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
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), `node updates may not change providerID except from "" to valid`))
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

func validateNodeStatus(n, _ *corev1.Node) (errs field.ErrorList) {
	status := field.NewPath("status")
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			errs = append(errs, field.Duplicate(status.Child("addresses").Index(i), a))
		}
		seen.Insert(a)
	}
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"capacity", n.Status.Capacity}, {"allocatable", n.Status.Allocatable}} {
		for _, name := range SortedKeys(list.of) {
			errs = append(errs, resourceValue(name, list.of[name], status.Child(list.name).Key(string(name)))...)
		}
	}
	return errs
}

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
				if unscoped(e.ScopeName) {
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

func quotaList(list corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	for _, name := range SortedKeys(list) {
		at := path.Key(string(name))
		bad := each(at, string(name), validation.IsQualifiedName(string(name)))
		if len(bad) == 0 && !strings.Contains(string(name), "/") && !quotaName(name) {
			bad = field.ErrorList{field.Invalid(at, string(name), "must be a standard resource for quota")}
		}
		errs = append(errs, bad...)
		errs = append(errs, resourceValue(name, list[name], at)...)
	}
	return errs
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

// resourceValue checks an amount: not negative, and whole where parts make no sense.
func resourceValue(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than or equal to 0")}
	}
	if wholeResource(name) && q.MilliValue()%1000 != 0 {
		return field.ErrorList{field.Invalid(path, &q, "must be an integer")}
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
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+s)) == 0
}

func nativeResource(s string) bool {
	return !strings.Contains(s, "/") || strings.Contains(s, corev1.ResourceDefaultNamespacePrefix)
}

func validateLimitRange(l, _ *corev1.LimitRange) (errs field.ErrorList) {
	seen := sets.New[corev1.LimitType]()
	for i := range l.Spec.Limits {
		item, path := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		for _, msg := range validation.IsQualifiedName(string(item.Type)) {
			errs = append(errs, field.Invalid(path.Child("type"), item.Type, msg))
		}
		if seen.Has(item.Type) {
			errs = append(errs, field.Duplicate(path.Child("type"), item.Type))
		}
		seen.Insert(item.Type)
		errs = append(errs, validateLimitItem(item, path)...)
	}
	return errs
}

func validateLimitItem(item *corev1.LimitRangeItem, path *field.Path) (errs field.ErrorList) {
	keys := sets.New[corev1.ResourceName]()
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"max", item.Max}, {"min", item.Min}, {"default", item.Default}, {"defaultRequest", item.DefaultRequest}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}} {
		for _, name := range SortedKeys(list.of) {
			keys.Insert(name)
			at := path.Child(list.name).Key(string(name))
			bad := each(at, string(name), validation.IsQualifiedName(string(name)))
			if len(bad) == 0 && !strings.Contains(string(name), "/") && !limitName(item.Type, name) {
				bad = field.ErrorList{field.Invalid(at, string(name), "must be a standard limit type or fully qualified")}
			}
			errs = append(errs, bad...)
		}
	}
	if item.Type == corev1.LimitTypePod {
		for _, no := range []struct {
			name string
			of   corev1.ResourceList
		}{{"default", item.Default}, {"defaultRequest", item.DefaultRequest}} {
			if len(no.of) > 0 {
				errs = append(errs, field.Forbidden(path.Child(no.name), "may not be specified when `type` is 'Pod'"))
			}
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, min := item.Min[corev1.ResourceStorage]
		_, max := item.Max[corev1.ResourceStorage]
		if !min && !max {
			errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	for _, k := range SortedKeys(keys) {
		amounts := []struct {
			child, text string
			of          corev1.ResourceList
		}{{"min", "min", item.Min}, {"defaultRequest", "default request", item.DefaultRequest}, {"default", "default", item.Default}, {"max", "max", item.Max}}
		for i, low := range amounts {
			for _, high := range amounts[i+1:] {
				a, ok1 := low.of[k]
				b, ok2 := high.of[k]
				if !ok1 || !ok2 || a.Cmp(b) <= 0 {
					continue
				}
				// The field that is complained about is the lower one, save that min stands firm against defaults.
				at, value, what := low, a, high.text
				if low.child == "min" && high.child != "max" {
					at, value = high, b
				}
				if low.child == "defaultRequest" && high.child == "default" {
					what = "default limit"
				}
				errs = append(errs, field.Invalid(path.Child(at.child).Key(string(k)), value.String(),
					fmt.Sprintf("%s value %s is greater than %s value %s", low.text, a.String(), what, b.String())))
			}
		}
		if ratio, ok := item.MaxLimitRequestRatio[k]; ok {
			at := path.Child("maxLimitRequestRatio").Key(string(k))
			if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
				errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String())))
			}
			min, ok1 := item.Min[k]
			max, ok2 := item.Max[k]
			if ok1 && ok2 && min.Sign() > 0 {
				if most := max.AsApproximateFloat64() / min.AsApproximateFloat64(); ratio.AsApproximateFloat64() > most {
					errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), most)))
				}
			}
		}
	}
	return errs
}

func limitName(kind corev1.LimitType, name corev1.ResourceName) bool {
	switch kind {
	case corev1.LimitTypePod, corev1.LimitTypeContainer:
		return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage ||
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
	}
	return quotaName(name) || name == corev1.ResourceStorage
}

var allAccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}

func validateModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) (errs field.ErrorList) {
	for _, m := range modes {
		errs = append(errs, OneOf(m, path, allAccessModes...)...)
	}
	if len(modes) > 1 && slices.Contains(modes, corev1.ReadWriteOncePod) {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

func validateVolume(v, old *corev1.PersistentVolume) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if len(v.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(spec.Child("accessModes"), ""))
	}
	errs = append(errs, validateModes(v.Spec.AccessModes, spec.Child("accessModes"))...)
	if len(v.Spec.Capacity) == 0 {
		errs = append(errs, field.Required(spec.Child("capacity"), ""))
	}
	if _, ok := v.Spec.Capacity[corev1.ResourceStorage]; !ok || len(v.Spec.Capacity) > 1 {
		errs = append(errs, field.NotSupported(spec.Child("capacity"), corev1.ResourceName(fmt.Sprint(SortedKeys(v.Spec.Capacity))), []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range SortedKeys(v.Spec.Capacity) {
		errs = append(errs, positive(v.Spec.Capacity[name], spec.Child("capacity").Key(string(name)))...)
	}
	if v.Spec.PersistentVolumeReclaimPolicy != "" {
		errs = append(errs, OneOf(v.Spec.PersistentVolumeReclaimPolicy, spec.Child("persistentVolumeReclaimPolicy"),
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	if a := v.Spec.NodeAffinity; a != nil {
		if path := spec.Child("nodeAffinity", "required"); a.Required == nil {
			errs = append(errs, field.Required(path, "must specify required node constraints"))
		} else {
			errs = append(errs, validateNodeSelector(a.Required, path)...)
		}
	}
	errs = append(errs, validateVolumeSource(&v.Spec, spec)...)
	if v.Spec.StorageClassName != "" {
		errs = append(errs, each(spec.Child("storageClassName"), v.Spec.StorageClassName, validation.IsDNS1123Subdomain(v.Spec.StorageClassName))...)
	}
	if m := v.Spec.VolumeMode; m != nil {
		errs = append(errs, OneOf(*m, spec.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if old != nil {
		if !same(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
			errs = append(errs, forbidChange(spec.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation", v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource)...)
		}
		errs = append(errs, Immutable(v.Spec.VolumeMode, old.Spec.VolumeMode, spec.Child("volumeMode"))...)
	}
	return errs
}

func validateVolumeSource(s *corev1.PersistentVolumeSpec, spec *field.Path) (errs field.ErrorList) {
	sources := 0
	v := reflect.ValueOf(s.PersistentVolumeSource)
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if sources++; sources > 1 {
				errs = append(errs, field.Forbidden(spec.Child(name), "may not specify more than 1 volume type"))
			}
		}
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Required(spec, "must specify a volume type"))
	case s.HostPath != nil:
		errs = append(errs, validateHostPath(s.HostPath, spec.Child("hostPath"))...)
		if s.HostPath.Path == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
			errs = append(errs, field.Forbidden(spec.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
		}
	case s.NFS != nil:
		errs = append(errs, validateNFS(s.NFS, spec.Child("nfs"))...)
	case s.Local != nil:
		if s.Local.Path == "" {
			errs = append(errs, field.Required(spec.Child("local", "path"), ""))
		}
		errs = append(errs, noDots(s.Local.Path, spec.Child("local", "path"))...)
		if s.NodeAffinity == nil {
			errs = append(errs, field.Required(spec.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	case s.CSI != nil:
		errs = append(errs, driverName(s.CSI.Driver, spec.Child("csi", "driver"))...)
		if s.CSI.VolumeHandle == "" {
			errs = append(errs, field.Required(spec.Child("csi", "volumeHandle"), ""))
		}
	}
	return errs
}

func positive(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() <= 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than zero")}
	}
	return nil
}

func validateClaim(c, old *corev1.PersistentVolumeClaim) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = ValidateClaimSpec(&c.Spec, spec)
	if old == nil {
		return errs
	}
	// What may change: from unbound to bound once; the size; the attributes class; metadata.
	now, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		now.VolumeName = ""
	}
	if old.Status.Phase == corev1.ClaimBound {
		now.Resources.Requests, was.Resources.Requests = nil, nil
		now.VolumeAttributesClassName, was.VolumeAttributesClassName = nil, nil
	}
	if was.StorageClassName == nil {
		now.StorageClassName = nil // late default class
	}
	if !same(now, was) {
		errs = append(errs, forbidChange(spec, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims", c.Spec, old.Spec)...)
	}
	size := func(l corev1.ResourceList) resource.Quantity { return l[corev1.ResourceStorage] }
	newSize, oldSize, has := size(c.Spec.Resources.Requests), size(old.Spec.Resources.Requests), size(old.Status.Capacity)
	if newSize.Cmp(oldSize) < 0 && newSize.Cmp(has) <= 0 && old.Status.Phase == corev1.ClaimBound {
		errs = append(errs, field.Forbidden(spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	if !same(c.Spec.VolumeMode, old.Spec.VolumeMode) {
		errs = append(errs, Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, spec.Child("volumeMode"))...)
	}
	return errs
}

// ValidateClaimSpec checks a claim's spec, one in a template too.
func ValidateClaimSpec(s *corev1.PersistentVolumeClaimSpec, spec *field.Path) (errs field.ErrorList) {
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(spec.Child("accessModes"), "at least 1 access mode is required"))
	}
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("selector"))...)
	}
	errs = append(errs, validateModes(s.AccessModes, spec.Child("accessModes"))...)
	if size, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(spec.Child("resources").Key(string(corev1.ResourceStorage)), ""))
	} else {
		errs = append(errs, positive(size, spec.Child("resources").Key(string(corev1.ResourceStorage)))...)
	}
	if n := s.StorageClassName; n != nil && *n != "" {
		errs = append(errs, each(spec.Child("storageClassName"), *n, validation.IsDNS1123Subdomain(*n))...)
	}
	if m := s.VolumeMode; m != nil {
		errs = append(errs, OneOf(*m, spec.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	if d := s.DataSource; d != nil {
		path := spec.Child("dataSource")
		if d.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		}
		if d.Kind == "" {
			errs = append(errs, field.Required(path.Child("kind"), ""))
		}
		if (d.APIGroup == nil || *d.APIGroup == "") && d.Kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(path, d.Kind, ""))
		}
	}
	return errs
}
