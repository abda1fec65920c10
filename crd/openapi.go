package crd

import (
	"fmt"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// metaModel is the model of metadata in OpenAPI documents.
const metaModel = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// openapi is what OpenAPI documents say of the version's objects. Source: Kubernetes documentation, Publish validation schema in OpenAPI.
func (v *version) openapi(v2 bool) (any, error) {
	prefix := "#/components/schemas/"
	if v2 {
		prefix = "#/definitions/"
	}
	s, err := v.published(v2, prefix+metaModel)
	if err != nil {
		return nil, err
	}
	gvk := v.info.GVK()
	s.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}})
	if fields := v.selectableFields(); len(fields) > 0 {
		s.AddExtension("x-kubernetes-selectable-fields", fields) // in lists too
	}
	return s, nil
}

func (v *version) selectableFields() (out []any) {
	crd, err := v.of.read()
	if err != nil {
		return nil
	}
	for _, spec := range crd.Spec.Versions {
		if spec.Name == v.name {
			for _, f := range spec.SelectableFields {
				out = append(out, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
			}
		}
	}
	return out
}

// published is the version's schema with what every object has. It is the caller's own.
func (v *version) published(v2 bool, metadata string) (*spec.Schema, error) {
	props, err := v.props()
	if err != nil {
		return nil, err
	}
	s, err := structural.NewStructural(props)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", v.info.GroupVersionResource, err)
	}
	if v2 && s.XPreserveUnknownFields { // clients of v2 take what has properties for all that there is
		return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Description: s.Description}}, nil
	}
	if v2 {
		s = openapiv2.ToStructuralOpenAPIV2(s)
		withoutDefaults.Visit(s)
	}
	out := s.ToKubeOpenAPI()
	within(out, v2, metadata)
	object(out, metadata, typeDocs["apiVersion"], typeDocs["kind"])
	return out, nil
}

// withoutDefaults takes the defaults out of a schema, which OpenAPI 2 does not show.
var withoutDefaults = structural.Visitor{Structural: func(s *structural.Structural) bool {
	had := s.Default.Object != nil
	s.Default.Object = nil
	return had
}}

// within adds to objects within an object what every object has, and says of numbers that may be strings that they may.
func within(s *spec.Schema, v2 bool, metadata string) {
	if is, _ := s.Extensions.GetBool("x-kubernetes-embedded-resource"); is && s.Type.Contains("object") {
		object(s, metadata, "apiVersion defines the versioned schema of this representation of an object. More info: "+conventions+"#resources",
			"kind is a string value representing the type of this object. In CamelCase. More info: "+conventions+"#types-kinds")
		s.Required = append(s.Required, "kind", "apiVersion")
	}
	if is, _ := s.Extensions.GetBool("x-kubernetes-int-or-string"); is && !v2 && len(s.AnyOf) == 0 && len(s.AllOf) == 0 {
		s.AnyOf = []spec.Schema{{SchemaProps: spec.SchemaProps{Type: []string{"integer"}}}, {SchemaProps: spec.SchemaProps{Type: []string{"string"}}}}
	}
	for name, p := range s.Properties {
		within(&p, v2, metadata)
		s.Properties[name] = p
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		within(s.AdditionalProperties.Schema, v2, metadata)
	}
	if s.Items != nil && s.Items.Schema != nil {
		within(s.Items.Schema, v2, metadata)
	}
}

const conventions = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"

var typeDocs, partialDocs = metav1.TypeMeta{}.SwaggerDoc(), metav1.PartialObjectMetadata{}.SwaggerDoc()

// object adds apiVersion, kind and metadata.
func object(s *spec.Schema, metadata, apiVersion, kind string) {
	if s.Properties == nil {
		s.Properties = map[string]spec.Schema{}
	}
	s.Properties["apiVersion"] = *spec.StringProperty().WithDescription(apiVersion)
	s.Properties["kind"] = *spec.StringProperty().WithDescription(kind)
	meta := spec.RefSchema(metadata).WithDescription(partialDocs["metadata"])
	if strings.HasPrefix(metadata, "#/components/") { // beside a reference nothing else counts
		meta = (&spec.Schema{}).WithDescription(partialDocs["metadata"])
		meta.AllOf = []spec.Schema{*spec.RefSchema(metadata)}
	}
	s.Properties["metadata"] = *meta
}

// typed is how objects merge in a server-side apply: as the schema says, and metadata as that of every object.
func (v *version) typed() (typed.ParseableType, error) {
	l := &v.lazy
	l.mu.Lock()
	has := l.merges
	l.mu.Unlock()
	if has != nil {
		return *has, nil
	}
	root, err := v.published(false, "#/definitions/"+metaModel)
	if err != nil {
		return typed.ParseableType{}, err
	}
	crd, err := v.of.read()
	if err != nil {
		return typed.ParseableType{}, err
	}
	name := "object"
	models, err := schemaconv.ToSchemaFromOpenAPI(map[string]*spec.Schema{name: root, metaModel: metaSchema()}, crd.Spec.PreserveUnknownFields)
	if err != nil {
		return typed.ParseableType{}, err
	}
	t := typed.ParseableType{Schema: models, TypeRef: schema.TypeRef{NamedType: &name}}
	l.mu.Lock()
	l.merges = &t
	l.mu.Unlock()
	return t, nil
}

// metaSchema is ObjectMeta's, as far as it says how fields merge. Source: the comments of metav1.ObjectMeta.
func metaSchema() *spec.Schema {
	s := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{}}}
	t := reflect.TypeFor[metav1.ObjectMeta]()
	for n := range t.NumField() {
		f := t.Field(n)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := *spec.StringProperty()
		switch {
		case name == "labels" || name == "annotations":
			p = *spec.MapProperty(spec.StringProperty())
		case name == "finalizers":
			p = *spec.ArrayProperty(spec.StringProperty())
			p.AddExtension("x-kubernetes-list-type", "set")
		case name == "ownerReferences":
			owner := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{}}}
			for _, k := range []string{"apiVersion", "kind", "name", "uid"} {
				owner.Properties[k] = *spec.StringProperty()
			}
			for _, k := range []string{"controller", "blockOwnerDeletion"} {
				owner.Properties[k] = *spec.BooleanProperty()
			}
			owner.AddExtension("x-kubernetes-map-type", "atomic")
			p = *spec.ArrayProperty(&owner)
			p.AddExtension("x-kubernetes-list-type", "map")
			p.AddExtension("x-kubernetes-list-map-keys", []any{"uid"})
		case name == "managedFields":
			p = *spec.ArrayProperty(&spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}},
				VendorExtensible: spec.VendorExtensible{Extensions: spec.Extensions{"x-kubernetes-preserve-unknown-fields": true}}})
			p.AddExtension("x-kubernetes-list-type", "atomic")
		case f.Type.Kind() == reflect.Int64 || f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Int64:
			p = *spec.Int64Property()
		}
		s.Properties[name] = p
	}
	return &s
}

// schemaOf is a version's schema in a definition, or nil.
func schemaOf(crd *apiextensionsv1.CustomResourceDefinition, version string) *apiextensionsv1.JSONSchemaProps {
	for n := range crd.Spec.Versions {
		if v := &crd.Spec.Versions[n]; v.Name == version && v.Schema != nil {
			return v.Schema.OpenAPIV3Schema
		}
	}
	return nil
}
