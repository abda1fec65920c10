package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validateResourceClaim(c, old *resourcev1.ResourceClaim) field.ErrorList {
	at := field.NewPath("spec")
	if old != nil {
		if !equality.Semantic.DeepEqual(c.Spec, old.Spec) {
			return field.ErrorList{field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg)}
		}
		return nil
	}
	errs, declared := validateClaimSpec(&c.Spec, at)
	return append(errs, declared...)
}

func validateResourceClaimTemplate(t, old *resourcev1.ResourceClaimTemplate) (errs field.ErrorList) {
	at := field.NewPath("spec")
	errs = append(errs, validateTemplateMeta(&t.Spec.ObjectMeta, at.Child("metadata"))...)
	errs = append(errs, metav1validation.ValidateLabels(t.Spec.Labels, at.Child("metadata", "labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Spec.Annotations, at.Child("metadata", "annotations"))...)
	said, declared := validateClaimSpec(&t.Spec.Spec, at.Child("spec"))
	errs = append(errs, said...)
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(t.Spec, old.Spec, at)...)
	}
	return append(errs, declared...)
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

// ForAdmins complains of requests for administrative access to devices, in a claim or a template of claims, which only
// namespaces with a label may have. Source: resource/v1, DRAAdminNamespaceLabelKey.
func ForAdmins(obj api.Object) (errs field.ErrorList) {
	var spec *resourcev1.ResourceClaimSpec
	at := field.NewPath("spec")
	switch o := obj.(type) {
	case *resourcev1.ResourceClaim:
		spec = &o.Spec
	case *resourcev1.ResourceClaimTemplate:
		spec, at = &o.Spec.Spec, at.Child("spec")
	default:
		return nil
	}
	for n, r := range spec.Devices.Requests {
		if r.Exactly != nil && r.Exactly.AdminAccess != nil && *r.Exactly.AdminAccess {
			errs = append(errs, field.Forbidden(at.Child("devices", "requests").Index(n).Child("adminAccess"),
				fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey)))
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

// validateClaimSpec gives what is wrong in two parts, since upstream complains of what the types' own markers (+k8s:...) say after all else.
func validateClaimSpec(spec *resourcev1.ResourceClaimSpec, at *field.Path) (errs, declared field.ErrorList) {
	d, at := &spec.Devices, at.Child("devices")
	names := requestNames{}
	errs = append(errs, atMost(len(d.Requests), resourcev1.DeviceRequestsMaxSize, at.Child("requests"))...)
	for i := range d.Requests {
		r, at := &d.Requests[i], at.Child("requests").Index(i)
		if names[r.Name] != nil {
			declared = append(declared, field.Duplicate(at, served{r}))
		} else {
			names[r.Name] = sets.Set[string]{}
		}
		said, of := validateRequest(r, at)
		errs, declared = append(errs, said...), append(declared, of...)
		for _, s := range r.FirstAvailable {
			names[r.Name].Insert(s.Name)
		}
	}
	errs = append(errs, atMost(len(d.Constraints), resourcev1.DeviceConstraintsMaxSize, at.Child("constraints"))...)
	for i, c := range d.Constraints {
		at := at.Child("constraints").Index(i)
		errs = append(errs, validateReferences(c.Requests, names, at.Child("requests"))...)
		declared = append(declared, twice(c.Requests, at.Child("requests"))...)
		if c.MatchAttribute == nil && c.DistinctAttribute == nil { // both are taken, whatever is said here
			errs = append(errs, field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
		}
		if a := c.MatchAttribute; a != nil {
			declared = append(declared, marked(validate.ResourceFullyQualifiedName, *a, at.Child("matchAttribute"))...)
		}
		if a := c.DistinctAttribute; a != nil {
			declared = append(declared, marked(validate.ResourceFullyQualifiedName, *a, at.Child("distinctAttribute"))...)
		}
	}
	errs = append(errs, atMost(len(d.Config), resourcev1.DeviceConfigMaxSize, at.Child("config"))...)
	for i := range d.Config {
		at := at.Child("config").Index(i)
		errs = append(errs, validateReferences(d.Config[i].Requests, names, at.Child("requests"))...)
		declared = append(declared, twice(d.Config[i].Requests, at.Child("requests"))...)
		said, of := validateConfiguration(&d.Config[i].DeviceConfiguration, at)
		errs, declared = append(errs, said...), append(declared, of...)
	}
	return errs, declared
}

// twice complains of what is in a set more than once.
func twice(list []string, at *field.Path) (errs field.ErrorList) {
	again := api.Again[string]()
	for i, name := range list {
		if again(name) {
			errs = append(errs, field.Duplicate(at.Index(i), name))
		}
		if api.Enough(errs) {
			break
		}
	}
	return errs
}

func validateReferences(list []string, names requestNames, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, atMost(len(list), resourcev1.DeviceRequestsMaxSize, at)...)
	for i, name := range list {
		errs = append(errs, validateReference(name, names, at.Index(i))...)
		if api.Enough(errs) {
			break
		}
	}
	return errs
}

func validateReference(name string, names requestNames, at *field.Path) (errs field.ErrorList) {
	for part := range strings.SplitSeq(name, "/") {
		for _, msg := range validation.IsDNS1123Label(part) {
			errs = append(errs, field.Invalid(at, part, msg))
		}
	}
	if !names.has(name) {
		errs = append(errs, field.Invalid(at, name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
	}
	return errs
}

// served is a value that a complaint shows as the API does.
type served struct{ v any }

func (s served) MarshalJSON() ([]byte, error) { return json.Marshal(s.v) }

func validateRequest(r *resourcev1.DeviceRequest, at *field.Path) (errs, declared field.ErrorList) {
	errs = append(errs, validateLabel(r.Name, at.Child("name"))...)
	both := r.Exactly != nil && len(r.FirstAvailable) > 0 // less is asked of what must go anyway
	switch {
	case both:
		errs = append(errs, field.Invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
	case r.Exactly == nil && len(r.FirstAvailable) == 0:
		errs = append(errs, field.Required(at, "exactly one of `exactly` or `firstAvailable` is required"))
	}
	if e, at := r.Exactly, at.Child("exactly"); e != nil {
		if !both {
			if e.DeviceClassName == "" {
				errs = append(errs, field.Required(at.Child("deviceClassName"), ""))
			} else {
				for _, msg := range validation.IsDNS1123Subdomain(e.DeviceClassName) {
					errs = append(errs, field.Invalid(at.Child("deviceClassName"), e.DeviceClassName, msg))
				}
			}
			errs = append(errs, validateSelectors(e.Selectors, at.Child("selectors"))...)
			errs = append(errs, validateCount(e.AllocationMode, e.Count, at)...)
			errs = append(errs, validateTolerations(e.Tolerations, at.Child("tolerations"))...)
		}
		declared = append(declared, validateMode(e.AllocationMode, at)...)
		declared = append(declared, declaredTolerations(e.Tolerations, at.Child("tolerations"))...)
	}
	at = at.Child("firstAvailable")
	errs = append(errs, atMost(len(r.FirstAvailable), resourcev1.FirstAvailableDeviceRequestMaxSize, at)...)
	names := sets.Set[string]{}
	for i := range r.FirstAvailable {
		s, at := &r.FirstAvailable[i], at.Index(i)
		if !both {
			errs = append(errs, validateLabel(s.Name, at.Child("name"))...)
			errs = append(errs, validateSelectors(s.Selectors, at.Child("selectors"))...)
			errs = append(errs, validateCount(s.AllocationMode, s.Count, at)...)
			errs = append(errs, validateTolerations(s.Tolerations, at.Child("tolerations"))...)
		}
		if names.Has(s.Name) {
			declared = append(declared, field.Duplicate(at, served{s}))
		}
		names.Insert(s.Name)
		if s.DeviceClassName == "" {
			declared = append(declared, field.Required(at.Child("deviceClassName"), ""))
		} else {
			declared = append(declared, marked(validate.LongName, s.DeviceClassName, at.Child("deviceClassName"))...)
		}
		declared = append(declared, validateMode(s.AllocationMode, at)...)
		declared = append(declared, declaredTolerations(s.Tolerations, at.Child("tolerations"))...)
	}
	return errs, declared
}

func validateLabel(name string, at *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// validateCount and validateMode check how many devices are wanted.
func validateCount(mode resourcev1.DeviceAllocationMode, count int64, at *field.Path) (errs field.ErrorList) {
	switch at = at.Child("count"); {
	case mode == resourcev1.DeviceAllocationModeAll && count != 0:
		errs = append(errs, field.Invalid(at, count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
	case mode == resourcev1.DeviceAllocationModeExactCount && count <= 0:
		errs = append(errs, field.Invalid(at, count, "must be greater than zero"))
	}
	return errs
}

func validateMode(mode resourcev1.DeviceAllocationMode, at *field.Path) field.ErrorList {
	all := []resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}
	if slices.Contains(all, mode) {
		return nil
	}
	return field.ErrorList{field.NotSupported(at.Child("allocationMode"), mode, all)}
}
