package crd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"

	"github.com/lighter-k8s/lighter/api"
)

// receive gives what a request sent the form of an object. Source: Kubernetes documentation, Extend the Kubernetes API with
// CustomResourceDefinitions, Field pruning; API concepts, Field validation.
func (v *version) receive(obj api.Object) (strict []error, err error) {
	u := obj.(*unstructured.Unstructured)
	c, err := v.schema()
	if err != nil {
		return nil, err
	}
	unknown, err := shape(u.Object, c, false)
	for _, path := range unknown {
		strict = append(strict, fmt.Errorf("unknown field %q", path))
	}
	return strict, err
}

// shape coerces metadata, the object's own and that of objects within it, and drops unknown fields, which it lists. Of what
// was stored, metadata that cannot be is dropped too.
func shape(obj map[string]any, c *compiled, stored bool) (unknown []string, err error) {
	defer aside(obj, stored)()
	s := c.structural
	if !c.embedded { // then there is nothing to look for below
		s = nil
	}
	ferr, unknown := objectmeta.CoerceWithOptions(nil, obj, s, true, objectmeta.CoerceOptions{DropInvalidFields: stored, ReturnUnknownFieldPaths: !stored})
	switch {
	case ferr != nil && ferr.Field == "metadata":
		return nil, errors.New(ferr.Detail)
	case ferr != nil:
		return nil, ferr
	}
	if _, ok := obj["metadata"].(map[string]any); !ok {
		obj["metadata"] = map[string]any{}
	}
	if settled(obj, *c.structural, true) {
		return unknown, nil
	}
	return append(unknown, pruning.PruneWithOptions(obj, c.structural, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: !stored})...), nil
}

// aside takes what managers own, which is most of an object's metadata and of which nothing is asked, away from it and gives what puts
// it back. Of what was stored these are all of the managedFields, which were written by a server.
func aside(obj map[string]any, stored bool) (back func()) {
	meta, _ := obj["metadata"].(map[string]any)
	owners, ok := meta["managedFields"].([]any)
	if !ok {
		return func() {}
	}
	if stored {
		delete(meta, "managedFields")
		return func() {
			if meta, ok := obj["metadata"].(map[string]any); ok {
				meta["managedFields"] = owners
			}
		}
	}
	fields := make([]map[string]any, len(owners))
	for n, o := range owners {
		if o, ok := o.(map[string]any); ok {
			if of, ok := o["fieldsV1"].(map[string]any); ok {
				fields[n], o["fieldsV1"] = of, map[string]any{}
			}
		}
	}
	return func() {
		meta, _ := obj["metadata"].(map[string]any)
		owners, _ := meta["managedFields"].([]any)
		for n, o := range owners {
			if o, ok := o.(map[string]any); ok && n < len(fields) && fields[n] != nil {
				o["fieldsV1"] = fields[n]
			}
		}
	}
}

// settled tells whether nothing is unknown and nothing null in an object, as far as that is easy to tell: then there is nothing to prune,
// which the library finds out by a copy of the schema of each field. The schema comes by value, as the library's maps have it.
func settled(v any, s structural.Structural, resource bool) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		for key, v := range v {
			if resource && (key == "metadata" || key == "kind" || key == "apiVersion") {
				continue
			}
			if _, ok := s.Properties[key]; ok {
				if of := s.Properties[key]; !settled(v, of, of.XEmbeddedResource) {
					return false
				}
				continue
			}
			switch a := s.AdditionalProperties; {
			case a != nil && a.Structural != nil:
				if !settled(v, *a.Structural, a.Structural.XEmbeddedResource) {
					return false
				}
			case a != nil || !s.XPreserveUnknownFields:
				return false
			}
		}
	case []any:
		if s.Items == nil {
			return len(v) == 0 || s.XPreserveUnknownFields
		}
		for _, v := range v {
			if !settled(v, *s.Items, s.Items.XEmbeddedResource) {
				return false
			}
		}
	}
	return true
}

// fill sets defaults, unless they are more than an object may get: validation says so of what a client writes, and what was stored before its
// definition had them is shown without. Source: Defaulting and Nullable in the same document.
func fill(obj map[string]any, c *compiled) {
	if !settled(obj, *c.structural, true) {
		defaulting.PruneNonNullableNullsWithoutDefaults(obj, c.structural)
	}
	if c.defaults && !c.overgrown(obj) {
		defaulting.Default(obj, c.structural)
	}
}

func (v *version) defaults(obj api.Object) {
	if c, err := v.schema(); err == nil { // validation says what is wrong with it
		fill(obj.(*unstructured.Unstructured).Object, c)
	}
}

// read makes the object of stored JSON in this version.
func (v *version) read(raw []byte) (api.Object, error) {
	obj, err := api.DecodeRaw(v.of.stored, raw)
	if err != nil {
		return nil, err
	}
	return v.load(obj.(*unstructured.Unstructured))
}

