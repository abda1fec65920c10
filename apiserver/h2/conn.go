package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn is one connection. The goroutine that net/http gives it reads; handlers run on workers and write themselves.
type conn struct {
	server    *Server
	handler   http.Handler
	tls       *tls.Conn
	holding   *holding             // beneath TLS; nil: the listener is not ours
	state     *tls.ConnectionState // of all requests
	remote    string
	ctx       context.Context // of all requests
	cancel    context.CancelFunc
	writeWait time.Duration // for a write to get on; 0: for ever

	// The reader's own.
	in      *bufio.Reader
	framer  *http2.Framer
	decoder *hpack.Decoder
	block   block

	mu      sync.Mutex
	streams map[uint32]*stream // that are not closed
	last    uint32             // highest number of a stream that the peer opened
	ghosts  int                // streams that were reset while their handlers run
	ended   [128]uint32        // numbers of streams that we closed before the peer did, in turn
	closed  int
	settled bool  // the peer's settings came
	err     error // the connection is over
	window  int64 // bytes of DATA that the peer takes
	initial int64 // that it takes on a new stream
	recv    int64 // that it may send
	refund  int   // that were consumed and are not yet given back to it
	resets  allowance
	idles   allowance

	pending  *buffer
	inflight int // bytes being written
	phase    phase
	controls int       // frames of pending that answer the peer's
	room     sync.Cond // there may be room in pending; wakes one, who wakes the next
	credit   sync.Cond // window grew; wakes one, who wakes the next
	quiet    sync.Cond // nothing is pending any more
	hpack    *hpack.Encoder
	fields   fieldWriter

	leaving   leaving
	idle      *time.Timer
	begun     uint32      // last, when idle looked
	late      *time.Timer // starts handlers whose bodies take long to come
	lateArmed bool
	unstarted int
	turn      turn
}

// leaving is how far a connection is on its way to its end. RFC 9113, section 6.8.
type leaving int8

const (
	staying leaving = iota
	asking          // the peer was told to begin nothing more; what it sent before it knew is served
	drained         // what it begins now is not served; the connection ends with the last stream
)

var (
	errEnded = errors.New("http2: the connection is over")
	pong     = [8]byte{'l', 'e', 'a', 'v', 'i', 'n', 'g'}
)

func newConn(s *Server, t *tls.Conn, h http.Handler) *conn {
	state := t.ConnectionState()
	c := &conn{server: s, handler: h, tls: t, state: &state, remote: t.RemoteAddr().String(), streams: map[uint32]*stream{},
		window: 65535, initial: 65535, recv: connWindow,
		resets: newAllowance(1000+2*s.streams, 100), idles: newAllowance(10000, 1000)}
	c.holding, _ = t.NetConn().(*holding)
	base := context.Background()
	if b, ok := h.(interface{ BaseContext() context.Context }); ok {
		base = b.BaseContext()
	}
	c.ctx, c.cancel = context.WithCancel(base)
	c.room.L, c.credit.L, c.quiet.L = &c.mu, &c.mu, &c.mu
	c.hpack = hpack.NewEncoder(&c.fields)
	c.hpack.SetMaxDynamicTableSizeLimit(tableSize)
	c.in = bufio.NewReaderSize(t, 4<<10)
	c.framer = http2.NewFramer(nil, c.in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(frameSize)
	c.decoder = hpack.NewDecoder(tableSize, c.block.emit)
	c.decoder.SetMaxStringLength(s.headerList)
	c.block.most = s.headerList
	if s.web.HTTP2 != nil {
		c.writeWait = s.web.HTTP2.WriteByteTimeout
	}
	return c
}

// serve greets the peer, reads until the connection is over, and closes it.
func (c *conn) serve() {
	defer c.cancel()
	err := c.greet()
	if err == nil {
		c.watchIdle()
		if err = c.read(); errors.Is(err, errPassed) {
			<-c.turn.over // who reads after this one closes
			return
		}
	}
	c.close(err)
}

// close is the end of the connection, for the reader: err is why it does not read on.
func (c *conn) close(err error) {
	c.mu.Lock()
	if c.idle != nil {
		c.idle.Stop()
	}
	if c.late != nil {
		c.late.Stop()
	}
	over := c.err != nil
	c.mu.Unlock()
	if !over {
		c.goodbye(err)
	}
	c.mu.Lock()
	c.fail(errEnded)
	c.mu.Unlock()
	_ = c.tls.Close() // it is over either way
}

func (c *conn) greet() error {
	c.mu.Lock()
	b := c.grow(64)
	b.b = appendSettings(b.b,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.server.streams)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.server.headerList)})
	b.b = appendWindowUpdate(b.b, 0, connWindow-65535)
	c.kick()
	c.mu.Unlock()
	if err := c.tls.SetReadDeadline(time.Now().Add(prefaceWait)); err != nil {
		return err
	}
	var preface [len(http2.ClientPreface)]byte
	if _, err := io.ReadFull(c.in, preface[:]); err != nil {
		return err
	}
	if string(preface[:]) != http2.ClientPreface {
		return protocol("no preface")
	}
	return c.tls.SetReadDeadline(time.Time{})
}

