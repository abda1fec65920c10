package managed

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	merge "sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/equal"
)

// An apply asks of a list that managers own as a whole whether it is there, and whether two of them are the same. So what makes objects large by
// one such list (api.Aside) is merged with a mark in its place, and the list of the right one goes back into what came of it.

// Aside is the list of a configuration, out of which it was taken.
type Aside struct {
	obj   api.Object // that has it
	exact bool       // it is as obj's is in JSON
}

// SetAside puts a mark in the place of the list of a configuration of i's objects, if that can be: nil, if it has none or one with anything wrong in it.
// The configuration is written to.
func SetAside(i *api.Info, config *unstructured.Unstructured) (*Aside, error) {
	list := listOf(i, config)
	if len(list) == 0 || config.GetAPIVersion() != i.GroupVersion().String() || config.GetKind() != i.Kind {
		return nil, nil
	}
	t, err := Typed(i)
	if err != nil {
		return nil, err
	}
	w := tree{schema: t.Schema, once: true}
	of := t.TypeRef
	for _, name := range i.Aside.Path {
		of = w.below(of, name)
	}
	if w.fits(of, list); w.bad {
		return nil, nil
	}
	obj, exact, ok := i.Aside.Read(list)
	if !ok {
		return nil, nil
	}
	mark(i, config, 1)
	return &Aside{obj, exact}, nil
}

// below is the type of a field.
func (w *tree) below(t merge.TypeRef, name string) merge.TypeRef {
	if a := w.resolve(t); a.Map != nil {
		return fieldType(a.Map, name)
	}
	w.bad = true
	return merge.TypeRef{}
}

// listOf is what SetAside would take.
func listOf(i *api.Info, config *unstructured.Unstructured) []any {
	if i.Aside == nil {
		return nil
	}
	m, _ := config.Object[i.Aside.Path[0]].(map[string]any)
	list, _ := m[i.Aside.Path[1]].([]any)
	return list
}

// mark puts one of the marks into a configuration.
func mark(i *api.Info, config *unstructured.Unstructured, n int) {
	config.Object[i.Aside.Path[0]].(map[string]any)[i.Aside.Path[1]] = i.Aside.Marks[n]
}

// marked is live with a mark, and the configuration gets the same one if it has the same list as old (nil: there is none). back puts the lists back
// into what comes of them.
func (s *Aside) marked(i *api.Info, old, live api.Object, config *unstructured.Unstructured) (_ api.Object, back func(obj api.Object), err error) {
	if i.Aside == nil || s == nil && (old == nil || listOf(i, config) != nil) {
		return live, func(api.Object) {}, nil
	}
	var marks [2]api.Object
	for n := range marks {
		marks[n] = i.New()
		m := map[string]any{i.Aside.Path[0]: map[string]any{i.Aside.Path[1]: i.Aside.Marks[n]}}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, marks[n]); err != nil {
			return nil, nil, fmt.Errorf("mark %s: %w", i.Resource, err)
		}
	}
	if old != nil {
		live = shallow(old)
		if !i.Aside.Same(old, i.New()) {
			i.Aside.Take(live, marks[0])
		}
	}
	same := s != nil && old != nil && s.exact && i.Aside.Same(s.obj, old)
	if s != nil {
		mark(i, config, 1)
	}
	if same {
		mark(i, config, 0)
	}
	return live, func(obj api.Object) {
		switch {
		case same && i.Aside.Same(obj, marks[0]) && !identical(i, s.obj, old) && !alike(obj, live): // how the values in it are written is new
			i.Aside.Take(obj, s.obj)
		case old != nil && i.Aside.Same(obj, marks[0]):
			i.Aside.Take(obj, old)
		case s != nil && i.Aside.Same(obj, marks[1]):
			i.Aside.Take(obj, s.obj)
		}
	}, nil
}

// identical tells whether both have the same list to the byte.
func identical(i *api.Info, a, b api.Object) bool {
	x, y := i.New(), i.New()
	i.Aside.Take(x, a)
	i.Aside.Take(y, b)
	return equal.Semantic(x, y)
}

// alike tells whether an apply changed nothing but owners: then it leaves the object as it was, to the byte.
func alike(obj, live api.Object) bool {
	x, y := shallow(obj), shallow(live)
	for _, o := range []api.Object{x, y} {
		o.SetManagedFields(nil)
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return equal.Semantic(x, y)
}
