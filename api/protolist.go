package api

import (
	"io"
	"iter"
)

// ProtobufList is a list as a protobuf response: the messages of its items with
// their lengths before them, in one envelope. It is written without copying large items.
type ProtobufList struct {
	head  []byte
	items iter.Seq[[]byte]
	size  int
}

const (
	tagListMeta = 1<<3 | 2
	tagListItem = 2<<3 | 2
)

// NewProtobufList makes the list of the given kind ("v1", "PodList") from the
// messages of its metadata (a metav1.ListMeta) and of its items, which are gone through twice.
func NewProtobufList(apiVersion, kind string, meta []byte, items iter.Seq[[]byte]) *ProtobufList {
	raw := 1 + varintSize(len(meta)) + len(meta)
	for item := range items {
		raw += 1 + varintSize(len(item)) + len(item)
	}
	l := &ProtobufList{items: items}
	l.head = appendHead(make([]byte, 0, headSize(apiVersion, kind, raw)+1+varintSize(len(meta))+len(meta)), apiVersion, kind, raw)
	envelope := len(l.head)
	l.head = append(l.head, tagListMeta)
	l.head = appendVarint(l.head, len(meta))
	l.head = append(l.head, meta...)
	l.size = envelope + raw + len(tail)
	return l
}

// Size is the length of the response's body.
func (l *ProtobufList) Size() int { return l.size }

// chunk is how much WriteTo gathers before it writes; items from large on are written as they are.
const chunk, large = 48 << 10, 16 << 10

// WriteTo writes the body.
func (l *ProtobufList) WriteTo(w io.Writer) (n int64, err error) {
	buf := append(make([]byte, 0, min(l.size, chunk+large+16)), l.head...)
	flush := func(b []byte) {
		if err != nil || len(b) == 0 {
			return
		}
		var m int
		m, err = w.Write(b)
		n += int64(m)
	}
	for item := range l.items {
		buf = append(buf, tagListItem)
		buf = appendVarint(buf, len(item))
		if len(item) >= large {
			flush(buf)
			flush(item)
			buf = buf[:0]
		} else if buf = append(buf, item...); len(buf) >= chunk {
			flush(buf)
			buf = buf[:0]
		}
		if err != nil {
			return n, err
		}
	}
	flush(append(buf, tail...))
	return n, err
}
