package api

// tagManagedFields is the field of ObjectMeta that is often half of an object, and that few who look at one need.
const tagManagedFields = 17<<3 | 2

// DecodeLean is DecodeRaw without metadata.managedFields, for those who only show the object.
func DecodeLean(i *Info, raw []byte) (Object, error) {
	meta, ok := RawMeta(raw)
	if !ok {
		return DecodeRaw(i, raw)
	}
	end := len(meta) // of what stands before the managed fields, which are the last that encoders write
	for at := 0; at < len(meta); {
		f, rest, ok := nextField(meta[at:])
		if !ok {
			return DecodeRaw(i, raw)
		}
		if f.tag == tagManagedFields {
			end = min(end, at)
		} else if end < at {
			return DecodeRaw(i, raw)
		}
		at = len(meta) - len(rest)
	}
	if end == len(meta) {
		return DecodeRaw(i, raw)
	}
	start, stop := MetaField(raw)
	b := make([]byte, 0, len(raw)-(len(meta)-end))
	b = append(b, raw[:start]...)
	b = appendMeta(b, meta[:end], nil, nil)
	return DecodeRaw(i, append(b, raw[stop:]...))
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
