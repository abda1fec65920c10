package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	mathbits "math/bits"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// JSON straight from an object's protobuf message: what EncodeJSON(DecodeRaw(raw)) gives, byte for byte, without
// the typed object in between, which costs ten times as much and leaves all of it to the garbage collector. The
// way from one to the other is a plan per Go type (jsonplan.go). A message that is not as the generated encoders
// write it (a field twice, a wrong wire type) is left to them.

// AppendJSON appends the object of i whose message is raw as EncodeJSON would give it, JSONPrefix included.
func AppendJSON(dst []byte, i *Info, raw []byte) ([]byte, error) {
	if p := planOf(i); p != nil && !isJSON(raw) {
		e := encoders.Get().(*encoder)
		e.spans = e.spans[:0]
		out, err := e.object(append(dst, JSONPrefix(i)...), p, raw)
		encoders.Put(e)
		if err == nil {
			return out, nil
		}
	}
	obj, err := DecodeRaw(i, raw)
	if err != nil {
		return dst, err
	}
	data, err := EncodeJSON(i, obj)
	return append(dst, data...), err
}

// AppendMetaJSON appends the metadata of an object of i as JSON.
func AppendMetaJSON(dst []byte, i *Info, raw []byte) ([]byte, error) {
	if meta, ok := RawMeta(raw); ok {
		e := encoders.Get().(*encoder)
		e.spans = e.spans[:0]
		out, err := e.value(dst, metaPlan(), meta)
		encoders.Put(e)
		if err == nil {
			return out, nil
		}
	}
	obj, err := DecodeRaw(i, raw)
	if err != nil {
		return dst, err
	}
	data, err := json.Marshal(MetaOf(obj))
	return append(dst, data...), err
}

var encoders = sync.Pool{New: func() any { return &encoder{memo: map[memoKey][]byte{}} }}

// encoder is the scratch space of one object after the other.
type encoder struct {
	spans []span
	memo  map[memoKey][]byte // what types with an encoding of their own made of these bytes
	bytes int                // in memo
}

type memoKey struct {
	t   *custom
	raw string
}

// maxMemo bounds an encoder's memo. Quantities, times and managed fields repeat from object to object.
const maxMemo = 512 << 10

// span is where a field's first value is in its message. It has no pointers, which the garbage collector would follow.
type span struct {
	num      uint64 // of a varint
	from, to int32  // the value of bytes
	at       int32  // where the field begins
	count    int32
}

func (s *span) in(raw []byte) []byte { return raw[s.from:s.to:s.to] }

var errPlan = errors.New("message is not as the encoders write it")

// object writes p's fields behind what an object's JSON begins with: dst ends with '{' or ','.
func (e *encoder) object(dst []byte, p *plan, raw []byte) ([]byte, error) {
	dst, err := e.fields(dst, p, raw)
	if err != nil {
		return nil, err
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}'), nil
}

func (e *encoder) value(dst []byte, p *plan, raw []byte) ([]byte, error) {
	return e.object(append(dst, '{'), p, raw)
}

// fields writes the members of p that are not left out, each with a comma behind it.
func (e *encoder) fields(dst []byte, p *plan, raw []byte) ([]byte, error) {
	base := len(e.spans)
	e.spans = slices.Grow(e.spans, len(p.fields))[:base+len(p.fields)]
	if len(raw) > math.MaxInt32 {
		return nil, errPlan
	}
	there := p.always // spans of the others are not looked at
	for word, bits := range there {
		for ; bits != 0; bits &= bits - 1 {
			e.spans[base+word<<6+mathbits.TrailingZeros64(bits)] = span{}
		}
	}
	for at := 0; at < len(raw); {
		tag, n := uint64(raw[at]), 1
		if tag >= 0x80 {
			if tag, n = varint(raw[at:]); n == 0 {
				return nil, errPlan
			}
		}
		start := at
		if at += n; at == len(raw) {
			return nil, errPlan
		}
		num := uint64(raw[at])
		switch n = 1; {
		case tag&7 != 0 && tag&7 != 2:
			if tag&7 != 1 || at+8 > len(raw) {
				return nil, errPlan
			}
			num, n = binary.LittleEndian.Uint64(raw[at:]), 8
		case num >= 0x80:
			if num, n = varint(raw[at:]); n == 0 {
				return nil, errPlan
			}
		}
		at += n
		from := at
		if tag&7 == 2 {
			if num > uint64(len(raw)-at) {
				return nil, errPlan
			}
			at += int(num)
		}
		if tag>>3 >= uint64(len(p.byNumber)) || p.byNumber[tag>>3] == 0 {
			continue // of a later version
		}
		k := int(p.byNumber[tag>>3]) - 1
		s, f := &e.spans[base+k], &p.fields[k]
		if f.wire != byte(tag&7) {
			return nil, errPlan
		}
		switch word, bit := k>>6, uint64(1)<<(k&63); {
		case there[word]&bit == 0 || p.always[word]&bit != 0 && s.count == 0:
			there[word] |= bit
			*s = span{num, int32(from), int32(at), int32(start), 1}
		case f.list || f.mapped != nil:
			s.count++
		default:
			return nil, errPlan
		}
	}
	var err error
	for word, bits := range there {
		for ; bits != 0; bits &= bits - 1 {
			k := word<<6 + mathbits.TrailingZeros64(bits)
			if dst, err = e.field(dst, &p.fields[k], &e.spans[base+k], raw); err != nil {
				return nil, err
			}
		}
	}
	e.spans = e.spans[:base]
	return dst, nil
}

