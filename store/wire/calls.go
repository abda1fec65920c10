package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Calls makes calls of one method, each with one message there and one back. One of those who wait for an answer, the leader,
// reads for all. Who comes while calls are under way is sent with others, when half of these have their answers.
type Calls struct {
	method string
	next   func() Config // where to

	mu      sync.Mutex
	closed  bool
	dialing bool
	again   time.Time // not before is a server dialled
	conn    *conn
	header  []byte

	led     bool      // somebody reads
	waiting []*call   // to be sent
	open    []*call   // under way
	sent    int       // of them, when the last were sent
	rests   time.Time // since when nobody reads
	stalled bool      // no answer has come for a while: nobody waits for one to be sent
}

// call is one of them. All but message is guarded by Calls' lock.
type call struct {
	message []byte
	id      uint32 // stream
	got     []byte
	err     error
	begun   bool // something of the answer came
	over    bool
	left    bool      // nobody waits for it
	turn    chan bool // true: lead; false: it is over
}

const (
	dialPatience = 2 * time.Second
	dialAgain    = time.Second
	messageMost  = 32 << 10 // bytes of a message; larger ones are for others
	stall        = 10 * time.Millisecond
	stalledLook  = 100 * time.Millisecond // after that, whether somebody left
	restsLong    = 100 * time.Millisecond // the server may have ended meanwhile, unseen
)

// NewCalls does not connect: what is called before there is a connection gets ErrGone. next says where to, for each attempt.
func NewCalls(method string, next func() Config) *Calls {
	w := &Calls{method: method, next: next}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connect()
	return w
}

// Close ends the connection.
func (w *Calls) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed = true; w.conn != nil {
		_ = w.conn.Close() // whoever reads says it
	}
}

// connect dials in the background, unless somebody does. mu is held.
func (w *Calls) connect() {
	if w.dialing || w.closed || w.conn != nil || time.Now().Before(w.again) {
		return
	}
	w.dialing, w.again = true, time.Now().Add(dialAgain)
	conf := w.next()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), dialPatience)
		defer cancel()
		c, err := dial(ctx, conf)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.dialing = false; err != nil {
			return // the next call tries again
		}
		if w.conn, w.header = c, c.header(w.method); w.closed {
			_ = c.Close()
		}
	}()
}

// Do sends a message, which message appends to what it is given, and returns the answer's. Errors: ErrGone, of a call that
// was not made; ctx's, which leaves open whether it was; a status of gRPC's.
func (w *Calls) Do(ctx context.Context, size int, message func([]byte) ([]byte, error)) ([]byte, error) {
	if size > messageMost {
		return nil, ErrGone
	}
	m, err := message(prefix(make([]byte, 0, 5+size), size))
	if err != nil {
		return nil, err
	}
	c := &call{message: m}
	w.mu.Lock()
	if w.conn != nil && !w.led && time.Since(w.rests) > restsLong && !w.conn.alive() {
		w.fail(ErrGone)
	}
	if w.conn == nil || w.closed {
		w.connect()
		w.mu.Unlock()
		return nil, ErrGone
	}
	w.waiting = append(w.waiting, c)
	if !w.led {
		return w.lead(ctx, c)
	}
	c.turn = make(chan bool, 1)
	if w.stalled {
		w.send()
	}
	w.mu.Unlock()
	select {
	case lead := <-c.turn:
		if lead {
			w.mu.Lock()
			return w.lead(ctx, c)
		}
		return c.got, c.err
	case <-ctx.Done():
	}
	w.mu.Lock()
	select {
	case lead := <-c.turn: // others count on it, or it is over
		if lead {
			return w.lead(ctx, c)
		}
		w.mu.Unlock()
		return c.got, c.err
	default:
		defer w.mu.Unlock()
		return w.leave(ctx, c)
	}
}

// leave forgets a call that nobody waits for any more, unless it is under way. mu is held.
func (w *Calls) leave(ctx context.Context, c *call) ([]byte, error) {
	c.left = true
	w.waiting = slices.DeleteFunc(w.waiting, func(other *call) bool { return other == c })
	return nil, ctx.Err()
}

// lead reads until own is over or ctx ends, and passes the lead on. mu is held, and is not any more afterwards.
func (w *Calls) lead(ctx context.Context, own *call) ([]byte, error) {
	defer w.mu.Unlock()
	defer w.pass()
	w.led = true
	for {
		if len(w.open)*2 <= w.sent || w.stalled {
			w.send()
		}
		if own.over {
			return own.got, own.err
		}
		if w.stalled && ctx.Err() != nil {
			return w.leave(ctx, own)
		}
		c := w.conn
		patience := stall
		if w.stalled {
			patience = stalledLook
		}
		if c.in.Buffered() == 0 {
			c.worth(!slices.ContainsFunc(w.open, func(one *call) bool { return one.begun }))
		}
		w.mu.Unlock()
		f, err := c.read(patience)
		w.mu.Lock()
		if w.stalled = errors.Is(err, errQuiet); w.stalled {
			continue
		}
		if err == nil {
			err = c.room(0)
		}
		if err != nil {
			w.fail(broken(err))
			continue
		}
		w.take(f)
	}
}

// pass gives the lead to another one who waits. mu is held.
func (w *Calls) pass() {
	for _, some := range [][]*call{w.open, w.waiting} {
		for _, c := range some {
			if !c.left {
				c.turn <- true
				return
			}
		}
	}
	w.led, w.stalled, w.rests = false, false, time.Now()
}

// take hands a frame to its call. mu is held.
func (w *Calls) take(f http2.Frame) {
	c := w.conn
	w.open = slices.DeleteFunc(w.open, func(one *call) bool {
		if one.id >= c.end {
			one.finish(ErrGone)
		} else if one.id == f.Header().StreamID {
			one.take(f, c.conf.Window)
		}
		if status.Code(one.err) == codes.Unavailable { // it has no leader, or ends: another one may be better off
			c.end = min(c.end, c.next)
		}
		return one.over
	})
	if c.next >= c.end && len(w.open) == 0 {
		w.fail(ErrGone)
	}
}

// send sends who waits. mu is held.
func (w *Calls) send() {
	if len(w.waiting) == 0 {
		return
	}
	c := w.conn
	c.mu.Lock()
	var err error
	for err == nil && len(w.waiting) > 0 && len(w.open) < c.streams {
		one := w.waiting[0]
		if one.id, err = c.begin(w.header, one.message, true); errors.Is(err, errFull) {
			break
		}
		w.waiting = w.waiting[1:]
		if errors.Is(err, ErrGone) {
			one.finish(err)
			err = nil
			continue
		}
		w.open = append(w.open, one)
	}
	if errors.Is(err, errFull) {
		err = nil
	}
	err = errors.Join(err, c.out.Flush())
	c.mu.Unlock()
	w.sent = len(w.open)
	if err != nil {
		w.fail(broken(err))
	}
}

// fail ends all calls, and the connection: those that were sent with err. mu is held.
func (w *Calls) fail(err error) {
	for _, c := range w.open {
		c.finish(err)
	}
	for _, c := range w.waiting {
		c.finish(ErrGone)
	}
	w.open, w.waiting, w.sent = nil, nil, 0
	_ = w.conn.Close() // it is of no use, whatever this says
	w.conn = nil
	w.connect()
}

// finish ends a call. Calls' lock is held.
func (c *call) finish(err error) {
	if c.over, c.err = true, err; c.turn != nil && !c.left {
		c.turn <- false
	}
}

// take takes a frame of the call's. most is how much an answer may be. Calls' lock is held.
func (c *call) take(f http2.Frame, most uint32) {
	c.begun = true
	switch f := f.(type) {
	case *http2.DataFrame:
		c.got = append(c.got, f.Data()...)
		if f.StreamEnded() || len(c.got) >= int(most) {
			c.finish(status.Errorf(codes.Internal, "the answer ended after %d bytes, without a status", len(c.got)))
		}
	case *http2.MetaHeadersFrame:
		err, known := verdict(f)
		if !known {
			return
		}
		if err == nil {
			if len(c.got) < 5 || c.got[0] != 0 || int(binary.BigEndian.Uint32(c.got[1:])) != len(c.got)-5 {
				err = status.Errorf(codes.Internal, "%d bytes are not one message", len(c.got))
			} else {
				c.got = c.got[5:]
			}
		}
		c.finish(err)
	case *http2.RSTStreamFrame:
		if f.ErrCode == http2.ErrCodeRefusedStream {
			c.finish(ErrGone)
		} else {
			c.finish(broken(fmt.Errorf("stream reset: %v", f.ErrCode)))
		}
	}
}
