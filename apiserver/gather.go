package apiserver

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Gather makes a listener whose connections gather what is written to them: while one write is on its way to the
// kernel, further ones are put together into the next. Beneath TLS and HTTP/2, which write each event of each
// watch by itself, this is one system call for what is due on a connection, not two per event.
func Gather(l net.Listener) net.Listener { return gatherer{l} }

type gatherer struct{ net.Listener }

func (g gatherer) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newGathering(c), nil
}

// A connection holds pendingEach bytes that were not yet written, and more while all together hold less than
// pendingAll: those whose clients read slowly wait then.
const (
	pendingEach = 1 << 10
	pendingMost = 256 << 10
	pendingAll  = 4 << 20
	direct      = 10 << 10 // what is as large as this is written by itself
)

var pendingTotal atomic.Int64

// gathering is one connection. Reads are the connection's own.
type gathering struct {
	net.Conn
	mu      sync.Mutex
	room    sync.Cond // signalled when pending got shorter
	pending []byte
	busy    bool // a goroutine writes
	closed  bool
	err     error // of a write: the next one gets it
}

var pendingBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 32<<10); return &b }}

func newGathering(c net.Conn) *gathering {
	g := &gathering{Conn: c}
	g.room.L = &g.mu
	return g
}

// Write hands b over; it waits while too much is on its way.
func (g *gathering) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && !g.closed && len(g.pending) >= pendingEach && (len(g.pending) >= pendingMost || pendingTotal.Load() >= pendingAll) {
		g.room.Wait()
	}
	switch {
	case g.err != nil:
		return 0, g.err
	case g.closed:
		return 0, net.ErrClosed
	}
	if len(b) >= direct { // there is nothing to gather with, and it would be copied
		for g.busy && g.err == nil {
			g.room.Wait()
		}
		if g.err != nil {
			return 0, g.err
		}
		g.busy = true
		g.mu.Unlock()
		n, err := g.Conn.Write(b)
		g.mu.Lock()
		g.busy = false
		g.room.Broadcast()
		if err != nil {
			g.err = err
		}
		switch {
		case len(g.pending) > 0: // that came meanwhile
			g.busy = true
			go g.flush()
		case g.closed:
			_ = g.Conn.Close() // Close was told already
		}
		return n, err
	}
	if g.pending == nil {
		g.pending = (*pendingBuffers.Get().(*[]byte))[:0]
	}
	g.pending = append(g.pending, b...)
	pendingTotal.Add(int64(len(b)))
	if !g.busy {
		g.busy = true
		go g.flush()
	}
	return len(b), nil
}

// flush writes until nothing is pending.
func (g *gathering) flush() {
	runtime.Gosched() // whoever is about to write goes first
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.pending) > 0 && g.err == nil {
		b := g.pending
		g.pending = nil
		g.room.Broadcast()
		g.mu.Unlock()
		_, err := g.Conn.Write(b)
		pendingTotal.Add(-int64(len(b)))
		if cap(b) <= pendingMost {
			b = b[:0]
			pendingBuffers.Put(&b)
		}
		g.mu.Lock()
		if err != nil {
			g.err = err
		}
	}
	pendingTotal.Add(-int64(len(g.pending)))
	g.pending, g.busy = nil, false
	g.room.Broadcast()
	if g.closed {
		_ = g.Conn.Close() // Close was told already
	}
}

// Close lets what is pending go out, for a little while.
func (g *gathering) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return net.ErrClosed
	}
	g.closed = true
	g.room.Broadcast()
	if g.busy {
		return g.Conn.SetDeadline(time.Now().Add(5 * time.Second))
	}
	return g.Conn.Close()
}

// SetWriteDeadline passes a deadline on, but for one that is over: TLS sets it when it has said goodbye, so that nothing
// more is written, and what was written before is perhaps still on its way.
func (g *gathering) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		return nil
	}
	return g.Conn.SetWriteDeadline(t)
}
