// Package storagemigration holds the record of storagemigration.k8s.io/v1.
package storagemigration

import (
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	storagemigrationv1beta1 "k8s.io/api/storagemigration/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources.
var All = []*api.Info{StorageVersionMigration}

// Further are those of other versions, served when they are asked for (--runtime-config).
var Further = []*api.Info{api.Renamed[*storagemigrationv1beta1.StorageVersionMigration](StorageVersionMigration, "v1beta1")}

// StorageVersionMigration asks for all objects of a resource to be written again in its storage version.
var StorageVersionMigration = api.Define(api.Resource[*storagemigrationv1.StorageVersionMigration]{
	Group: storagemigrationv1.GroupName, Version: "v1", StoredAs: "v1beta1", Plural: "storageversionmigrations", Scope: api.Cluster,
	Prepare: func(m, old *storagemigrationv1.StorageVersionMigration) {
		if old == nil {
			m.Status = storagemigrationv1.StorageVersionMigrationStatus{}
		}
	},
	Validate: func(m, old *storagemigrationv1.StorageVersionMigration) (errs field.ErrorList) {
		path := field.NewPath("spec", "resource")
		if m.Spec.Resource.Resource == "" {
			errs = append(errs, field.Required(path.Child("resource"), "resource is required to be set"))
		} else {
			for _, text := range validation.IsDNS1035Label(m.Spec.Resource.Resource) {
				errs = append(errs, field.Invalid(path.Child("resource"), m.Spec.Resource.Resource, text))
			}
		}
		if g := m.Spec.Resource.Group; g != "" {
			for _, text := range validation.IsDNS1123Subdomain(g) {
				errs = append(errs, field.Invalid(path.Child("group"), g, text))
			}
		}
		if old != nil {
			errs = append(errs, apivalidation.ValidateImmutableField(m.Spec, old.Spec, field.NewPath("spec"))...)
		}
		return errs
	},
	Status: &api.Status[*storagemigrationv1.StorageVersionMigration]{
		Alone: true,
		Copy:  func(dst, src *storagemigrationv1.StorageVersionMigration) { dst.Status = *src.Status.DeepCopy() },
		Validate: func(m, _ *storagemigrationv1.StorageVersionMigration) field.ErrorList {
			errs := metav1validation.ValidateConditions(m.Status.Conditions, field.NewPath("status", "conditions"))
			if v := m.Status.ResourceVersion; v != "" && v != "0" {
				if _, err := resourceversion.CompareResourceVersion(v, v); err != nil {
					errs = append(errs, field.Invalid(field.NewPath("status", "resourceVersion"), v, err.Error()))
				}
			}
			return errs
		},
	},
	Columns: []api.Column[*storagemigrationv1.StorageVersionMigration]{
		{Name: "Name"},
		{Name: "Resource", Help: "GroupResource to migrate", Show: func(m *storagemigrationv1.StorageVersionMigration) any {
			return schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}.String()
		}},
		{Name: "Status", Help: "Status of the migration", Show: func(m *storagemigrationv1.StorageVersionMigration) any {
			for _, kind := range []storagemigrationv1.MigrationConditionType{storagemigrationv1.MigrationSucceeded, storagemigrationv1.MigrationFailed, storagemigrationv1.MigrationRunning} {
				if meta.IsStatusConditionTrue(m.Status.Conditions, string(kind)) {
					return string(kind)
				}
			}
			return "Unknown"
		}},
	},
})
