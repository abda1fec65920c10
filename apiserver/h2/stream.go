package h2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"

	"golang.org/x/net/http2"
)

// stream is one request and its answer. All fields up to the empty line are guarded by the connection's lock.
type stream struct {
	id      uint32
	err     error // it was reset, by whom and why
	window  int64 // bytes of DATA that the peer takes
	recv    int64 // that it may send
	refund  int   // that were read and are not yet given back
	started bool  // the handler was
	done    bool  // the handler returned
	remote  bool  // the peer has sent all
	local   bool  // we have sent all
	ghost   bool  // reset while the handler runs
	waits   *sync.Cond
	cond    sync.Cond // something came: data, an end, window
	in      body

	c      *conn
	cancel context.CancelFunc
	req    *http.Request
	res    response
}

var (
	errReset  = errors.New("http2: the client reset the stream")
	errClosed = errors.New("http2: the stream is over")
)

// start has a worker run the handler, or the reader if it is the one who calls and takes it. c.mu is held.
func (st *stream) start(reader bool) {
	if st.started || st.err != nil {
		return
	}
	st.started = true
	st.c.unstarted--
	if reader && st.remote && st.c.takes(st) {
		return
	}
	st.c.server.workers.do(st)
}

// run is the handler, on a worker.
func (st *stream) run() {
	returned := false
	defer func() {
		if !returned {
			st.broken(recover())
		}
		st.finish()
	}()
	st.c.handler.ServeHTTP(&st.res, st.req)
	st.res.finish()
	returned = true
}

// broken resets the stream of a handler that panicked: its answer must not look whole.
func (st *stream) broken(p any) {
	if p != nil && p != http.ErrAbortHandler {
		st.c.server.log("http2: panic serving %s: %s\n%s", st.c.remote, fmt.Sprint(p), debug.Stack())
	}
	st.reset(http2.ErrCodeInternal, http.ErrAbortHandler)
}

// reset tells the peer that the stream is over, and why.
func (st *stream) reset(code http2.ErrCode, err error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.err == nil && !(st.local && st.remote) {
		c.resetStream(st.id, code)
		st.end(err)
		c.kick()
	}
}

// finish is the end of a handler.
func (st *stream) finish() {
	st.cancel()
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	st.done = true
	if st.ghost {
		c.ghosts--
	}
	st.in.discard(st)
	if st.err == nil && st.local && !st.remote {
		// The answer is complete, the request is not, and nobody will read the rest. RFC 9113, section 8.1.
		c.resetStream(st.id, http2.ErrCodeNo)
		st.end(errClosed)
	}
	if c.err == nil {
		c.flush()
		c.drained()
	}
}

// sent is called when the end of the answer is pending. c.mu is held.
func (st *stream) sent() {
	st.local = true
	if st.remote {
		delete(st.c.streams, st.id)
	}
}

// received is called when the peer has sent all. c.mu is held.
func (st *stream) received() {
	st.remote = true
	if st.local {
		delete(st.c.streams, st.id)
	}
	st.start(true)
	st.cond.Broadcast()
}

// end closes the stream before its time: its handler is told err by whatever it does next. c.mu is held.
func (st *stream) end(err error) {
	if st.err != nil {
		return
	}
	c := st.c
	st.err = err
	delete(c.streams, st.id)
	if st.cancel != nil {
		st.cancel()
	}
	switch {
	case !st.started:
		c.unstarted--
		st.in.discard(st)
	case !st.done:
		st.ghost = true
		c.ghosts++
	}
	if st.waits != nil {
		st.waits.Broadcast()
	}
	st.cond.Broadcast()
}

// resetStream appends RST_STREAM and remembers that what still comes for the stream is no mistake. c.mu is held.
func (c *conn) resetStream(id uint32, code http2.ErrCode) {
	c.closed++
	c.ended[c.closed%len(c.ended)] = id
	c.control(func(b []byte) []byte { return appendReset(b, id, code) })
}

// wasOurs tells whether we closed the stream before its peer did, of late. c.mu is held.
func (c *conn) wasOurs(id uint32) bool {
	for _, one := range c.ended {
		if one == id {
			return true
		}
	}
	return false
}
