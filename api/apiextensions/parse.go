package apiextensions

import (
	"encoding/binary"
	"iter"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// A definition out of its message, as its generated methods read it. They make each schema that stands in a map on the heap, before they copy it into
// the map, which they let grow: 31 MB for 20,000 properties, of which 12 are left. Here the fields on the way to schemas are taken apart; all
// else is left to those methods, as is a message that is not in order.

// schema is what stands in definitions.
type schema = apiextensionsv1.JSONSchemaProps

// fields are numbers of a message's fields.
type fields uint64

func of(numbers ...int) (f fields) {
	for _, n := range numbers {
		f |= 1 << n
	}
	return f
}

func (f fields) has(number int) bool { return number < 64 && f&(1<<number) != 0 }

// withSchemas are those of a schema that have schemas in them.
var withSchemas = of(24, 25, 26, 27, 28, 29, 30, 31, 33, 34)

// parse fills an empty definition from its message; false: the generated methods are to say what that is.
func parse(d *definition, raw []byte) bool {
	p := parser{}
	p.fields(d, raw, of(2))
	for _, spec := range p.taken(raw, of(2)) {
		p.fields(&d.Spec, spec, of(7))
		for _, version := range p.taken(spec, of(7)) {
			d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{})
			v := &d.Spec.Versions[len(d.Spec.Versions)-1]
			p.fields(v, version, of(4))
			for _, validation := range p.taken(version, of(4)) {
				v.Schema = made(v.Schema)
				p.fields(v.Schema, validation, of(1))
				for _, s := range p.taken(validation, of(1)) {
					p.maybe(&v.Schema.OpenAPIV3Schema, s)
				}
			}
		}
	}
	return !p.bad
}

// parser has what is used again.
type parser struct {
	bad  bool
	flat []byte
	of   []*schema // those that come into maps, by how deep they are
	deep int
}

func made[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// schema fills one.
func (p *parser) schema(s *schema, raw []byte) {
	p.fields(s, raw, withSchemas)
	properties := 0
	for range p.taken(raw, of(29)) {
		properties++
	}
	if properties > 0 && s.Properties == nil {
		s.Properties = make(map[string]schema, properties)
	}
	for field, value := range p.taken(raw, withSchemas) {
		switch field {
		case 24:
			s.Items = made(s.Items)
			p.fields(s.Items, value, of(1, 2))
			for field, value := range p.taken(value, of(1, 2)) {
				if field == 1 {
					p.maybe(&s.Items.Schema, value)
				} else {
					p.another(&s.Items.JSONSchemas, value)
				}
			}
		case 25:
			p.another(&s.AllOf, value)
		case 26:
			p.another(&s.OneOf, value)
		case 27:
			p.another(&s.AnyOf, value)
		case 28:
			p.maybe(&s.Not, value)
		case 29:
			p.named(&s.Properties, value)
		case 30:
			p.either(&s.AdditionalProperties, value)
		case 31:
			p.named(&s.PatternProperties, value)
		case 33:
			p.either(&s.AdditionalItems, value)
		case 34:
			p.named((*map[string]schema)(&s.Definitions), value)
		}
	}
}

func (p *parser) maybe(s **schema, raw []byte) {
	*s = made(*s)
	p.schema(*s, raw)
}

func (p *parser) another(list *[]schema, raw []byte) {
	*list = append(*list, schema{})
	p.schema(&(*list)[len(*list)-1], raw)
}

func (p *parser) either(e **apiextensionsv1.JSONSchemaPropsOrBool, raw []byte) {
	*e = made(*e)
	p.fields(*e, raw, of(2))
	for _, value := range p.taken(raw, of(2)) {
		p.maybe(&(*e).Schema, value)
	}
}

// named adds an entry of a map.
func (p *parser) named(m *map[string]schema, entry []byte) {
	if p.deep == len(p.of) {
		p.of = append(p.of, &schema{})
	}
	name, s := "", p.of[p.deep]
	p.deep++
	*s = schema{}
	for field, value := range p.taken(entry, of(1, 2)) {
		if field == 1 {
			name = string(value)
			continue
		}
		*s = schema{}
		p.schema(s, value)
	}
	p.deep--
	if *m == nil {
		*m = map[string]schema{}
	}
	(*m)[name] = *s
}

// fields reads what of a message is not to be taken by its own method.
func (p *parser) fields(m interface{ Unmarshal([]byte) error }, raw []byte, but fields) {
	p.flat = p.flat[:0]
	for b := raw; len(b) > 0 && !p.bad; {
		field, value, rest, ok := next(b)
		p.bad = p.bad || !ok || value == nil && but.has(field)
		if !but.has(field) {
			p.flat = append(p.flat, b[:len(b)-len(rest)]...)
		}
		b = rest
	}
	p.bad = p.bad || m.Unmarshal(p.flat) != nil
}

// taken are the fields of a message that have these numbers.
func (p *parser) taken(raw []byte, which fields) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for b := raw; len(b) > 0 && !p.bad; {
			field, value, rest, ok := next(b)
			which := which.has(field)
			p.bad = p.bad || !ok || value == nil && which
			if which && !p.bad && !yield(field, value) {
				return
			}
			b = rest
		}
	}
}

// next is the field that a message begins with; not ok: there is none. value is nil where the field's length is not said.
func next(raw []byte) (field int, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(raw)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<20 {
		return 0, nil, nil, false
	}
	field, raw = int(tag>>3), raw[n:]
	switch tag & 7 {
	case varints:
		_, n = binary.Uvarint(raw)
		return field, nil, raw[max(n, 0):], n > 0
	case fixed64:
		return field, nil, raw[min(8, len(raw)):], len(raw) >= 8
	case counted:
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) {
			return 0, nil, nil, false
		}
		end := n + int(size)
		return field, raw[n:end:end], raw[end:], true
	}
	return 0, nil, nil, false
}
