package h2

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Listen makes a listener whose connections can be held: several TLS records then go to the kernel in one system call.
// It lies beneath TLS. A connection that nobody holds passes everything on.
func Listen(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &holding{Conn: c}, nil
}

// holding is one connection. The mutex is there for TLS, which answers alerts from the goroutine that reads.
type holding struct {
	net.Conn
	mu   sync.Mutex
	into *buffer     // nil: nobody holds
	busy atomic.Bool // what was held is being written
}

func (h *holding) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.into == nil {
		return h.Conn.Write(p)
	}
	h.into.b = append(h.into.b, p...)
	return len(p), nil
}

// hold keeps what is written from now on in b.
func (h *holding) hold(b *buffer) {
	h.mu.Lock()
	h.into = b
	h.mu.Unlock()
}

// release writes what was held. The lock is kept: nothing that is written later may come before it.
func (h *holding) release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.into
	h.into = nil
	h.busy.Store(true)
	defer h.busy.Store(false)
	_, err := h.Conn.Write(b.b)
	return err
}

// SetWriteDeadline is what TLS calls before it says goodbye. It would wait for what is being written, perhaps to a peer who
// reads nothing: that ends instead, as it does where TLS knows that a write is under way.
func (h *holding) SetWriteDeadline(t time.Time) error {
	if h.busy.Load() {
		t = time.Now()
	}
	return h.Conn.SetWriteDeadline(t)
}

// patience bounds what is written from now on; unlike SetWriteDeadline it says nothing of an end.
func (h *holding) patience(t time.Time) error { return h.Conn.SetWriteDeadline(t) }
