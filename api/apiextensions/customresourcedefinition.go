// Package apiextensions holds the record of apiextensions.k8s.io/v1: definitions of custom resources. What they define is
// served by package crd.
package apiextensions

import (
	"context"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources.
var All = []*api.Info{CustomResourceDefinition}

type definition = apiextensionsv1.CustomResourceDefinition

// CustomResourceDefinition says what a custom resource is: its names, versions, schemas.
var CustomResourceDefinition = api.Define(api.Resource[*definition]{
	Group: "apiextensions.k8s.io", Version: "v1", Plural: "customresourcedefinitions", Short: []string{"crd", "crds"},
	Categories: []string{"api-extensions"}, Scope: api.Cluster, Key: api.DefinitionsKey,
	Bulk: []int{2, 7, 4}, // spec.versions.schema
	Aside: &api.Aside[*definition]{Path: [2]string{"spec", "versions"}, Read: readVersions, Take: takeVersions, Same: sameVersions,
		Marks: [2][]any{{map[string]any{"name": "0", "served": false, "storage": false}}, {map[string]any{"name": "1", "served": false, "storage": false}}}},
	Default: apiextensionsv1.SetObjectDefaults_CustomResourceDefinition,
	Prepare: prepare,
	Validate: func(d, old *definition) field.ErrorList {
		if old != nil && unchanged(d, old) {
			return but(by(plainly(d), plainly(old), validation.ValidateCustomResourceDefinitionUpdate), metadata(d, old))
		}
		if errs := laborious(d); len(errs) > 0 {
			return errs
		}
		if old == nil {
			return but(by(d, nil, func(ctx context.Context, d, _ *internal) field.ErrorList {
				return validation.ValidateCustomResourceDefinition(ctx, d)
			}), apivalidation.ValidateObjectMeta(&d.ObjectMeta, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata")))
		}
		return but(by(d, old, validation.ValidateCustomResourceDefinitionUpdate), metadata(d, old))
	},
	Warnings:     warnings,
	GenerationOf: func(d *definition) any { return &d.Spec },
	Message:      encode,
	Parse:        parse,
	Status: &api.Status[*definition]{
		Copy: func(dst, src *definition) { dst.Status = *src.Status.DeepCopy() },
		Validate: func(d, old *definition) field.ErrorList {
			now, was := *d, *old // of whose schemas, which are large, nothing is asked
			now.Spec, was.Spec = apiextensionsv1.CustomResourceDefinitionSpec{}, apiextensionsv1.CustomResourceDefinitionSpec{}
			return but(by(&now, &was, validation.ValidateUpdateCustomResourceDefinitionStatus), metadata(d, old))
		},
	},
	Deleted: leave,
	Copy:    copied,
	Columns: []api.Column[*definition]{
		{Name: "Name"},
		{Name: "Scope", Help: "Cluster/Namespaced", Show: func(d *definition) any { return string(d.Spec.Scope) }},
		{Name: "Versions", Help: "Served versions", Show: servedVersions},
		{Name: "Created At", Type: "date", Help: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
			Show: func(d *definition) any { return d.CreationTimestamp.UTC().Format(time.RFC3339) }},
		{Name: "Group", Priority: 1, Help: "API group", Show: func(d *definition) any { return d.Spec.Group }},
		{Name: "Kind", Priority: 1, Help: "CustomResource kind", Show: func(d *definition) any { return d.Spec.Names.Kind }},
		{Name: "ShortNames", Priority: 1, Help: "Short names", Show: func(d *definition) any { return strings.Join(d.Spec.Names.ShortNames, ",") }},
		{Name: "Established", Type: "boolean", Priority: 1, Help: "Established status", Show: func(d *definition) any {
			return slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
				return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
			})
		}},
	},
	Shown: []string{"spec.scope", "spec.group", "spec.names", "spec.versions.name", "spec.versions.served", "spec.versions.storage", "status.conditions.type", "status.conditions.status"},
})

// copied shares the schemas, which are nearly all of a definition and which nobody writes to: whoever changes one brings another.
func copied(d *definition) *definition {
	light := *d
	light.Spec.Versions = slices.Clone(d.Spec.Versions)
	for n := range light.Spec.Versions {
		light.Spec.Versions[n].Schema = nil
	}
	out := light.DeepCopy()
	for n := range out.Spec.Versions {
		out.Spec.Versions[n].Schema = d.Spec.Versions[n].Schema
	}
	return out
}

// servedVersions are the names of the versions that are served; the one of storage says so.
func servedVersions(d *definition) any {
	var names []string
	for _, v := range d.Spec.Versions {
		switch {
		case v.Served && v.Storage:
			names = append(names, v.Name+"(storage)")
		case v.Served:
			names = append(names, v.Name)
		}
	}
	return strings.Join(names, ",")
}

// prepare keeps the status in the system's hands, writes values in one form, and notes each version that objects were ever stored in.
func prepare(d, old *definition) {
	if old == nil {
		d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	} else {
		d.Status = *old.Status.DeepCopy()
	}
	tidy(d, old)
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
		}
	}
}

// leave is what the first deletion does: the definition stays until its objects are gone.
// Source: apiextensions/v1, CustomResourceCleanupFinalizer and Terminating.
func leave(d *definition, now metav1.Time) {
	d.Generation-- // its spec is as it was
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	d.Status.Conditions = append(slices.Clip(d.Status.Conditions), apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue,
		LastTransitionTime: now, Reason: "InstanceDeletionPending", Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"})
}

func metadata(d, old *definition) field.ErrorList {
	return apivalidation.ValidateObjectMetaUpdate(&d.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
}

// but leaves out what the registry says itself, of metadata.
func but(errs, said field.ErrorList) field.ErrorList {
	texts := map[string]bool{}
	for _, e := range said {
		texts[e.Error()] = true
	}
	return slices.DeleteFunc(errs, func(e *field.Error) bool { return texts[e.Error()] })
}
