package embedded

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/lighter-k8s/lighter/store"
)

// A log record, in a segment file:
//
//	magic:2 kind:1 zero:1  length:4  crc32c:4  synced:8  revision:8  payload
//
// The checksum is over the segment's number, everything else in the record and
// its offset: a record at another place, or left from another file, is no record.
// synced is how much of the segment was surely on the disk when the record was
// made. If that is more than the offset of something unreadable, then it is not
// a tail that a power cut tore but corruption, and the store refuses to open.
const (
	recordHeader = 28
	recordMagic  = 0x4c67

	recordTxn     = 1 // payload: the writes; revision: theirs
	recordReserve = 2 // revision: none above is shown before a further record says so
	recordSealed  = 3 // nothing but its synced
	recordBegin   = 4 // first of a segment; payload: see segmentStart
	recordCompact = 5 // history before revision is gone
)

type record struct {
	kind     byte
	synced   int64
	revision store.Revision
	payload  []byte
}

// beginRecord appends a header to be completed by endRecord, after the payload.
func beginRecord(b []byte, kind byte, revision store.Revision) []byte {
	b = append(b, recordMagic>>8, recordMagic&0xff, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(b, uint64(revision))
}

// endRecord completes r, one whole record that will stand at offset in segment.
func endRecord(r []byte, segment uint64, offset, synced int64) {
	binary.BigEndian.PutUint32(r[4:], uint32(len(r)))
	binary.BigEndian.PutUint64(r[12:], uint64(synced))
	binary.BigEndian.PutUint32(r[8:], recordSum(r, segment, offset))
}

func recordSum(r []byte, segment uint64, offset int64) uint32 {
	var place [16]byte
	binary.BigEndian.PutUint64(place[:], segment)
	binary.BigEndian.PutUint64(place[8:], uint64(offset))
	sum := crc32.Update(0, castagnoli, place[:])
	sum = crc32.Update(sum, castagnoli, r[:8])
	return crc32.Update(sum, castagnoli, r[12:])
}

// readRecord reads the record at offset of a segment's data; false: there is none.
func readRecord(data []byte, segment uint64, offset int64) (rec record, size int64, ok bool) {
	b := data[offset:]
	if len(b) < recordHeader || binary.BigEndian.Uint16(b) != recordMagic || b[3] != 0 {
		return record{}, 0, false
	}
	n := binary.BigEndian.Uint32(b[4:])
	if n < recordHeader || uint64(n) > uint64(len(b)) {
		return record{}, 0, false
	}
	b = b[:n]
	if binary.BigEndian.Uint32(b[8:]) != recordSum(b, segment, offset) {
		return record{}, 0, false
	}
	return record{
		kind:     b[2],
		synced:   int64(binary.BigEndian.Uint64(b[12:])),
		revision: store.Revision(binary.BigEndian.Uint64(b[20:])),
		payload:  b[recordHeader:],
	}, int64(n), true
}

// torn tells whether what begins at offset, which is no record, can be a tail
// that was never synced: no later record says that the disk had it.
func torn(data []byte, segment uint64, offset int64) bool {
	for at := offset + 1; at+recordHeader <= int64(len(data)); at++ {
		if data[at] != recordMagic>>8 || data[at+1] != recordMagic&0xff {
			continue
		}
		if rec, _, ok := readRecord(data, segment, at); ok && rec.synced > offset {
			return false
		}
	}
	return true
}

// appendOps appends a transaction's payload.
func appendOps(b []byte, ops []store.Op) []byte {
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for _, op := range ops {
		kind := byte(kindPut)
		if op.Value == nil {
			kind = kindDelete
		}
		b = appendString(append(b, kind), op.Key)
		b = append(binary.AppendUvarint(b, uint64(len(op.Value))), op.Value...)
	}
	return b
}

// readOps is the inverse of appendOps; values alias b.
func readOps(b []byte) ([]store.Op, bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) {
		return nil, false
	}
	b = b[size:]
	ops := make([]store.Op, 0, n)
	for range n {
		if len(b) == 0 {
			return nil, false
		}
		kind := b[0]
		key, rest, ok := cutString(b[1:])
		if !ok {
			return nil, false
		}
		value, rest, ok := cutString(rest)
		if !ok {
			return nil, false
		}
		if kind == kindDelete {
			value = nil
		}
		ops, b = append(ops, store.Op{Key: string(key), Value: value}), rest
	}
	return ops, len(b) == 0
}

// segmentStart is what the first record of a segment says.
type segmentStart struct {
	previous int64          // length of the segment before that counts; the rest of it was torn
	end      store.Revision // newest revision up to there
	base     store.Revision // newest revision when this segment began; between end and base all are lost
	limit    store.Revision // none above is shown before a recordReserve says so; base: the store was closed
}

func (s segmentStart) append(b []byte) []byte {
	for _, n := range []uint64{uint64(s.previous), uint64(s.end), uint64(s.base), uint64(s.limit)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func readSegmentStart(b []byte) (segmentStart, bool) {
	if len(b) != 32 {
		return segmentStart{}, false
	}
	return segmentStart{
		previous: int64(binary.BigEndian.Uint64(b)),
		end:      store.Revision(binary.BigEndian.Uint64(b[8:])),
		base:     store.Revision(binary.BigEndian.Uint64(b[16:])),
		limit:    store.Revision(binary.BigEndian.Uint64(b[24:])),
	}, true
}