// field writes one member, or nothing.
func (e *encoder) field(dst []byte, f *planField, in *span, raw []byte) ([]byte, error) {
	s := *in // what is below may move spans
	var err error
	if f.inline {
		if f.pointer && s.count == 0 {
			return dst, nil
		}
		return e.fields(dst, f.of.plan, s.in(raw))
	}
	if f.omitEmpty && f.empty(&s) {
		return dst, nil
	}
	before := len(dst)
	dst = append(dst, f.name...)
	start := len(dst)
	switch {
	case s.count == 0 && (f.pointer || f.list || f.mapped != nil || f.of.kind == ofBytes):
		dst = append(dst, "null"...)
	case f.mapped != nil:
		dst, err = e.entries(dst, f, raw[s.at:])
	case f.list:
		dst, err = e.list(dst, f, &s, raw)
	default:
		dst, err = e.one(dst, &f.of, s.in(raw), s.num)
	}
	if err != nil {
		return nil, err
	}
	if f.omitZero && string(dst[start:]) == "null" {
		return dst[:before], nil
	}
	return append(dst, ','), nil
}

// empty is what encoding/json leaves out with omitempty.
func (f *planField) empty(s *span) bool {
	switch {
	case f.pointer, f.list, f.mapped != nil:
		return s.count == 0
	case f.of.kind == ofString || f.of.kind == ofBytes:
		return s.from == s.to
	case f.of.kind == ofInt || f.of.kind == ofBool:
		return s.num == 0
	case f.of.kind == ofWrapped:
		return s.from == s.to
	}
	return false
}

// list writes a repeated field, whose values may be anywhere behind the first.
func (e *encoder) list(dst []byte, f *planField, s *span, raw []byte) ([]byte, error) {
	dst = append(dst, '[')
	tag := uint64(f.number)<<3 | uint64(f.wire)
	var err error
	for b, left := raw[s.at:], s.count; left > 0; {
		got, n := varint(b)
		value, num, rest := cut(b[n:], byte(got&7))
		if got == tag {
			if left < s.count {
				dst = append(dst, ',')
			}
			if dst, err = e.one(dst, &f.of, value, num); err != nil {
				return nil, err
			}
			left--
		}
		b = rest
	}
	return append(dst, ']'), nil
}

// cut reads a value that was read before, so that it cannot fail.
func cut(b []byte, wire byte) (value []byte, num uint64, rest []byte) {
	if wire == 1 {
		return nil, binary.LittleEndian.Uint64(b), b[8:]
	}
	num, n := varint(b)
	if wire == 0 {
		return nil, num, b[n:]
	}
	return b[n : n+int(num) : n+int(num)], 0, b[n+int(num):]
}

