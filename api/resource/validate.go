package resource

import (
	"context"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The structure of claims and classes. That selectors compile is checked in admission/expression.

func validateDeviceClass(c, _ *resourcev1.DeviceClass) (errs field.ErrorList) {
	at := field.NewPath("spec")
	var declared field.ErrorList
	errs = append(errs, validateSelectors(c.Spec.Selectors, at.Child("selectors"))...)
	config := at.Child("config")
	errs = append(errs, atMost(len(c.Spec.Config), resourcev1.DeviceConfigMaxSize, config)...)
	for i := range c.Spec.Config {
		said, of := validateConfiguration(&c.Spec.Config[i].DeviceConfiguration, config.Index(i))
		errs, declared = append(errs, said...), append(declared, of...)
	}
	if name := c.Spec.ExtendedResourceName; name != nil {
		declared = append(declared, marked(validate.ExtendedResourceName, *name, at.Child("extendedResourceName"))...)
	}
	return append(errs, declared...)
}

// marked applies the rule of a format that a type's marker names.
func marked[T ~string](rule func(context.Context, operation.Operation, *field.Path, *T, *T) field.ErrorList, value T, at *field.Path) field.ErrorList {
	return rule(context.Background(), operation.Operation{}, at, &value, nil)
}

func atMost(n, most int, at *field.Path) field.ErrorList {
	if n > most {
		return field.ErrorList{field.TooMany(at, n, most)}
	}
	return nil
}

func validateSelectors(list []resourcev1.DeviceSelector, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.DeviceSelectorsMaxSize, at)...)
	for i, s := range list {
		at := at.Index(i).Child("cel")
		switch {
		case s.CEL == nil:
			errs = append(errs, field.Required(at, ""))
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			errs = append(errs, field.TooLong(at.Child("expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		}
	}
	return errs
}

func validateConfiguration(c *resourcev1.DeviceConfiguration, at *field.Path) (errs, declared field.ErrorList) {
	at = at.Child("opaque")
	if c.Opaque == nil {
		return append(errs, field.Required(at, "")), nil
	}
	declared = declaredDriver(c.Opaque.Driver, at.Child("driver"))
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
	return errs, declared
}

// declaredDriver is what the markers of a driver's name ask for; declaredPool, of a pool's.
func declaredDriver(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return append(marked(validate.LongNameCaseless, name, at),
		validate.MaxLength(context.Background(), operation.Operation{}, at, &name, nil, resourcev1.DriverNameMaxLength)...)
}

func declaredPool(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return marked(validate.ResourcePoolName, name, at)
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

// validateTolerations checks what tolerations match; their keys, operators and effects have markers.
func validateTolerations(list []resourcev1.DeviceToleration, at *field.Path) (errs field.ErrorList) {
	for i, t := range list {
		at := at.Index(i).Child("value")
		switch {
		case t.Operator == resourcev1.DeviceTolerationOpExists && t.Value != "":
			errs = append(errs, field.Invalid(at, t.Value, "must be empty for operator `Exists`"))
		case t.Operator == resourcev1.DeviceTolerationOpEqual:
			for _, msg := range validation.IsValidLabelValue(t.Value) {
				errs = append(errs, field.Invalid(at, t.Value, msg))
			}
		}
	}
	return errs
}

func declaredTolerations(list []resourcev1.DeviceToleration, at *field.Path) (errs field.ErrorList) {
	operators := []resourcev1.DeviceTolerationOperator{resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists}
	for i, t := range list {
		at := at.Index(i)
		if t.Key != "" {
			errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		}
		if !slices.Contains(operators, t.Operator) { // the default is there by now
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, operators))
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

const notIdentifier = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"

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
		errs = append(errs, field.Invalid(at, id, notIdentifier))
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
