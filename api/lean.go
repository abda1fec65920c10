package api

import (
	"strings"
	"sync"
)

// tagManagedFields is the field of ObjectMeta that is often half of an object, and that few who look at one need.
const tagManagedFields = 17<<3 | 2

// DecodeLean is DecodeRaw without what the resource's columns do not look at: metadata.managedFields and i.Unshown.
func DecodeLean(i *Info, raw []byte) (Object, error) {
	if isJSON(raw) {
		return DecodeRaw(i, raw)
	}
	lean, ok := prune(make([]byte, 0, len(raw)), raw, i.unshown())
	if !ok {
		return DecodeRaw(i, raw)
	}
	return DecodeRaw(i, lean)
}

// parts says of a message's fields, by number, which to leave out (nil) and which to look into.
type parts map[uint64]parts

// unshown are the parts of the resource's objects that are left out.
func (i *Info) unshown() parts {
	if p, ok := unshownOf.Load(i); ok {
		return p.(parts)
	}
	all := parts{tagObjectMeta >> 3: parts{tagManagedFields >> 3: nil}}
	for _, path := range i.Unshown {
		p, at := planOf(i), all
		names := strings.Split(path, ".")
		for n, name := range names {
			f := p.find(name)
			if f == nil {
				panic("api: " + i.Resource + " has no part " + path)
			}
			number := uint64(f.number)
			if n == len(names)-1 {
				at[number] = nil
				break
			}
			if at[number] == nil {
				at[number] = parts{}
			}
			p, at = f.of.plan, at[number]
		}
	}
	unshownOf.Store(i, all)
	return all
}

var unshownOf sync.Map // *Info to parts

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

// prune appends a message without some of its parts. Messages that are looked into get their length in four bytes.
func prune(dst, raw []byte, without parts) ([]byte, bool) {
	for len(raw) > 0 {
		f, rest, ok := nextField(raw)
		if !ok {
			return nil, false
		}
		inner, named := without[f.tag>>3]
		switch {
		case !named:
			dst = append(dst, raw[:len(raw)-len(rest)]...)
		case inner != nil && f.tag&7 == 2 && len(f.value) < 1<<28:
			dst = appendVarint(dst, int(f.tag))
			at := len(dst)
			if dst, ok = prune(append(dst, 0, 0, 0, 0), f.value, inner); !ok {
				return nil, false
			}
			n := len(dst) - at - 4
			dst[at], dst[at+1], dst[at+2], dst[at+3] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)|0x80, byte(n>>21)
		case inner != nil:
			return nil, false
		}
		raw = rest
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
