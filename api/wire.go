package api

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
)

// WithVersion gives a fresh copy of an object's message with metadata.resourceVersion
// set to version, without decoding it: ObjectMeta is field 1 of every object and
// resourceVersion field 6 in that. JSON is spliced likewise. A message that cannot be
// read is copied as it is; decoding it will tell.
func WithVersion(raw []byte, version uint64) []byte {
	var digits [20]byte
	v := strconv.AppendUint(digits[:0], version, 10)
	if isJSON(raw) {
		return setVersionJSON(raw, string(v))
	}
	return setVersion(raw, v)
}

const (
	tagObjectMeta      = 1<<3 | 2
	tagResourceVersion = 6<<3 | 2
)

// setVersion sets resourceVersion, to nothing when version is empty; the generated encoders write
// that out too. Of several ObjectMetas, which decoders merge, the last gets the version and
// the others lose theirs.
func setVersion(raw, version []byte) []byte {
	// One pass finds the last ObjectMeta; it is the first field in all but strange messages.
	start, end, bodyStart, count := -1, -1, 0, 0
	for at := 0; at < len(raw); {
		f, rest, ok := nextField(raw[at:])
		if !ok {
			return slices.Clone(raw)
		}
		next := len(raw) - len(rest)
		if f.tag == tagObjectMeta {
			start, end, bodyStart = at, next, next-len(f.value)
			count++
		}
		at = next
	}
	if count == 0 {
		return append(appendMeta(make([]byte, 0, len(raw)+len(version)+4), nil, nil, version), raw...)
	}
	if count > 1 {
		return setVersionSlowly(raw, version)
	}
	before, after, ok := aroundVersion(raw[bodyStart:end])
	if !ok {
		return slices.Clone(raw)
	}
	b := make([]byte, 0, len(raw)+len(version)+2+2)
	b = append(b, raw[:start]...)
	b = appendMeta(b, before, after, version)
	return append(b, raw[end:]...)
}

// setVersionSlowly is setVersion for messages with more than one ObjectMeta.
func setVersionSlowly(raw, version []byte) []byte {
	var fields [][]byte
	last := 0
	for b := raw; len(b) > 0; {
		f, rest, _ := nextField(b) // read before
		whole := b[:len(b)-len(rest)]
		if f.tag == tagObjectMeta {
			before, after, ok := aroundVersion(f.value)
			if !ok {
				return slices.Clone(raw)
			}
			whole, last = appendMeta(nil, before, after, nil), len(fields)
		}
		fields, b = append(fields, whole), rest
	}
	f, _, _ := nextField(fields[last])
	before, after, _ := aroundVersion(f.value)
	fields[last] = appendMeta(nil, before, after, version)
	return slices.Concat(fields...)
}

// aroundVersion splits an ObjectMeta where its resourceVersion goes, without any it has.
func aroundVersion(meta []byte) (before, after []byte, ok bool) {
	from, to := -1, -1 // where the first resourceVersion is, or the first field after where it would be
	found := false
	for at := 0; at < len(meta); {
		f, rest, ok := nextField(meta[at:])
		if !ok {
			return nil, nil, false
		}
		next := len(meta) - len(rest)
		switch {
		case f.tag == tagResourceVersion && found:
			// Twice in one message: drop this one and look again.
			return aroundVersion(slices.Concat(meta[:at], rest))
		case f.tag == tagResourceVersion:
			from, to, found = at, next, true
		case f.tag>>3 > tagResourceVersion>>3 && from < 0:
			from, to = at, at
		}
		at = next
	}
	if from < 0 {
		from, to = len(meta), len(meta)
	}
	return meta[:from], meta[to:], true
}

// appendMeta appends an ObjectMeta field; with a nil version it has no resourceVersion at all.
func appendMeta(b, before, after, version []byte) []byte {
	size := len(before) + len(after)
	if version != nil {
		size += 2 + len(version)
	}
	b = append(b, tagObjectMeta)
	b = appendVarint(b, size)
	b = append(b, before...)
	if version != nil {
		b = append(b, tagResourceVersion, byte(len(version)))
		b = append(b, version...)
	}
	return append(b, after...)
}

// without is a message without the field at the end of a path of field numbers. What is not a message stays as it is, for the decoder to refuse; so
// does JSON.
func without(raw []byte, path []int) []byte {
	if isJSON(raw) {
		return raw
	}
	out := make([]byte, 0, 512)
	for b := raw; len(b) > 0; {
		f, rest, ok := nextField(b)
		switch {
		case !ok:
			return raw
		case f.tag != uint64(path[0])<<3|2:
			out = append(out, b[:len(b)-len(rest)]...)
		case len(path) > 1:
			value := without(f.value, path[1:])
			out = append(appendVarint(appendVarint(out, int(f.tag)), len(value)), value...)
		}
		b = rest
	}
	return out
}

// wireField is one field of a message; value is nil unless it is of bytes.
type wireField struct {
	tag   uint64 // number << 3 | wire type
	value []byte
}

// nextField reads the first field of b as the generated decoders do: a group is skipped whole.
func nextField(b []byte) (f wireField, rest []byte, ok bool) {
	if len(b) > 1 && b[0] < 0x80 && b[0]&7 == 2 { // what most are
		size, n := uint64(b[1]), 1
		if size >= 0x80 {
			if size, n = varint(b[1:]); n == 0 {
				return f, nil, false
			}
		}
		tag := uint64(b[0])
		if b = b[1+n:]; size > uint64(len(b)) {
			return f, nil, false
		}
		return wireField{tag, b[:size:size]}, b[size:], true
	}
	for depth := 0; ; {
		tag, n := varint(b)
		if n == 0 {
			return f, nil, false
		}
		if b = b[n:]; depth == 0 {
			f.tag = uint64(uint32(tag>>3))<<3 | tag&7
		}
		var size uint64
		switch tag & 7 {
		case 0:
			_, n = varint(b)
			if n == 0 {
				return f, nil, false
			}
			size = uint64(n)
		case 1:
			size = 8
		case 2:
			if size, n = varint(b); n == 0 {
				return f, nil, false
			}
			b = b[n:]
		case 3:
			depth++
		case 4:
			if depth--; depth < 0 {
				return f, nil, false
			}
		case 5:
			size = 4
		default:
			return f, nil, false
		}
		if size > uint64(len(b)) {
			return f, nil, false
		}
		if depth == 0 {
			if tag&7 == 2 {
				f.value = b[:size:size]
			}
			return f, b[size:], true
		}
		b = b[size:]
	}
}

// varint reads like the generated decoders: ten bytes at most, bits beyond 64 dropped. n is 0 on failure.
func varint(b []byte) (v uint64, n int) {
	for shift := uint(0); shift < 64; shift += 7 {
		if n == len(b) {
			return 0, 0
		}
		c := b[n]
		n++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, n
		}
	}
	return 0, 0
}

func appendVarint(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }

func varintSize(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }
