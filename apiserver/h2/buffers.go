package h2

import "sync"

// buffer is room for frames, of one of a few sizes, so that what waits for slow readers is as large as what waits.
type buffer struct {
	b     []byte
	class int
}

var classes = [...]int{2 << 10, 10 << 10, 18 << 10, 72 << 10}

var pools [len(classes)]sync.Pool

// room gives a buffer for n bytes at least; it counts as held until it is put back.
func (s *Server) room(n int) *buffer {
	class := 0
	for class < len(classes)-1 && classes[class] < n {
		class++
	}
	b, ok := pools[class].Get().(*buffer)
	if !ok {
		b = &buffer{make([]byte, 0, max(n, classes[class])), class}
	}
	s.held.Add(int64(classes[class]))
	return b
}

func (s *Server) put(b *buffer) {
	s.held.Add(-int64(classes[b.class]))
	if cap(b.b) <= classes[b.class] { // it did not grow beyond its kind
		b.b = b.b[:0]
		pools[b.class].Put(b)
	}
}
