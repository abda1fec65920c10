package crd

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// compiled is what a version's schema compiles to: tens of times its bytes. It does not change.
type compiled struct {
	structural *structural.Structural // with defaults that are pruned themselves
	rules      func() *checks         // what validates; made when something is first written
	defaults   bool                   // there are any
	grower     *grower                // of a schema that has defaults within lists or maps; nil: what they add is bounded by the schema
	embedded   bool                   // there are objects within
	lists      bool                   // there are lists whose items have names
}

// checks are the rules for objects.
type checks struct {
	schema  *spec.Schema
	fitting fitting
	cel     *cel.Validator // nil: there are no expressions
	err     error
}

// lazy holds what was compiled as long as it is used.
type lazy struct {
	mu   sync.Mutex
	has  *compiled
	used atomic.Int64 // seconds

	merges *typed.ParseableType // nil: nobody asked

	scale *scalePaths // nil: there is no scale subresource
}

// drop forgets what was not used since then.
func (l *lazy) drop(since time.Time) {
	if l.used.Load() < since.Unix() {
		l.mu.Lock()
		l.has, l.merges = nil, nil
		l.mu.Unlock()
	}
}

// schema compiles the version's schema, unless that is done.
func (v *version) schema() (*compiled, error) {
	l := &v.lazy
	l.used.Store(time.Now().Unix())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.has != nil {
		return l.has, nil
	}
	props, err := v.props()
	if err != nil {
		return nil, err
	}
	c := &compiled{}
	if c.structural, err = structural.NewStructural(props); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", v.info.GroupVersionResource, err)
	}
	if err := defaulting.PruneDefaults(c.structural); err != nil {
		return nil, fmt.Errorf("defaults of %s: %w", v.info.GroupVersionResource, err)
	}
	c.defaults = has(c.structural, func(s *structural.Structural) bool { return s.Default.Object != nil })
	if g := growerOf(c.structural); g.multiplies() {
		c.grower = g
	}
	c.embedded = has(c.structural, func(s *structural.Structural) bool { return s.XEmbeddedResource })
	c.lists = has(c.structural, func(s *structural.Structural) bool { return s.XListType != nil })
	c.rules = sync.OnceValue(func() *checks {
		k := &checks{cel: cel.NewValidator(c.structural, true, celconfig.PerCallLimit)}
		_, k.schema, k.err = validation.NewSchemaValidator(props)
		return k
	})
	l.has = c
	return c, nil
}

// props is the version's schema in the form that the published packages take. A version without one takes everything.
func (v *version) props() (*apiextensions.JSONSchemaProps, error) {
	crd, err := v.of.read()
	if err != nil {
		return nil, err
	}
	out := &apiextensions.JSONSchemaProps{}
	yes := true
	if in := schemaOf(crd, v.name); in != nil {
		err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(in.DeepCopy(), out, nil)
		if err == nil && crd.Spec.PreserveUnknownFields {
			out.XPreserveUnknownFields = &yes
		}
		return out, err
	}
	out.Type, out.XPreserveUnknownFields = "object", &yes
	return out, nil
}

// overgrown tells that defaults would add more to an object than they may.
func (c *compiled) overgrown(obj map[string]any) bool {
	return c.grower.adds(obj, mostGrown) > mostGrown
}

// has tells whether any part of a schema is so.
func has(s *structural.Structural, is func(*structural.Structural) bool) (found bool) {
	visitor := structural.Visitor{Structural: func(s *structural.Structural) bool {
		found = found || is(s)
		return false
	}}
	visitor.Visit(s)
	return found
}
