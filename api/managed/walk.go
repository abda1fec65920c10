package managed

import (
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// merge is l with what r says; what it gives shares memory with both.
func (w *tree) merge(t schema.TypeRef, l, r any) (any, error) {
	switch {
	case r == absent{}:
		return l, nil
	case l == absent{}:
		return r, nil
	}
	switch a := w.atom(w.resolve(t), r); {
	case a.Map != nil:
		lm, _ := l.(map[string]any)
		rm, _ := r.(map[string]any)
		if a.Map.ElementRelationship == schema.Atomic || len(lm) == 0 && len(rm) == 0 {
			return r, nil
		}
		out := make(map[string]any, max(len(lm), len(rm)))
		for key, v := range lm {
			if _, ok := rm[key]; !ok {
				out[key] = v
			}
		}
		for key, v := range rm {
			var err error
			if out[key], err = w.merge(fieldType(a.Map, key), at(lm, key), v); err != nil {
				return nil, err
			}
		}
		return out, nil
	case a.Scalar != nil:
		return r, nil
	case a.List != nil:
		ll, _ := l.([]any)
		rl, _ := r.([]any)
		if a.List.ElementRelationship == schema.Atomic || len(ll) == 0 && len(rl) == 0 {
			return r, nil
		}
		// The order of two lists' items is the library's to say.
		of := func(v any) *typed.TypedValue {
			return typed.AsTypedUnvalidated(value.NewValueInterface(v), w.schema, t)
		}
		out, err := of(l).Merge(of(r))
		if err != nil {
			return nil, err
		}
		return out.AsValue().Unstructured(), nil
	}
	w.bad = true
	return nil, nil
}

// fields are those that a value of a type has; member: itself is one.
func (w *tree) fields(t schema.TypeRef, v any) (s *set, member bool) {
	switch a := w.atom(w.resolve(t), v); {
	case a.Map != nil:
		if a.Map.ElementRelationship == schema.Atomic {
			return nil, true
		}
		m, _ := v.(map[string]any)
		s = &set{make([]elem, 0, len(m))}
		for _, key := range keysOf(m) {
			e := elem{key: "f:" + key}
			e.sub, e.member = w.fields(fieldType(a.Map, key), m[key])
			below, isMap := m[key].(map[string]any)
			_, declared := a.Map.FindField(key)
			if e.member = e.member || m[key] == nil || isMap && len(below) == 0 || !declared; e.member || !e.sub.empty() {
				s.elems = append(s.elems, e)
			}
		}
	case a.Scalar != nil:
		return nil, true
	case a.List != nil:
		if a.List.ElementRelationship == schema.Atomic {
			return nil, true
		}
		l, _ := v.([]any)
		s = w.listed(l, a.List, func(v any, times int) elem {
			e := elem{member: true}
			if times == 1 {
				e.sub, _ = w.fields(a.List.ElementType, v)
			}
			return e
		})
	default:
		w.bad = true
	}
	return s, false
}

// ensured is s with the declared fields above what it has.
func (w *tree) ensured(s *set, t schema.TypeRef) *set {
	if s.empty() {
		return s
	}
	a, _ := w.schema.Resolve(t)
	out := &set{make([]elem, len(s.elems))}
	for n, e := range s.elems {
		var of schema.TypeRef
		switch {
		case e.key[0] == 'f' && a.Map != nil:
			of = a.Map.ElementType
			if f, ok := a.Map.FindField(e.key[2:]); ok {
				of = f.Type
				e.member = e.member || !e.sub.empty()
			}
		case e.key[0] == 'k' && a.List != nil:
			of = a.List.ElementType
		}
		e.sub = w.ensured(e.sub, of)
		out.elems[n] = e
	}
	return out
}

// beneath tells whether a set has anything below what is owned as a whole, or the other way round: the type was another when it was made.
func (w *tree) beneath(t schema.TypeRef, s *set) bool {
	if s.empty() {
		return false
	}
	a, ok := w.schema.Resolve(t)
	if !ok || a.Map != nil && a.Map.ElementRelationship == schema.Atomic || a.Map == nil && a.List != nil && a.List.ElementRelationship == schema.Atomic {
		return true
	}
	for _, e := range s.elems {
		var of schema.TypeRef
		switch {
		case e.key[0] == 'f' && a.Map != nil:
			of = fieldType(a.Map, e.key[2:])
		case e.key[0] == 'k' && a.List != nil:
			of = a.List.ElementType
		}
		if of != (schema.TypeRef{}) && w.beneath(of, e.sub) {
			return true
		}
	}
	return false
}

// prune takes from what was merged what the applier had said, says no more, and nobody else has.
func (w *tree) prune(t typed.ParseableType, merged any, last, owned *set) any {
	all := func(v any) *set {
		s, _ := w.fields(t.TypeRef, v)
		return w.ensured(s, t.TypeRef)
	}
	last = w.ensured(last, t.TypeRef)
	here := all(merged)
	rest := all(w.without(t.TypeRef, merged, last))
	lost, _ := here.subtract(rest.union(w.ensured(owned, t.TypeRef)))
	rest = all(w.without(t.TypeRef, merged, lost))
	lost, _ = here.subtract(rest)
	return w.without(t.TypeRef, merged, lost.intersect(last))
}

// without is a value without what a set has of it; nil where nothing is left.
func (w *tree) without(t schema.TypeRef, v any, s *set) any {
	switch a := w.atom(w.resolve(t), v); {
	case a.Map != nil:
		m, _ := v.(map[string]any)
		if a.Map.ElementRelationship == schema.Atomic || len(m) == 0 {
			return nil
		}
		less := make(map[string]*elem, len(s.elemsOf()))
		for n := range s.elemsOf() {
			less[s.elems[n].key] = &s.elems[n]
		}
		out := make(map[string]any, len(m))
		for key, v := range m {
			switch e := less["f:"+key]; {
			case e == nil:
				out[key] = v
			case e.member:
			case !e.sub.empty():
				out[key] = w.without(fieldType(a.Map, key), v, e.sub)
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case a.Scalar != nil:
		return v
	case a.List != nil:
		l, _ := v.([]any)
		if a.List.ElementRelationship == schema.Atomic || len(l) == 0 {
			return nil
		}
		less := make(map[string]*elem, len(s.elemsOf()))
		for n := range s.elemsOf() {
			less[s.elems[n].key] = &s.elems[n]
		}
		var out []any
		for _, v := range l {
			switch e := less[w.name(a.List, v)]; {
			case e == nil:
				out = append(out, v)
			case e.member:
			default:
				out = append(out, w.without(a.List.ElementType, v, e.sub))
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	return nil
}

func (s *set) elemsOf() []elem {
	if s == nil {
		return nil
	}
	return s.elems
}
