package resource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The structure of claims and classes. That selectors compile is for the part that compiles CEL.

func validateDeviceClass(c, _ *resourcev1.DeviceClass) (errs field.ErrorList) {
	at := field.NewPath("spec")
	errs = append(errs, validateSelectors(c.Spec.Selectors, at.Child("selectors"))...)
	config := at.Child("config")
	errs = append(errs, atMost(len(c.Spec.Config), resourcev1.DeviceConfigMaxSize, config)...)
	for i := range c.Spec.Config {
		errs = append(errs, validateConfiguration(&c.Spec.Config[i].DeviceConfiguration, config.Index(i))...)
	}
	if name := c.Spec.ExtendedResourceName; name != nil {
		errs = append(errs, validateExtendedName(*name, at.Child("extendedResourceName"))...)
	}
	return errs
}

func atMost(n, most int, at *field.Path) field.ErrorList {
	if n > most {
		return field.ErrorList{field.TooMany(at, n, most)}
	}
	return nil
}

// validateExtendedName wants a name that pods can request as an extended resource.
func validateExtendedName(name string, at *field.Path) (errs field.ErrorList) {
	domain, _, ok := strings.Cut(name, "/")
	if !ok || strings.HasSuffix(domain, "kubernetes.io") || strings.HasPrefix(name, "requests.") {
		return append(errs, field.Invalid(at, name, "must be a valid extended resource name"))
	}
	for _, msg := range validation.IsQualifiedName("requests." + name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

func validateSelectors(list []resourcev1.DeviceSelector, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.DeviceSelectorsMaxSize, at)...)
	for i, s := range list {
		at := at.Index(i).Child("cel")
		switch {
		case s.CEL == nil:
			errs = append(errs, field.Required(at, ""))
		case s.CEL.Expression == "":
			errs = append(errs, field.Required(at.Child("expression"), ""))
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			errs = append(errs, field.TooLong(at.Child("expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		}
	}
	return errs
}

func validateConfiguration(c *resourcev1.DeviceConfiguration, at *field.Path) (errs field.ErrorList) {
	at = at.Child("opaque")
	if c.Opaque == nil {
		return append(errs, field.Required(at, ""))
	}
	errs = append(errs, validateDriverName(c.Opaque.Driver, at.Child("driver"))...)
	params := at.Child("parameters")
	raw := c.Opaque.Parameters.Raw
	switch {
	case len(raw) == 0:
		errs = append(errs, field.Required(params, ""))
	case len(raw) > resourcev1.OpaqueParametersMaxLength:
		errs = append(errs, field.TooLong(params, "", resourcev1.OpaqueParametersMaxLength))
	case !strings.HasPrefix(strings.TrimSpace(string(raw)), "{"):
		errs = append(errs, field.Invalid(params, "<value omitted>", "must be a valid JSON object"))
	}
	return errs
}

func validateDriverName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return append(errs, field.Required(at, ""))
	}
	if len(name) > resourcev1.DriverNameMaxLength {
		errs = append(errs, field.TooLong(at, name, resourcev1.DriverNameMaxLength))
	}
	for _, msg := range validation.IsDNS1123Subdomain(strings.ToLower(name)) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

func validateResourceClaim(c, old *resourcev1.ResourceClaim) field.ErrorList {
	at := field.NewPath("spec")
	if old != nil {
		return apivalidation.ValidateImmutableField(c.Spec, old.Spec, at)
	}
	return validateClaimSpec(&c.Spec, at)
}

func validateResourceClaimTemplate(t, old *resourcev1.ResourceClaimTemplate) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old != nil {
		return apivalidation.ValidateImmutableField(t.Spec, old.Spec, at)
	}
	errs = append(errs, metav1validation.ValidateLabels(t.Spec.Labels, at.Child("metadata", "labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Spec.Annotations, at.Child("metadata", "annotations"))...)
	return append(errs, validateClaimSpec(&t.Spec.Spec, at.Child("spec"))...)
}

// requestNames are the names that constraints and settings can refer to.
type requestNames map[string]sets.Set[string]

func (n requestNames) has(name string) bool {
	request, sub, isSub := strings.Cut(name, "/")
	subs, ok := n[request]
	return ok && (!isSub || subs.Has(sub))
}

func validateClaimSpec(spec *resourcev1.ResourceClaimSpec, at *field.Path) (errs field.ErrorList) {
	d, at := &spec.Devices, at.Child("devices")
	names := requestNames{}
	errs = append(errs, atMost(len(d.Requests), resourcev1.DeviceRequestsMaxSize, at.Child("requests"))...)
	for i := range d.Requests {
		r, at := &d.Requests[i], at.Child("requests").Index(i)
		if _, ok := names[r.Name]; ok {
			errs = append(errs, field.Duplicate(at.Child("name"), r.Name))
		}
		names[r.Name] = sets.Set[string]{}
		errs = append(errs, validateRequest(r, names[r.Name], at)...)
	}
	errs = append(errs, atMost(len(d.Constraints), resourcev1.DeviceConstraintsMaxSize, at.Child("constraints"))...)
	for i, c := range d.Constraints {
		at := at.Child("constraints").Index(i)
		errs = append(errs, validateReferences(c.Requests, names, at.Child("requests"))...)
		switch {
		case c.MatchAttribute != nil:
			errs = append(errs, validateFullName(string(*c.MatchAttribute), at.Child("matchAttribute"))...)
		case c.DistinctAttribute != nil:
			errs = append(errs, validateFullName(string(*c.DistinctAttribute), at.Child("distinctAttribute"))...)
		default:
			errs = append(errs, field.Required(at.Child("matchAttribute"), ""))
		}
	}
	errs = append(errs, atMost(len(d.Config), resourcev1.DeviceConfigMaxSize, at.Child("config"))...)
	for i := range d.Config {
		at := at.Child("config").Index(i)
		errs = append(errs, validateReferences(d.Config[i].Requests, names, at.Child("requests"))...)
		errs = append(errs, validateConfiguration(&d.Config[i].DeviceConfiguration, at)...)
	}
	return errs
}

func validateReferences(list []string, names requestNames, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.DeviceRequestsMaxSize, at)...)
	for i, name := range list {
		if slices.Contains(list[:i], name) {
			errs = append(errs, field.Duplicate(at.Index(i), name))
		}
		if !names.has(name) {
			errs = append(errs, field.Invalid(at.Index(i), name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
		}
	}
	return errs
}

func validateRequest(r *resourcev1.DeviceRequest, subs sets.Set[string], at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateLabel(r.Name, at.Child("name"))...)
	switch {
	case (r.Exactly != nil) == (len(r.FirstAvailable) > 0):
		if r.Exactly == nil {
			return append(errs, field.Required(at, "exactly one of `exactly` or `firstAvailable` is required"))
		}
		return append(errs, field.Invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
	case r.Exactly != nil:
		e, at := r.Exactly, at.Child("exactly")
		errs = append(errs, validateWanted(e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, at)...)
		return append(errs, validateCapacityRequests(e.Capacity, at.Child("capacity"))...)
	}
	at = at.Child("firstAvailable")
	errs = append(errs, atMost(len(r.FirstAvailable), resourcev1.FirstAvailableDeviceRequestMaxSize, at)...)
	for i := range r.FirstAvailable {
		s, at := &r.FirstAvailable[i], at.Index(i)
		errs = append(errs, validateLabel(s.Name, at.Child("name"))...)
		if subs.Has(s.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), s.Name))
		}
		subs.Insert(s.Name)
		errs = append(errs, validateWanted(s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, at)...)
		errs = append(errs, validateCapacityRequests(s.Capacity, at.Child("capacity"))...)
	}
	return errs
}

func validateLabel(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return append(errs, field.Required(at, ""))
	}
	for _, msg := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// validateWanted checks which devices of which class and how many.
func validateWanted(class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64,
	tolerations []resourcev1.DeviceToleration, at *field.Path) (errs field.ErrorList) {
	if class == "" {
		errs = append(errs, field.Required(at.Child("deviceClassName"), ""))
	} else {
		for _, msg := range validation.IsDNS1123Subdomain(class) {
			errs = append(errs, field.Invalid(at.Child("deviceClassName"), class, msg))
		}
	}
	errs = append(errs, validateSelectors(selectors, at.Child("selectors"))...)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			errs = append(errs, field.Invalid(at.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			errs = append(errs, field.Invalid(at.Child("count"), count, "must be greater than zero"))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("allocationMode"), mode,
			[]resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}))
	}
	return append(errs, validateTolerations(tolerations, at.Child("tolerations"))...)
}

