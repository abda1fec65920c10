package watch

import (
	"strconv"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// fewTerms is how many terms of a selector of labels are looked at one after the other.
const fewTerms = 8

// ManyLabels is a selector that takes what s takes, and of many terms looks only at those about labels that an object has. One that is
// asked of many objects is made of it, so that what it costs grows with the objects' labels and not with its terms.
func ManyLabels(s labels.Selector) labels.Selector {
	terms, _ := s.Requirements()
	if len(terms) <= fewTerms {
		return s
	}
	m := &manyLabels{Selector: s, of: map[string]*labelRule{}}
	for _, t := range terms {
		rule := m.of[t.Key()]
		if rule == nil {
			rule = &labelRule{}
			m.of[t.Key()] = rule
		}
		rule.add(t)
	}
	for _, rule := range m.of {
		if rule.must {
			m.must++
		}
	}
	return m
}

type manyLabels struct {
	labels.Selector
	of   map[string]*labelRule // by label
	must int                   // so many labels must be there
}

// labelRule is all that a selector says of one label.
type labelRule struct {
	must, never bool            // be there
	in          map[string]bool // nil: any value
	not         map[string]bool
	over, under *int64
}

func (r *labelRule) add(t labels.Requirement) {
	values := t.ValuesUnsorted()
	switch t.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		r.must = true
		in := make(map[string]bool, len(values))
		for _, v := range values {
			if r.in == nil || r.in[v] {
				in[v] = true
			}
		}
		r.in = in
	case selection.NotIn, selection.NotEquals:
		if r.not == nil {
			r.not = make(map[string]bool, len(values))
		}
		for _, v := range values {
			r.not[v] = true
		}
	case selection.Exists:
		r.must = true
	case selection.DoesNotExist:
		r.never = true
	case selection.GreaterThan, selection.LessThan:
		r.must = true
		n, err := strconv.ParseInt(values[0], 10, 64)
		switch {
		case err != nil: // cannot be: it was read
			r.never = true
		case t.Operator() == selection.GreaterThan && (r.over == nil || n > *r.over):
			r.over = &n
		case t.Operator() == selection.LessThan && (r.under == nil || n < *r.under):
			r.under = &n
		}
	}
}

func (r *labelRule) takes(value string) bool {
	if r.never || r.in != nil && !r.in[value] || r.not[value] {
		return false
	}
	if r.over == nil && r.under == nil {
		return true
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && (r.over == nil || n > *r.over) && (r.under == nil || n < *r.under)
}

// Matches is labels.Selector's.
func (m *manyLabels) Matches(l labels.Labels) bool {
	s, ok := l.(*labelSet)
	if !ok {
		return m.Selector.Matches(l)
	}
	there := 0
	for rest := s.text; rest != ""; {
		var key, value string
		key, value, rest = cutLabel(rest)
		rule := m.of[key]
		if rule == nil {
			continue
		}
		if !rule.takes(value) {
			return false
		}
		if rule.must {
			there++
		}
	}
	return there == m.must
}

// FieldTerms is a selector that takes what s takes, whose terms are put together by their fields: each is read once of an object.
func FieldTerms(s fields.Selector) fields.Selector { return fieldTerms(s) }

func fieldTerms(s fields.Selector) *fieldRules {
	if made, ok := s.(*fieldRules); ok {
		return made
	}
	out := &fieldRules{Selector: s, terms: s.Requirements()}
	at := map[string]int{}
	for _, t := range out.terms {
		n, ok := at[t.Field]
		if !ok {
			n = len(out.rules)
			at[t.Field] = n
			out.rules = append(out.rules, fieldRule{name: t.Field})
		}
		rule := &out.rules[n]
		switch {
		case t.Operator == selection.NotEquals:
			if rule.not == nil {
				rule.not = map[string]bool{}
			}
			rule.not[t.Value] = true
		case rule.is == nil:
			value := t.Value
			rule.is = &value
		case *rule.is != t.Value:
			rule.never = true
		}
	}
	return out
}

// fieldRules are what a selector says of each field. Its terms are made once: the library makes them anew each time.
type fieldRules struct {
	fields.Selector
	terms fields.Requirements
	rules []fieldRule
}

// Requirements are the terms of the selector.
func (r *fieldRules) Requirements() fields.Requirements { return r.terms }

type fieldRule struct {
	name  string
	is    *string // nil: any value
	not   map[string]bool
	never bool // two values are asked for
}

func (r *fieldRule) takes(value string) bool {
	return !r.never && (r.is == nil || value == *r.is) && !r.not[value]
}