// entries writes a map. Encoders write its keys in order; else the typed object has to.
func (e *encoder) entries(dst []byte, f *planField, b []byte) ([]byte, error) {
	dst = append(dst, '{')
	tag := uint64(f.number)<<3 | 2
	last, first := "", true
	var err error
	for len(b) > 0 {
		got, n := varint(b)
		value, _, rest := cut(b[n:], byte(got&7))
		if b = rest; got != tag {
			continue
		}
		var key, val []byte
		seen := 0
		for len(value) > 0 {
			g, rest, ok := nextField(value)
			if !ok || g.tag != 1<<3|2 && g.tag != 2<<3|2 {
				return nil, errPlan
			}
			if g.tag == 1<<3|2 {
				key = g.value
				seen |= 1
			} else {
				val = g.value
				seen |= 2
			}
			value = rest
		}
		if seen != 3 || !first && string(key) <= last {
			return nil, errPlan
		}
		if !first {
			dst = append(dst, ',')
		}
		last, first = string(key), false
		dst = append(appendString(dst, key), ':')
		if dst, err = e.one(dst, f.mapped, val, 0); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// one writes one value.
func (e *encoder) one(dst []byte, o *of, value []byte, num uint64) ([]byte, error) {
	switch o.kind {
	case ofString:
		return appendString(dst, value), nil
	case ofInt:
		if o.bits == 32 {
			return strconv.AppendInt(dst, int64(int32(num)), 10), nil
		}
		return strconv.AppendInt(dst, int64(num), 10), nil
	case ofBool:
		return strconv.AppendBool(dst, num != 0), nil
	case ofFloat:
		data, err := json.Marshal(math.Float64frombits(num)) // schemas have a few
		return append(dst, data...), err
	case ofBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, value)
		return append(dst, '"'), nil
	case ofMessage:
		return e.object(append(append(dst, '{'), o.head...), o.plan, value)
	case ofWrapped:
		return e.custom(dst, o.custom, value)
	}
	return e.custom(dst, o.custom, value)
}

// custom lets a type with an encoding of its own write itself. What fields a manager has, where they are many, is shown as it is, and so are
// simple amounts.
func (e *encoder) custom(dst []byte, c *custom, raw []byte) ([]byte, error) {
	if c.t == quantityType && len(raw) > 2 && raw[0] == 1<<3|2 && int(raw[1]) == len(raw)-2 && isCanonical(raw[2:]) {
		return append(append(append(dst, '"'), raw[2:]...), '"'), nil
	}
	if len(raw) > maxMemo/8 {
		if c.t == fieldsType {
			if f, rest, ok := nextField(raw); ok && f.tag == 1<<3|2 && len(rest) == 0 && isCompact(f.value) {
				return append(dst, f.value...), nil
			}
		}
		return customJSON(dst, c, raw)
	}
	if data, ok := e.memo[memoKey{c, string(raw)}]; ok {
		return append(dst, data...), nil
	}
	at := len(dst)
	dst, err := customJSON(dst, c, raw)
	if err != nil {
		return nil, err
	}
	data := bytes.Clone(dst[at:])
	if e.bytes += len(raw) + len(data) + 100; e.bytes > maxMemo {
		clear(e.memo)
		e.bytes = 0
	}
	e.memo[memoKey{c, string(raw)}] = data
	return dst, nil
}

func customJSON(dst []byte, c *custom, raw []byte) ([]byte, error) {
	v := reflect.New(c.t)
	if c.t.Kind() == reflect.Slice { // in a map, as the decoders make it
		v.Elem().Set(reflect.MakeSlice(c.t, 0, 0))
	}
	if err := v.Interface().(interface{ Unmarshal([]byte) error }).Unmarshal(raw); err != nil {
		return nil, err
	}
	data, err := json.Marshal(v.Elem().Interface())
	return append(dst, data...), err
}

// isCanonical tells whether text is an amount as resource.Quantity writes it: a whole number, of a unit perhaps, that has not too many digits and is
// not a whole number of the next larger unit. It may say no of what is. Source: k8s.io/apimachinery/pkg/api/resource, Quantity.
func isCanonical(text []byte) bool {
	n, at := 0, 0
	for at < len(text) && at < 7 && '0' <= text[at] && text[at] <= '9' {
		n = n*10 + int(text[at]-'0')
		at++
	}
	if at == 0 || text[0] == '0' {
		return string(text) == "0"
	}
	switch string(text[at:]) {
	case "", "m", "k", "M", "G":
		return n%1000 != 0
	case "Ki", "Mi", "Gi":
		return n%1024 != 0
	}
	return false
}

// isCompact tells whether text is JSON as encoding/json writes it: without white space, and with HTML escaped. It may say no of what is.
func isCompact(text []byte) bool {
	return !bytes.ContainsAny(text, " \t\r\n<>&\u2028\u2029") && json.Valid(text)
}

// plain are the bytes that stand in a JSON string as they are. Source: encoding/json with HTML escaped.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// allPlain tells whether eight bytes are all plain: none has its highest bit set, nor after 0x20 was taken from it, nor,
// where it was one of the five characters and therefore is zero, after 1 was.
func allPlain(x uint64) bool {
	const lows, highs = 0x0101010101010101, 0x8080808080808080
	return (x|(x-lows*0x20)|(x^lows*'"'-lows)|(x^lows*'\\'-lows)|(x^lows*'<'-lows)|(x^lows*'>'-lows)|(x^lows*'&'-lows))&highs == 0
}

// AppendString appends a JSON string as encoding/json does.
func AppendString(dst []byte, s string) []byte {
	return appendString(dst, unsafe.Slice(unsafe.StringData(s), len(s))) // which only reads it
}

func appendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for at := 0; at < len(s); {
		for at+8 <= len(s) && allPlain(binary.LittleEndian.Uint64(s[at:])) {
			at += 8
		}
		if at == len(s) {
			break
		}
		c := s[at]
		if plain[c] {
			at++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:at]...)
			switch c {
			case '\\', '"':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			at++
			start = at
			continue
		}
		r, size := utf8.DecodeRune(s[at:])
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, s[start:at]...), `\ufffd`...)
			at++
			start = at
			continue
		}
		if r == '\u2028' || r == '\u2029' {
			dst = append(append(append(dst, s[start:at]...), `\u202`...), hex[r&15])
			at += size
			start = at
			continue
		}
		at += size
	}
	return append(append(dst, s[start:]...), '"')
}
