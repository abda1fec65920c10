// Package coordination holds the record of coordination.k8s.io/v1.
package coordination

import (
	coordinationv1alpha2 "k8s.io/api/coordination/v1alpha2"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources.
var All = []*api.Info{Lease}

// Further are those of versions that are not stable, served when they are asked for (--runtime-config).
var Further = []*api.Info{LeaseCandidate, api.Renamed[*coordinationv1alpha2.LeaseCandidate](LeaseCandidate, "v1alpha2")}

// Lease says who holds a role and for how long: node heartbeats, leader election.
var Lease = api.Define(api.Resource[*coordinationv1.Lease]{
	Group: coordinationv1.GroupName, Version: "v1", Plural: "leases", Scope: api.Namespaced, AnyFinalizer: true,
	Relaxed:  true,
	Prepare:  dropUnserved,
	Validate: validateLease,
	Columns: []api.Column[*coordinationv1.Lease]{{Name: "Holder", Help: coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"],
		Show: func(l *coordinationv1.Lease) any {
			if l.Spec.HolderIdentity == nil {
				return ""
			}
			return *l.Spec.HolderIdentity
		}}},
})

// dropUnserved drops what coordinated leader election, which is off by default, would use.
func dropUnserved(l, old *coordinationv1.Lease) {
	if old == nil || old.Spec.Strategy == nil {
		l.Spec.Strategy = nil
	}
	if old == nil || old.Spec.PreferredHolder == nil {
		l.Spec.PreferredHolder = nil
	}
}

func validateLease(l, _ *coordinationv1.Lease) (errs field.ErrorList) {
	spec, path := &l.Spec, field.NewPath("spec")
	if n := spec.LeaseDurationSeconds; n != nil && *n <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *n, "must be greater than 0"))
	}
	if n := spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	if s := spec.Strategy; s != nil {
		errs = append(errs, validateStrategy(string(*s), path.Child("strategy"))...)
	}
	if p := spec.PreferredHolder; p != nil && *p != "" && (spec.Strategy == nil || *spec.Strategy == "") {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}

// validateStrategy: a strategy is a domain-prefixed path, but ours has no domain.
func validateStrategy(s string, path *field.Path) (errs field.ErrorList) {
	if s == string(coordinationv1.OldestEmulationVersion) {
		return nil
	}
	if len(s) > 0 && !strings.Contains(s, "/") {
		return field.ErrorList{field.NotSupported(path, s, []coordinationv1.CoordinatedLeaseStrategy{coordinationv1.OldestEmulationVersion})}
	}
	for _, msg := range validation.IsQualifiedName(s) {
		errs = append(errs, field.Invalid(path, s, msg))
	}
	return errs
}
