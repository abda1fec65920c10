package api

import (
	"strings"
	"sync"
)

// tagManagedFields is the field of ObjectMeta that is often half of an object, and that few who look at one need.
const tagManagedFields = 17<<3 | 2

// DecodeLean is DecodeRaw of those parts alone that the resource's columns look at: i.Shown, or all but
// metadata.managedFields where the record does not say.
func DecodeLean(i *Info, raw []byte) (Object, error) {
	if isJSON(raw) || planOf(i) == nil {
		return DecodeRaw(i, raw)
	}
	buf := leans.Get().(*[]byte)
	defer leans.Put(buf)
	var ok bool
	if *buf, ok = i.shown().pick((*buf)[:0], raw); !ok {
		return DecodeRaw(i, raw)
	}
	return DecodeRaw(i, *buf) // which copies what it keeps
}

var leans = sync.Pool{New: func() any { return new([]byte) }}

// parts are fields of a message, by number.
type parts []*part

// part is a field that is picked: whole, or those of its message's fields that are in inner.
type part struct{ inner parts }

func (p *parts) add(number int) *part {
	for len(*p) <= number {
		*p = append(*p, nil)
	}
	if (*p)[number] == nil {
		(*p)[number] = &part{}
	}
	return (*p)[number]
}

// always are the parts of metadata that every table may look at.
var always = []string{"metadata.name", "metadata.namespace", "metadata.creationTimestamp", "metadata.deletionTimestamp"}

// shown are the parts of the resource's objects that its columns look at.
func (i *Info) shown() parts {
	if p, ok := shownOf.Load(i); ok {
		return p.(parts)
	}
	var all parts
	if len(i.Shown) == 0 {
		for _, f := range planOf(i).fields {
			all.add(f.number)
		}
		meta := all.add(tagObjectMeta >> 3)
		for _, f := range metaPlan().fields {
			if f.number != tagManagedFields>>3 {
				meta.inner.add(f.number)
			}
		}
	} else {
		for _, path := range append(always, i.Shown...) {
			at, plan := &all, planOf(i)
			for name := range strings.SplitSeq(path, ".") {
				f := plan.find(name)
				if f == nil {
					panic("api: " + i.Resource + " has no part " + path)
				}
				at, plan = &at.add(f.number).inner, f.of.plan
			}
		}
	}
	shownOf.Store(i, all)
	return all
}

var shownOf sync.Map // *Info to parts

func (p *plan) find(name string) *planField {
	if p != nil {
		for k := range p.fields {
			if p.fields[k].name == `"`+name+`":` {
				return &p.fields[k]
			}
		}
	}
	return nil
}

// pick appends a message with those of its fields that are in p. Messages that are looked into get their length in four bytes.
func (p parts) pick(dst, raw []byte) ([]byte, bool) {
	for len(raw) > 0 {
		f, rest, ok := nextField(raw)
		if !ok {
			return dst, false
		}
		whole := raw[:len(raw)-len(rest)]
		raw = rest
		if f.tag>>3 >= uint64(len(p)) || p[f.tag>>3] == nil {
			continue
		}
		inner := p[f.tag>>3].inner
		if inner == nil {
			dst = append(dst, whole...)
			continue
		}
		if f.tag&7 != 2 || len(f.value) >= 1<<28 {
			return dst, false
		}
		dst = appendVarint(dst, int(f.tag))
		at := len(dst)
		if dst, ok = inner.pick(append(dst, 0, 0, 0, 0), f.value); !ok {
			return dst, false
		}
		n := len(dst) - at - 4
		dst[at], dst[at+1], dst[at+2], dst[at+3] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)|0x80, byte(n>>21)
	}
	return dst, true
}

// MetaField is where in an object's message the field ObjectMeta begins and ends, tag and length included: which is
// also all of the message of its PartialObjectMetadata. RawMeta says whether it is there once.
func MetaField(raw []byte) (start, end int) {
	for at := 0; at < len(raw); {
		f, rest, ok := nextField(raw[at:])
		if !ok {
			return 0, 0
		}
		next := len(raw) - len(rest)
		if f.tag == tagObjectMeta {
			return at, next
		}
		at = next
	}
	return 0, 0
}