func validateCapacityRequests(c *resourcev1.CapacityRequirements, at *field.Path) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	for name, q := range c.Requests {
		at := at.Child("requests").Key(string(name))
		errs = append(errs, validateQualified(string(name), at)...)
		if q.Cmp(apiresource.Quantity{}) < 0 {
			errs = append(errs, field.Invalid(at, q.String(), apivalidation.IsNegativeErrorMsg))
		}
	}
	return errs
}

func validateTolerations(list []resourcev1.DeviceToleration, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.DeviceTolerationsMaxLength, at)...)
	for i, t := range list {
		at := at.Index(i)
		if t.Key != "" {
			errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		}
		switch t.Operator {
		case resourcev1.DeviceTolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
			}
		case resourcev1.DeviceTolerationOpEqual:
			for _, msg := range validation.IsValidLabelValue(t.Value) {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, msg))
			}
			if t.Key == "" {
				errs = append(errs, field.Required(at.Child("key"), "must not be empty unless operator is `Exists`"))
			}
		case "":
			errs = append(errs, field.Required(at.Child("operator"), ""))
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator,
				[]resourcev1.DeviceTolerationOperator{resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists}))
		}
		if t.Effect != "" {
			errs = append(errs, validateEffect(t.Effect, at.Child("effect"))...)
		}
	}
	return errs
}

func validateEffect(e resourcev1.DeviceTaintEffect, at *field.Path) field.ErrorList {
	all := []resourcev1.DeviceTaintEffect{resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone}
	switch {
	case e == "":
		return field.ErrorList{field.Required(at, "")}
	case !slices.Contains(all, e):
		return field.ErrorList{field.NotSupported(at, e, all)}
	}
	return nil
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// validateQualified takes a C identifier, with a domain and a slash before it or not. Source: type comment of QualifiedName.
func validateQualified(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return append(errs, field.Required(at, "name required"))
	}
	domain, id, ok := strings.Cut(name, "/")
	if !ok {
		domain, id = "", name
	} else if domain == "" {
		errs = append(errs, field.Required(at, "the domain must not be empty"))
	}
	if domain != "" {
		if len(domain) > resourcev1.DeviceMaxDomainLength {
			errs = append(errs, field.TooLong(at, domain, resourcev1.DeviceMaxDomainLength))
		}
		for _, msg := range validation.IsDNS1123Subdomain(domain) {
			errs = append(errs, field.Invalid(at, domain, msg))
		}
	}
	switch {
	case id == "":
		errs = append(errs, field.Required(at, "the name must not be empty"))
	case len(id) > resourcev1.DeviceMaxIDLength:
		errs = append(errs, field.TooLong(at, id, resourcev1.DeviceMaxIDLength))
	case !identifier.MatchString(id):
		errs = append(errs, field.Invalid(at, id, "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"))
	}
	return errs
}

func validateFullName(name string, at *field.Path) field.ErrorList {
	errs := validateQualified(name, at)
	if name != "" && !strings.Contains(name, "/") {
		errs = append(errs, field.Invalid(at, name, "must include a domain"))
	}
	return errs
}

func validateDeviceTaintRule(r, old *resourcev1.DeviceTaintRule) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if s := r.Spec.DeviceSelector; s != nil && (old == nil || !equality.Semantic.DeepEqual(s, old.Spec.DeviceSelector)) {
		at := at.Child("deviceSelector")
		if s.Driver != nil {
			errs = append(errs, validateDriverName(*s.Driver, at.Child("driver"))...)
		}
		if s.Pool != nil {
			errs = append(errs, validatePoolName(*s.Pool, at.Child("pool"))...)
		}
		if s.Device != nil {
			errs = append(errs, validateLabel(*s.Device, at.Child("device"))...)
		}
	}
	return append(errs, validateTaint(&r.Spec.Taint, at.Child("taint"))...)
}

func validateDeviceTaintRuleStatus(r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
	at := field.NewPath("status", "conditions")
	errs := metav1validation.ValidateConditions(r.Status.Conditions, at)
	return append(errs, atMost(len(r.Status.Conditions), resourcev1.DeviceTaintRuleStatusMaxConditions, at)...)
}

func validateTaint(t *resourcev1.DeviceTaint, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
	if t.Value != "" {
		for _, msg := range validation.IsValidLabelValue(t.Value) {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, msg))
		}
	}
	return append(errs, validateEffect(t.Effect, at.Child("effect"))...)
}

func validatePoolName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return append(errs, field.Required(at, ""))
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		errs = append(errs, field.TooLong(at, name, resourcev1.PoolNameMaxLength))
	}
	for _, part := range strings.Split(name, "/") {
		for _, msg := range validation.IsDNS1123Subdomain(part) {
			errs = append(errs, field.Invalid(at, part, msg))
		}
	}
	return errs
}
