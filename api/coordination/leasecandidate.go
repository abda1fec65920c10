package coordination

import (
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/lighter-k8s/lighter/api"
)

// LeaseCandidate says who would hold a lease, in a coordinated election of the leader.
var LeaseCandidate = api.Define(api.Resource[*coordinationv1beta1.LeaseCandidate]{
	Group: coordinationv1beta1.GroupName, Version: "v1beta1", Plural: "leasecandidates", Scope: api.Namespaced, AnyFinalizer: true,
	ValidateName: func(name string, _ bool) []string { return validation.IsConfigMapKey(name) },
	Validate:     validateCandidate,
	Columns: []api.Column[*coordinationv1beta1.LeaseCandidate]{
		{Name: "LeaseName", Help: "leaseName is the name of the lease for which this candidate is contending. This field is immutable.",
			Show: func(c *coordinationv1beta1.LeaseCandidate) any { return c.Spec.LeaseName }},
		{Name: "BinaryVersion", Show: func(c *coordinationv1beta1.LeaseCandidate) any { return c.Spec.BinaryVersion }},
		{Name: "EmulationVersion", Show: func(c *coordinationv1beta1.LeaseCandidate) any { return c.Spec.EmulationVersion }},
	},
})

// validateCandidate: source of the rules are the fields' comments, of the messages a kube-apiserver 1.37.2.
func validateCandidate(c, old *coordinationv1beta1.LeaseCandidate) (errs field.ErrorList) {
	at, spec := field.NewPath("spec"), &c.Spec
	if spec.LeaseName == "" {
		errs = append(errs, field.Required(at.Child("leaseName"), ""))
	}
	parse := func(text, name string) *version.Version {
		if text == "" {
			return nil
		}
		v, err := version.ParseSemantic(text)
		if err != nil || strings.HasPrefix(text, "v") {
			errs = append(errs, field.Invalid(at.Child(name), text, "must be a valid semantic version"))
			return nil
		}
		return v
	}
	emulated := parse(spec.EmulationVersion, "emulationVersion")
	if spec.BinaryVersion == "" {
		errs = append(errs, field.Required(at.Child("binaryVersion"), ""))
	}
	binary := parse(spec.BinaryVersion, "binaryVersion")
	// A version that cannot be read is lower than all others; upstream says both.
	if emulated != nil && spec.BinaryVersion != "" && (binary == nil || binary.LessThan(emulated)) {
		errs = append(errs, field.Invalid(at.Child("binaryVersion"), spec.BinaryVersion, "must be greater than or equal to `emulationVersion`"))
	}
	if spec.Strategy == "" {
		errs = append(errs, field.Required(at.Child("strategy"), ""))
	} else {
		errs = append(errs, validateStrategy(string(spec.Strategy), at.Child("strategy", "strategy"))...)
	}
	if spec.Strategy == coordinationv1.OldestEmulationVersion && emulated == nil {
		errs = append(errs, field.Required(at.Child("emulationVersion"), "must be specified when `strategy` is 'OldestEmulationVersion'"))
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(spec.LeaseName, old.Spec.LeaseName, at.Child("leaseName"))...)
	}
	return errs
}
