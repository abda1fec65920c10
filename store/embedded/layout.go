package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/lighter-k8s/lighter/store"
)

// What stands where in pebble. Numbers are big-endian, so that they sort.
//
//	"k" key 00 ^revision  ->  crc32c:4 kind:1 value   a version, newest first
//	"i" key               ->  crc32c:4 revision:8     of a key that is there: its newest
//	"r" revision          ->  crc32c:4 keys           which keys a revision wrote
//	"g" from              ->  to                      revisions in between were lost in a crash
//	"m" name              ->  revision                marks, see below
//
// The checksum is over the pebble key and what follows the checksum, so that a
// value which turns up under another key is noticed too.
const (
	kindDelete = 0
	kindPut    = 1
)

var (
	markApplied   = []byte("mapplied")   // what the log holds up to here is in pebble
	markCompacted = []byte("mcompacted") // history before is gone
	markRestoring = []byte("mrestoring") // a Restore began and has not ended
	castagnoli    = crc32.MakeTable(crc32.Castagnoli)
)

// appendVersionKey appends the place of key's version at revision at.
func appendVersionKey(b []byte, key string, at store.Revision) []byte {
	b = append(append(append(b, 'k'), key...), 0)
	return binary.BigEndian.AppendUint64(b, ^uint64(at))
}

// splitVersionKey is the inverse of appendVersionKey; the key aliases b.
func splitVersionKey(b []byte) (key []byte, revision store.Revision, ok bool) {
	n := len(b) - 9
	if n < 1 || b[0] != 'k' || b[n] != 0 {
		return nil, 0, false
	}
	return b[1:n], store.Revision(^binary.BigEndian.Uint64(b[n+1:])), true
}

func revisionKey(kind byte, r store.Revision) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(r))
}

func currentKey(b []byte, key string) []byte { return append(append(b, 'i'), key...) }

// appendCurrent appends the sealed form of a key's newest revision.
func appendCurrent(b, key []byte, r store.Revision) []byte {
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(r))
	seal(key, b)
	return b
}

func putRevision(r store.Revision) []byte { return binary.BigEndian.AppendUint64(nil, uint64(r)) }

func getRevision(b []byte) store.Revision {
	if len(b) != 8 {
		return 0
	}
	return store.Revision(binary.BigEndian.Uint64(b))
}

// seal fills in the checksum that value, kept at key, begins with.
func seal(key, value []byte) {
	sum := crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, value[4:])
	binary.BigEndian.PutUint32(value, sum)
}

// unseal checks it and returns what follows.
func unseal(key, value []byte) ([]byte, bool) {
	if len(value) < 4 {
		return nil, false
	}
	sum := crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, value[4:])
	return value[4:], sum == binary.BigEndian.Uint32(value)
}

// openVersion checks a version and returns a copy of its value; nil: deleted.
func openVersion(key, value []byte) ([]byte, error) {
	body, ok := unseal(key, value)
	if !ok || len(body) == 0 || body[0] > kindPut {
		name, revision, _ := splitVersionKey(key)
		return nil, fmt.Errorf("%s at revision %d: %w", name, revision, store.ErrCorrupt)
	}
	if body[0] == kindDelete {
		return nil, nil
	}
	return append(make([]byte, 0, len(body)-1), body[1:]...), nil
}

// deleted tells, unchecked, whether a version is a deletion.
func deleted(value []byte) bool { return len(value) < 5 || value[4] == kindDelete }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutString is the inverse of appendString; the string aliases b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// prefixEnd is the first key after all that begin with prefix; nil: there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
