package h2

import (
	"io"
	"net/http"
	"sync"

	"golang.org/x/net/http2"
)

// body is what the peer has sent of a request's body and nobody has read, guarded by the connection's lock.
type body struct {
	buf      []byte
	off      int   // what was read of buf
	declared int64 // content-length; -1: none
	got      int64
	closed   bool // nobody will read
	asked    bool // Expect: 100-continue was answered, or not asked for
	trailer  http.Header
	deadline error // of reads
}

var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

const bodyKeep = 64 << 10 // what grew larger is left to the garbage collector

// add takes in what came. c.mu is held.
func (b *body) add(p []byte) {
	if b.buf == nil {
		b.buf = (*bodies.Get().(*[]byte))[:0]
	}
	if b.off > 0 && b.off >= len(b.buf)/2 {
		b.buf = b.buf[:copy(b.buf, b.buf[b.off:])]
		b.off = 0
	}
	b.buf = append(b.buf, p...)
}

// discard drops what nobody will read. c.mu is held.
func (b *body) discard(st *stream) {
	b.closed = true
	if b.buf == nil {
		return
	}
	st.c.consumed(nil, len(b.buf)-b.off)
	buf := b.buf
	b.buf, b.off = nil, 0
	if cap(buf) <= bodyKeep {
		bodies.Put(&buf)
	}
}

// reader is the Body of a request.
type reader struct{ st *stream }

// Read waits for data, the end, or the end of the stream.
func (r reader) Read(p []byte) (int, error) {
	st, c := r.st, r.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &st.in
	for {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case b.off < len(b.buf):
			n := copy(p, b.buf[b.off:])
			b.off += n
			c.consumed(st, n)
			return n, nil
		case st.err != nil:
			return 0, st.err
		case st.remote:
			st.trailers()
			return 0, io.EOF
		case b.deadline != nil:
			return 0, b.deadline
		case len(p) == 0:
			return 0, nil
		}
		if !b.asked {
			b.asked = true
			if !st.res.sent {
				if err := c.headers(st, http.StatusContinue, nil, nil, false); err != nil {
					return 0, err
				}
				c.flush()
				continue
			}
		}
		st.cond.Wait()
	}
}

// Close says that the rest will not be read.
func (r reader) Close() error {
	r.st.c.mu.Lock()
	defer r.st.c.mu.Unlock()
	r.st.in.discard(r.st)
	return nil
}

// trailers shows the request's trailers to its handler, who has read the body to its end. c.mu is held.
func (st *stream) trailers() {
	for key, values := range st.in.trailer {
		if _, announced := st.req.Trailer[key]; announced {
			st.req.Trailer[key] = values
		}
	}
	st.in.trailer = nil
}

// consumed gives the peer back what it may send again: of the connection and, with a stream that still goes on, of that.
// It does so in large steps. c.mu is held.
func (c *conn) consumed(st *stream, n int) {
	if n == 0 || c.err != nil {
		return
	}
	kick := false
	if c.refund += n; c.refund >= connWindow/4 {
		n := uint32(c.refund)
		c.recv += int64(c.refund)
		c.refund = 0
		c.control(func(b []byte) []byte { return appendWindowUpdate(b, 0, n) })
		kick = true
	}
	if st != nil && !st.remote && st.err == nil {
		if st.refund += n; st.refund >= streamWindow/4 {
			n := uint32(st.refund)
			st.recv += int64(st.refund)
			st.refund = 0
			c.control(func(b []byte) []byte { return appendWindowUpdate(b, st.id, n) })
			kick = true
		}
	}
	if kick {
		c.kick()
	}
}

// incoming takes in a DATA frame.
func (c *conn) incoming(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, size := f.StreamID, int64(f.Length)
	if c.idleStream(id) {
		return protocol("DATA on an idle stream")
	}
	if size > c.recv {
		return connError{http2.ErrCodeFlowControl, "more DATA than the connection's window"}
	}
	c.recv -= size
	st := c.streams[id]
	if st == nil || st.remote {
		c.consumed(nil, int(size))
		if st == nil && c.wasOurs(id) {
			return nil
		}
		return c.refuse(id, http2.ErrCodeStreamClosed)
	}
	data := f.Data()
	if size > st.recv {
		c.consumed(nil, int(size))
		return c.refuse(id, http2.ErrCodeFlowControl)
	}
	st.recv -= size
	st.in.got += int64(len(data))
	if d := st.in.declared; d >= 0 && (st.in.got > d || f.StreamEnded() && st.in.got != d) {
		c.consumed(nil, int(size))
		return c.refuse(id, http2.ErrCodeProtocol)
	}
	if len(data) == 0 && !f.StreamEnded() {
		if err := c.moved(); err != nil {
			return err
		}
	} else {
		c.useful(len(data))
	}
	switch {
	case st.in.closed:
		c.consumed(st, int(size))
	default:
		c.consumed(st, int(size)-len(data)) // padding
		if len(data) > 0 {
			st.in.add(data)
		}
		st.cond.Broadcast()
	}
	if f.StreamEnded() {
		st.received()
	}
	return nil
}
