package apiextensions

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// The message of a definition, as its generated methods write it, byte for byte. They copy each schema that stands in a map to the heap, twice:
// 30 MB for 20,000 properties.

// message is what the parts without schemas are written by.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
}

// wire is bytes that grow by themselves; err is the first error of a part.
type wire struct {
	bytes []byte
	err   error
}

// room is what a schema usually needs, with which bytes grow by doubling.
const room = 512

// encode gives the message of a definition without its resourceVersion.
func encode(d *definition) ([]byte, error) {
	w := &wire{bytes: make([]byte, 0, 2048)}
	meta := d.ObjectMeta
	meta.ResourceVersion = ""
	w.message(1, &meta)
	spec := w.begin()
	w.text(1, d.Spec.Group)
	w.message(3, &d.Spec.Names)
	w.text(4, string(d.Spec.Scope))
	for n := range d.Spec.Versions {
		w.version(&d.Spec.Versions[n])
	}
	if d.Spec.Conversion != nil {
		w.message(9, d.Spec.Conversion)
	}
	w.flag(10, d.Spec.PreserveUnknownFields)
	w.end(2, spec)
	w.message(3, &d.Status)
	return w.bytes, w.err
}

func (w *wire) version(v *apiextensionsv1.CustomResourceDefinitionVersion) {
	at := w.begin()
	w.text(1, v.Name)
	w.flag(2, v.Served)
	w.flag(3, v.Storage)
	if v.Schema != nil {
		schema := w.begin()
		w.maybe(1, v.Schema.OpenAPIV3Schema)
		w.end(4, schema)
	}
	if v.Subresources != nil {
		w.message(5, v.Subresources)
	}
	for n := range v.AdditionalPrinterColumns {
		w.message(6, &v.AdditionalPrinterColumns[n])
	}
	w.flag(7, v.Deprecated)
	w.optional(8, v.DeprecationWarning)
	for n := range v.SelectableFields {
		w.message(9, &v.SelectableFields[n])
	}
	w.end(7, at)
}

// schema writes what is in one.
func (w *wire) schema(s *apiextensionsv1.JSONSchemaProps) {
	if cap(w.bytes)-len(w.bytes) < room {
		w.bytes = slices.Grow(w.bytes, cap(w.bytes)+room)
	}
	w.text(1, s.ID)
	w.text(2, string(s.Schema))
	w.optional(3, s.Ref)
	w.text(4, s.Description)
	w.text(5, s.Type)
	w.text(6, s.Format)
	w.text(7, s.Title)
	w.json(8, s.Default)
	w.double(9, s.Maximum)
	w.flag(10, s.ExclusiveMaximum)
	w.double(11, s.Minimum)
	w.flag(12, s.ExclusiveMinimum)
	w.number(13, s.MaxLength)
	w.number(14, s.MinLength)
	w.text(15, s.Pattern)
	w.number(16, s.MaxItems)
	w.number(17, s.MinItems)
	w.flag(18, s.UniqueItems)
	w.double(19, s.MultipleOf)
	for n := range s.Enum {
		w.json(20, &s.Enum[n])
	}
	w.number(21, s.MaxProperties)
	w.number(22, s.MinProperties)
	w.texts(23, s.Required)
	if s.Items != nil {
		at := w.begin()
		w.maybe(1, s.Items.Schema)
		w.schemas(2, s.Items.JSONSchemas)
		w.end(24, at)
	}
	w.schemas(25, s.AllOf)
	w.schemas(26, s.OneOf)
	w.schemas(27, s.AnyOf)
	w.maybe(28, s.Not)
	w.named(29, s.Properties)
	w.either(30, s.AdditionalProperties)
	w.named(31, s.PatternProperties)
	for _, name := range byName(s.Dependencies) {
		d, at := s.Dependencies[name], w.begin()
		w.text(1, name)
		value := w.begin()
		w.maybe(1, d.Schema)
		w.texts(2, d.Property)
		w.end(2, value)
		w.end(32, at)
	}
	w.either(33, s.AdditionalItems)
	w.named(34, s.Definitions)
	if s.ExternalDocs != nil {
		at := w.begin()
		w.text(1, s.ExternalDocs.Description)
		w.text(2, s.ExternalDocs.URL)
		w.end(35, at)
	}
	w.json(36, s.Example)
	w.flag(37, s.Nullable)
	if s.XPreserveUnknownFields != nil {
		w.flag(38, *s.XPreserveUnknownFields)
	}
	w.flag(39, s.XEmbeddedResource)
	w.flag(40, s.XIntOrString)
	w.texts(41, s.XListMapKeys)
	w.optional(42, s.XListType)
	w.optional(43, s.XMapType)
	for n := range s.XValidations {
		w.message(44, &s.XValidations[n])
	}
}

