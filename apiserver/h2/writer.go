package h2

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/net/http2"
)

// How a connection writes. Whoever has frames appends them to pending, under the connection's lock, in the order in which
// the peer gets them. If nobody writes, he does: first he lets others run who are about to append (500 watchers
// are woken by one event), then he writes all that is pending, until nothing is, or somebody else takes over.

// phase is what becomes of pending.
type phase int8

const (
	idle    phase = iota // nothing is pending that must go
	due                  // somebody let others run first, and writes then
	writing              // somebody writes
)

const (
	pendingMost = 64 << 10 // frames of handlers wait beyond this
	heldMost    = 6 << 20  // of all connections; beyond it a connection holds one frame at a time
	controlMost = 10000    // answers to a peer who does not read them
	rounds      = 16       // buffers that a handler writes for others before a worker takes over
)

var errSlow = errors.New("http2: the peer reads none of its answers")

// grow makes room for n bytes in pending and returns it. c.mu is held.
func (c *conn) grow(n int) *buffer {
	b := c.pending
	if b == nil {
		if n > classes[0] && c.server.held.Load() < heldMost/2 {
			n = pendingMost // there is memory, and more will come
		}
		c.pending = c.server.room(n)
		return c.pending
	}
	if have := len(b.b); cap(b.b)-have < n {
		need := have + n
		if c.server.held.Load() < heldMost/2 {
			need = max(need, pendingMost)
		}
		c.pending = c.server.room(need)
		c.pending.b = append(c.pending.b, b.b...)
		c.server.put(b)
	}
	return c.pending
}

// control appends a frame that no handler waits for. c.mu is held.
func (c *conn) control(frame func([]byte) []byte) {
	if c.err != nil {
		return
	}
	if c.controls++; c.controls > controlMost {
		c.fail(errSlow)
		return
	}
	b := c.grow(32)
	b.b = frame(b.b)
	if c.controls%256 == 0 {
		c.kick() // the reader does so when it has read all, if that ever comes
	}
}

func (c *conn) waiting() int {
	if c.pending == nil {
		return 0
	}
	return len(c.pending.b)
}

// fits tells whether n more bytes may be appended now. c.mu is held.
func (c *conn) fits(n int) bool {
	have := c.waiting()
	switch {
	case have == 0 && c.inflight == 0:
		return true
	case c.server.held.Load() >= heldMost:
		return false
	}
	return have+n <= pendingMost
}

// wait waits until n bytes fit, or the stream is over. c.mu is held, and given up meanwhile.
func (c *conn) wait(st *stream, n int) error {
	for st.err == nil && !c.fits(n) {
		if c.phase != writing && c.waiting() > 0 {
			c.write()
			continue
		}
		st.waits = &c.room
		c.room.Wait()
		st.waits = nil
	}
	if st.err != nil {
		c.room.Signal() // what this one was woken for
	}
	return st.err
}

// data appends p as DATA of the stream, as flow control allows, and with end its end. c.mu is held, and given up while
// it waits. It does not flush.
func (c *conn) data(st *stream, p []byte, end bool) error {
	for {
		if st.err != nil {
			c.credit.Signal() // what this one was woken for
			return st.err
		}
		n := min(len(p), frameSize)
		if n > 0 {
			if st.window <= 0 {
				c.credit.Signal()
				c.flush()
				if st.window <= 0 && st.err == nil {
					st.cond.Wait()
				}
				continue
			}
			if c.window <= 0 {
				c.flush()
				if c.window <= 0 && st.err == nil {
					st.waits = &c.credit
					c.credit.Wait()
					st.waits = nil
				}
				continue
			}
			n = int(min(int64(n), st.window, c.window))
		}
		if !c.fits(n + 9) {
			if err := c.wait(st, n+9); err != nil {
				c.credit.Signal()
				return err
			}
			continue // the windows may have changed
		}
		flags := http2.Flags(0)
		if end && n == len(p) {
			flags = http2.FlagDataEndStream
		}
		b := c.grow(n + 9)
		b.b = append(appendFrameHeader(b.b, n, http2.FrameData, flags, st.id), p[:n]...)
		st.window -= int64(n)
		c.window -= int64(n)
		c.useful(n)
		if c.window > 0 {
			c.credit.Signal() // there may be more who wait
		}
		if len(b.b) < pendingMost/2 {
			c.room.Signal()
		}
		if p = p[n:]; len(p) == 0 {
			if end {
				st.sent()
			}
			return nil
		}
	}
}

// flush sees to it that what is pending is written, and may write it itself. c.mu is held, and given up meanwhile.
func (c *conn) flush() {
	switch {
	case c.waiting() == 0 || c.phase == writing:
	case c.phase == due:
		if c.waiting() >= pendingMost/2 {
			c.write()
		}
	case len(c.streams) == 0: // nobody else has anything to say
		c.write()
	default:
		c.phase = due
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		if c.phase == due {
			c.write()
		}
	}
}

// kick is flush for those who must not wait: a worker writes. c.mu is held.
func (c *conn) kick() {
	if c.phase == idle && c.waiting() > 0 && c.err == nil {
		c.phase = writing
		c.server.workers.do(c)
	}
}

// run writes what is pending, for kick and for those who wrote enough for others.
func (c *conn) run() {
	c.mu.Lock()
	c.write()
	c.mu.Unlock()
}

// write writes until nothing is pending. c.mu is held, and given up meanwhile.
func (c *conn) write() {
	c.phase = writing
	for n := 0; c.waiting() > 0 && c.err == nil; n++ {
		if n == rounds {
			c.server.workers.do(c)
			return
		}
		b := c.pending
		c.pending, c.inflight, c.controls = nil, len(b.b), 0
		c.room.Signal()
		c.mu.Unlock()
		err := c.send(b.b)
		c.server.put(b)
		c.mu.Lock()
		c.inflight = 0
		if err != nil {
			c.fail(err)
		}
		c.room.Signal()
	}
	c.phase = idle
	c.quiet.Broadcast()
	c.drained()
}

// send hands frames to TLS. Several records go to the kernel at once.
func (c *conn) send(b []byte) error {
	if c.writeWait > 0 {
		_ = c.patience(time.Now().Add(c.writeWait)) // a connection without deadlines has none to set
	}
	if c.holding == nil || len(b) <= frameSize || c.server.held.Load() >= heldMost {
		_, err := c.tls.Write(b)
		return err
	}
	out := c.server.room(len(b) + len(b)/frameSize*32 + 64)
	defer c.server.put(out)
	c.holding.hold(out)
	_, err := c.tls.Write(b)
	return errors.Join(err, c.holding.release())
}