// load gives a stored object, to which it writes, in this version: what it says by the schema of its own version, converted.
func (v *version) load(u *unstructured.Unstructured) (api.Object, error) {
	from, err := v.of.settle(u)
	if err != nil {
		return nil, err
	}
	return v.of.convert.to(v, from, u, true)
}

// settle makes a stored object what the schema of its own version, which it tells, makes of it.
func (d *definition) settle(u *unstructured.Unstructured) (*version, error) {
	from := d.version(u.GroupVersionKind().Version)
	if from == nil || u.GroupVersionKind().Group != d.group {
		return nil, fmt.Errorf("stored %s is of version %s, which its definition does not have", u.GetName(), u.GetAPIVersion())
	}
	c, err := from.schema()
	if err != nil {
		return nil, err
	}
	if _, err := shape(u.Object, c, true); err != nil {
		return nil, err
	}
	fill(u.Object, c)
	return from, nil
}

// toStored gives an object of this version as it is stored, sharing what is below.
func (v *version) toStored(u *unstructured.Unstructured) (api.Object, error) {
	storage := v.of.version(v.of.storage)
	if storage != v {
		return v.of.convert.to(storage, v, u.DeepCopy(), false)
	}
	out := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	if meta, ok := u.Object["metadata"].(map[string]any); ok { // whose resourceVersion is its own
		out.Object["metadata"] = maps.Clone(meta)
	}
	out.SetGroupVersionKind(v.info.GVK())
	return out, nil
}

// prepare drops the status of a new object where it has a subresource.
func (v *version) prepare(obj, old api.Object) {
	if v.info.HasStatus && old == nil {
		delete(obj.(*unstructured.Unstructured).Object, "status")
	}
}

func copyStatus(dst, src api.Object) {
	to, from := dst.(*unstructured.Unstructured).Object, src.(*unstructured.Unstructured).Object
	if status, ok := from["status"]; ok {
		to["status"] = status
	} else {
		delete(to, "status")
	}
}

// specOf is what raises an object's generation: all but its metadata and, where it has a subresource, its status.
func specOf(u *unstructured.Unstructured, status bool) map[string]any {
	out := maps.Clone(u.Object)
	for _, k := range []string{"metadata", "apiVersion", "kind"} {
		delete(out, k)
	}
	if status {
		delete(out, "status")
	}
	return out
}

// mostRules is how long the validation rules of one object may take. Their published budget is meant to end them within a second, but what a
// step of nested loops takes grows with the number of those before it. Only loops of very many steps look at the time.
const mostRules = 700 * time.Millisecond

// validate holds an object against its schema; old is nil on a create. What was wrong before and is unchanged stays.
// Source: Validation, Validation ratcheting and Validation rules in the same document.
func (v *version) validate(obj, old api.Object) (errs field.ErrorList) {
	c, err := v.schema()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	rules := c.rules()
	if rules.err != nil {
		return field.ErrorList{field.InternalError(nil, rules.err)}
	}
	now := obj.(*unstructured.Unstructured).Object
	was, _ := old.(*unstructured.Unstructured)
	if c.overgrown(now) {
		return field.ErrorList{field.Forbidden(nil, fmt.Sprintf("the defaults of its schema would add more than %d bytes to the object", mostGrown))}
	}
	root := &place{looking: &looking{fitting: &rules.fitting}, schema: rules.schema}
	var same *common.CorrelatedObject
	if was != nil {
		same = common.NewCorrelatedObject(now, was.Object, &model.Structural{Structural: c.structural})
		root.was = func() *common.CorrelatedObject { return same }
	}
	errs = validation.ValidateCustomResource(nil, now, whole{root})
	if c.embedded {
		errs = append(errs, objectmeta.Validate(context.Background(), nil, now, c.structural, false)...)
	}
	if c.lists && (was == nil || !sameJSON(specOf(obj.(*unstructured.Unstructured), false), specOf(was, false)) && len(listtype.ValidateListSetsAndMaps(nil, c.structural, was.Object)) == 0) {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.structural, now)...)
	}
	if v.info.HasScale {
		errs = append(errs, v.scaleErrors(obj.(*unstructured.Unstructured))...)
	}
	if rules.cel == nil {
		return errs
	}
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
		}
	}
	var more field.ErrorList
	ctx, stop := context.WithTimeout(context.Background(), mostRules)
	defer stop()
	if was == nil {
		more, _ = rules.cel.Validate(ctx, nil, c.structural, now, nil, celconfig.RuntimeCELCostBudget)
	} else {
		more, _ = rules.cel.Validate(ctx, nil, c.structural, now, was.Object, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(same))
	}
	return append(errs, more...)
}