// named writes schemas by their names, as entries of a map.
func (w *wire) named(field int, of map[string]apiextensionsv1.JSONSchemaProps) {
	for _, name := range byName(of) {
		s, at := of[name], w.begin()
		w.text(1, name)
		w.maybe(2, &s)
		w.end(field, at)
	}
}

// byName is the order in which the entries of a map are written.
func byName[T any](of map[string]T) []string {
	if len(of) == 0 {
		return nil
	}
	names := slices.AppendSeq(make([]string, 0, len(of)), maps.Keys(of))
	slices.Sort(names)
	return names
}

func (w *wire) schemas(field int, of []apiextensionsv1.JSONSchemaProps) {
	for n := range of {
		w.maybe(field, &of[n])
	}
}

func (w *wire) maybe(field int, s *apiextensionsv1.JSONSchemaProps) {
	if s != nil {
		at := w.begin()
		w.schema(s)
		w.end(field, at)
	}
}

func (w *wire) either(field int, e *apiextensionsv1.JSONSchemaPropsOrBool) {
	if e != nil {
		at := w.begin()
		w.flag(1, e.Allows)
		w.maybe(2, e.Schema)
		w.end(field, at)
	}
}

func (w *wire) json(field int, j *apiextensionsv1.JSON) {
	if j != nil {
		at := w.begin()
		if j.Raw != nil {
			w.text(1, string(j.Raw))
		}
		w.end(field, at)
	}
}

// Types on the wire, in the low bits of a tag.
const (
	varints = 0
	fixed64 = 1
	counted = 2
)

func (w *wire) tag(field, kind int) {
	w.bytes = binary.AppendUvarint(w.bytes, uint64(field<<3|kind))
}

func (w *wire) text(field int, s string) {
	w.tag(field, counted)
	w.bytes = append(binary.AppendUvarint(w.bytes, uint64(len(s))), s...)
}

func (w *wire) optional(field int, s *string) {
	if s != nil {
		w.text(field, *s)
	}
}

func (w *wire) texts(field int, of []string) {
	for _, s := range of {
		w.text(field, s)
	}
}

func (w *wire) flag(field int, b bool) {
	w.tag(field, varints)
	if b {
		w.bytes = append(w.bytes, 1)
	} else {
		w.bytes = append(w.bytes, 0)
	}
}

func (w *wire) number(field int, n *int64) {
	if n != nil {
		w.tag(field, varints)
		w.bytes = binary.AppendUvarint(w.bytes, uint64(*n))
	}
}

func (w *wire) double(field int, f *float64) {
	if f != nil {
		w.tag(field, fixed64)
		w.bytes = binary.LittleEndian.AppendUint64(w.bytes, math.Float64bits(*f))
	}
}

// begin and end are around what is in a field: how long it is comes before it, and is known after it.
func (w *wire) begin() int { return len(w.bytes) }

func (w *wire) end(field, began int) {
	size := len(w.bytes) - began
	w.tag(field, counted)
	w.bytes = binary.AppendUvarint(w.bytes, uint64(size))
	var head [2 * binary.MaxVarintLen64]byte
	n := copy(head[:], w.bytes[began+size:])
	copy(w.bytes[began+n:], w.bytes[began:began+size])
	copy(w.bytes[began:], head[:n])
}

// message writes a part by its own method.
func (w *wire) message(field int, m message) {
	size := m.Size()
	w.tag(field, counted)
	w.bytes = binary.AppendUvarint(w.bytes, uint64(size))
	at := len(w.bytes)
	w.bytes = slices.Grow(w.bytes, size)[:at+size]
	if n, err := m.MarshalToSizedBuffer(w.bytes[at:]); err != nil && w.err == nil {
		w.err = err
	} else if n != size {
		w.bytes = w.bytes[:at+copy(w.bytes[at:], w.bytes[at+size-n:])]
	}
}
