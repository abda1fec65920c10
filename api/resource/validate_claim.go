package resource

import (
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateResourceClaim(c, old *resourcev1.ResourceClaim) field.ErrorList {
	at := field.NewPath("spec")
	if old != nil {
		if !equality.Semantic.DeepEqual(c.Spec, old.Spec) {
			return field.ErrorList{field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg)}
		}
		return nil
	}
	return validateClaimSpec(&c.Spec, at)
}

func validateResourceClaimTemplate(t, old *resourcev1.ResourceClaimTemplate) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old != nil {
		return apivalidation.ValidateImmutableField(t.Spec, old.Spec, at)
	}
	errs = append(errs, validateTemplateMeta(&t.Spec.ObjectMeta, at.Child("metadata"))...)
	errs = append(errs, metav1validation.ValidateLabels(t.Spec.Labels, at.Child("metadata", "labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Spec.Annotations, at.Child("metadata", "annotations"))...)
	return append(errs, validateClaimSpec(&t.Spec.Spec, at.Child("spec"))...)
}

// validateTemplateMeta: of a claim's metadata the template gives labels and annotations alone.
func validateTemplateMeta(m *metav1.ObjectMeta, at *field.Path) (errs field.ErrorList) {
	for _, no := range []struct {
		name string
		set  bool
	}{{"name", m.Name != ""}, {"generateName", m.GenerateName != ""}, {"namespace", m.Namespace != ""}, {"selfLink", m.SelfLink != ""}, {"uID", m.UID != ""},
		{"resourceVersion", m.ResourceVersion != ""}, {"generation", m.Generation != 0}, {"creationTimestamp", !m.CreationTimestamp.IsZero()},
		{"deletionTimestamp", m.DeletionTimestamp != nil}, {"deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil},
		{"ownerReferences", m.OwnerReferences != nil}, {"finalizers", m.Finalizers != nil}, {"managedFields", m.ManagedFields != nil}} {
		if no.set {
			errs = append(errs, field.Forbidden(at.Child(no.name), "cannot be set"))
		}
	}
	return errs
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
		case (c.MatchAttribute != nil) == (c.DistinctAttribute != nil):
			errs = append(errs, field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
		case c.MatchAttribute != nil:
			errs = append(errs, validateFullName(string(*c.MatchAttribute), at.Child("matchAttribute"))...)
		case c.DistinctAttribute != nil:
			errs = append(errs, validateFullName(string(*c.DistinctAttribute), at.Child("distinctAttribute"))...)
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
	defer func() { // what is there twice is complained about last
		for i, name := range list {
			if slices.Contains(list[:i], name) {
				errs = append(errs, field.Duplicate(at.Index(i), name))
			}
		}
	}()
	for i, name := range list {
		for part := range strings.SplitSeq(name, "/") {
			for _, msg := range validation.IsDNS1123Label(part) {
				errs = append(errs, field.Invalid(at.Index(i), part, msg))
			}
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
		errs = append(errs, field.Invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
	}
	if r.Exactly != nil {
		e, at := r.Exactly, at.Child("exactly")
		errs = append(errs, validateWanted(e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, at)...)
		errs = append(errs, validateCapacityRequests(e.Capacity, at.Child("capacity"))...)
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