// watchIdle ends the connection when for IdleTimeout, looked at twice during it, there was no stream.
func (c *conn) watchIdle() {
	wait := c.server.web.IdleTimeout / 2
	if wait <= 0 {
		return
	}
	seen := false
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch unused := len(c.streams) == 0 && c.begun == c.last; {
		case c.err != nil:
			return
		case unused && seen:
			c.depart(drained)
			return
		default:
			c.begun, seen = c.last, unused || len(c.streams) == 0
			c.idle.Reset(wait)
		}
	})
}

// fail ends the connection at once: whoever waits for anything on it is told err. c.mu is held.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.cancel()
	for _, st := range c.streams {
		st.end(err)
	}
	if c.pending != nil {
		c.server.put(c.pending)
		c.pending = nil
	}
	c.room.Broadcast()
	c.credit.Broadcast()
	c.quiet.Broadcast()
	_ = c.tls.NetConn().Close() // the reader finds out by it
}

// leave tells the peer to begin nothing more, and ends the connection when what runs has ended. May be called by anybody.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.depart(asking)
}

// depart goes on towards the end. The first GOAWAY names no last stream: requests may be on their way. The answer to a PING
// behind it, or a moment without one, says that none is any more. c.mu is held.
func (c *conn) depart(to leaving) {
	if c.err != nil || to <= c.leaving {
		return
	}
	c.leaving = to
	last := c.last
	if to == asking {
		last = 1<<31 - 1
	}
	c.control(func(b []byte) []byte { return appendGoAway(b, last, http2.ErrCodeNo, "") })
	if to == asking {
		c.control(func(b []byte) []byte { return appendPing(b, 0, pong) })
		time.AfterFunc(time.Second, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.depart(drained)
		})
	}
	c.kick()
	c.drained()
}

// drained ends the connection if it is on its way and nothing is left to do. c.mu is held.
func (c *conn) drained() {
	if c.leaving == drained && len(c.streams) == 0 && c.phase == idle && c.waiting() == 0 && c.err == nil {
		_ = c.tls.SetReadDeadline(time.Now()) // the reader ends, and closes
	}
}

// goodbye tells the peer why the connection ends, when it does not know, and lets what is pending go out, for a little
// while. Then it waits a moment for the peer to close: data that nobody reads would make the kernel
// take back what the peer has not read yet.
func (c *conn) goodbye(err error) {
	var e connError
	c.mu.Lock()
	if errors.As(err, &e) {
		c.control(func(b []byte) []byte { return appendGoAway(b, c.last, e.code, e.why) })
		for _, st := range c.streams {
			st.end(errEnded)
		}
	} else if c.leaving != drained {
		c.mu.Unlock()
		return // the peer is gone
	}
	_ = c.patience(time.Now().Add(2 * time.Second))
	for c.err == nil && (c.phase != idle || c.waiting() > 0) {
		if c.phase == idle {
			c.write()
		} else {
			c.quiet.Wait()
		}
	}
	over := c.err != nil
	c.mu.Unlock()
	if over || c.tls.CloseWrite() != nil {
		return
	}
	raw := c.tls.NetConn()
	if c.holding != nil {
		raw = c.holding.Conn
	}
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil && raw.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(raw, 1<<20)) // the peer's end of it, or none
	}
}

// patience bounds the writes from now on.
func (c *conn) patience(until time.Time) error {
	if c.holding != nil {
		return c.holding.patience(until)
	}
	return c.tls.NetConn().SetWriteDeadline(until)
}
