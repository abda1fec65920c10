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

// Client makes calls of one method, each with one message there and one back, and has a stream of another beside them. One of
// those who wait for something, the leader, reads for all, and does what the stream's messages ask for. Who comes while calls
// are under way is sent with others, once these have their answers; the first of many waits a moment for the others.
type Client struct {
	method string
	next   func() Config // where to; nil: nowhere else

	mu     sync.Mutex
	closed bool
	dialed chan struct{} // closed when the attempt that is under way has ended; nil: none is
	again  time.Time     // not before is a server dialled for a call
	conn   *conn
	header []byte

	led     bool    // somebody reads
	waiting []*call // to be sent
	open    []*call // under way
	over    []*call // not told yet: first what came with their answers is read
	stream  *Stream
	rests   time.Time // since when nobody reads
	batch   int       // calls that went together last
	gathers bool      // what waits is sent soon
	stalled bool      // no answer has come for a while: nobody waits for one to be sent
}

// call is one of them. All but message is guarded by Client's lock.
type call struct {
	message []byte
	id      uint32 // stream
	got     []byte
	err     error
	begun   bool // something of the answer came
	over    bool
	left    bool      // nobody waits for it
	turn    chan bool // who does not read waits for it: true: lead; false: it is over
}

const (
	dialPatience = 2 * time.Second
	dialAgain    = time.Second
	messageMost  = 32 << 10 // bytes of a message; larger ones are for others
	stall        = 10 * time.Millisecond
	stalledLook  = 100 * time.Millisecond // after that, whether somebody left
	gather       = 500 * time.Microsecond // how long calls of many writers wait for each other
	restsLong    = 100 * time.Millisecond // the server may have ended meanwhile, unseen
)

// NewClient does not connect: what is called before there is a connection gets ErrGone. next says where to, for each attempt.
func NewClient(method string, next func() Config) *Client {
	w := &Client{method: method, next: next}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connect()
	return w
}

// Close ends the connection.
func (w *Client) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed = true; w.conn != nil {
		_ = w.conn.Close() // whoever reads says it
	}
}

// connect dials in the background, unless somebody does. mu is held.
func (w *Client) connect() {
	if w.dialed != nil || w.closed || w.conn != nil || w.next == nil || time.Now().Before(w.again) {
		return
	}
	dialed := make(chan struct{})
	w.dialed, w.again = dialed, time.Now().Add(dialAgain)
	conf := w.next()
	go func() {
		defer close(dialed)
		ctx, cancel := context.WithTimeout(context.Background(), dialPatience)
		defer cancel()
		c, err := dial(ctx, conf)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.dialed = nil; err != nil {
			return // the next call tries again
		}
		if w.conn, w.header = c, c.header(w.method); w.closed {
			_ = c.Close()
		}
	}()
}

// usable tells whether there is a connection for something new, and dials if there is none. mu is held.
func (w *Client) usable() bool {
	if w.conn != nil && !w.led && time.Since(w.rests) > restsLong && !w.conn.alive() {
		w.fail(ErrGone)
	}
	w.connect()
	return w.conn != nil && !w.closed
}

// Do sends a message, which message appends to what it is given, and returns the answer's. Errors: ErrGone, of a call that
// was not made; ctx's, which leaves open whether it was; a status of gRPC's.
func (w *Client) Do(ctx context.Context, size int, message func([]byte) ([]byte, error)) ([]byte, error) {
	if size > messageMost {
		return nil, ErrGone
	}
	m, err := message(prefix(make([]byte, 0, prefixSize+size), size))
	if err != nil {
		return nil, err
	}
	c := &call{message: m}
	w.mu.Lock()
	if !w.usable() {
		w.mu.Unlock()
		return nil, ErrGone
	}
	w.waiting = append(w.waiting, c)
	if !w.led {
		return w.leadCall(ctx, c)
	}
	c.turn = make(chan bool, 1)
	if len(w.open) == 0 && w.batch > 1 && 4*len(w.waiting) < 3*w.batch {
		w.sendSoon()
	} else if w.ripe() {
		w.sendNow()
	} else if w.conn.patient > stall {
		w.conn.patience(stall)
	}
	w.mu.Unlock()
	select {
	case lead := <-c.turn:
		if lead {
			w.mu.Lock()
			return w.leadCall(ctx, c)
		}
		return c.got, c.err
	case <-ctx.Done():
	}
	w.mu.Lock()
	select {
	case lead := <-c.turn: // others count on it, or it is over
		if lead {
			return w.leadCall(ctx, c)
		}
		w.mu.Unlock()
		return c.got, c.err
	default:
		defer w.mu.Unlock()
		return w.leave(ctx, c)
	}
}

// leave forgets a call that nobody waits for any more, unless it is under way. mu is held.
func (w *Client) leave(ctx context.Context, c *call) ([]byte, error) {
	c.left = true
	w.waiting = slices.DeleteFunc(w.waiting, func(other *call) bool { return other == c })
	return nil, ctx.Err()
}

// leadCall reads until own is over or ctx ends, and what came with its answer, and passes the lead on. mu is held, and is not
// any more afterwards.
func (w *Client) leadCall(ctx context.Context, own *call) ([]byte, error) {
	defer w.mu.Unlock()
	defer w.pass()
	for !own.over || w.conn != nil && w.conn.whole() {
		if w.stalled && ctx.Err() != nil {
			return w.leave(ctx, own)
		}
		w.lead(stall)
	}
	return own.got, own.err
}

// ripe tells that who waits is to be sent. mu is held.
func (w *Client) ripe() bool { return len(w.open) == 0 || w.stalled }

// lead takes one frame, for whom it may concern, or waits for it so long. mu is held, but not while it waits.
func (w *Client) lead(patience time.Duration) {
	w.led = true
	c := w.conn
	if c == nil { // it broke
		return
	}
	if !c.whole() {
		if w.tell(); w.ripe() && !w.gathers {
			w.send()
		}
		if w.stalled {
			patience = max(patience, stalledLook)
		}
		c.patience(patience)
		c.worth(len(w.open) > 0 && !slices.ContainsFunc(w.open, func(one *call) bool { return one.begun }))
	}
	w.mu.Unlock()
	f, err := c.read(patience)
	w.mu.Lock()
	if w.conn != c { // it broke, which everybody knows
		return
	}
	if w.stalled = errors.Is(err, errQuiet) && len(w.open)+len(w.waiting) > 0; errors.Is(err, errQuiet) {
		return
	}
	id := uint32(0)
	if w.stream != nil && f != nil && f.Header().StreamID == w.stream.id {
		id = w.stream.id
	}
	if err == nil {
		err = c.room(id)
	}
	if err != nil {
		w.fail(broken(err))
		return
	}
	w.take(f)
}

// tell tells those whose calls are over. mu is held.
func (w *Client) tell() {
	for _, c := range w.over {
		if c.turn != nil && !c.left {
			select {
			case c.turn <- false:
			default: // it leads in a moment, and sees it
			}
		}
	}
	clear(w.over)
	w.over = w.over[:0]
}

// pass gives the lead to another one who waits. mu is held.
func (w *Client) pass() {
	w.tell()
	for _, some := range [][]*call{w.open, w.waiting} {
		for _, c := range some {
			if !c.left {
				c.turn <- true
				return
			}
		}
	}
	w.led, w.stalled, w.rests = false, false, time.Now()
	if w.stream != nil && w.stream.waits {
		w.stream.waits = false
		w.stream.turn <- struct{}{}
	}
}

// take hands a frame to whom it is for. mu is held, but not while a message of the stream's is taken.
func (w *Client) take(f http2.Frame) {
	c := w.conn
	w.open = slices.DeleteFunc(w.open, func(one *call) bool {
		if one.id >= c.end {
			w.finish(one, ErrGone)
		} else if one.id == f.Header().StreamID && one.take(f, c.conf.Window) {
			w.finish(one, one.err)
		}
		c.worse(one.err)
		return one.over
	})
	if s := w.stream; s != nil {
		if s.id >= c.end {
			s.finish(broken(ErrGone))
		} else if s.id == f.Header().StreamID {
			s.take(f)
		}
		c.worse(s.end)
	}
	if w.conn == c && c.next >= c.end && len(w.open) == 0 {
		w.fail(ErrGone)
	}
}

// finish ends a call. mu is held.
func (w *Client) finish(c *call, err error) {
	c.over, c.err = true, err
	w.over = append(w.over, c)
}

// sendSoon sends who waits in a moment: as many as went together last may do so again, which is cheaper for both sides. mu is held.
func (w *Client) sendSoon() {
	if w.gathers {
		return
	}
	w.gathers = true
	time.AfterFunc(gather, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.gathers && w.conn != nil && w.ripe() {
			w.sendNow()
		}
		w.gathers = false
	})
}

// sendNow sends who waits while somebody else leads. mu is held.
func (w *Client) sendNow() {
	if len(w.open) == 0 { // then Serve does
		w.conn.worth(true)
	}
	w.send()
	w.tell()
}

// send sends who waits. mu is held.
func (w *Client) send() {
	if w.gathers = false; len(w.waiting) == 0 {
		return
	}
	if len(w.open) == 0 {
		w.batch = len(w.waiting)
	}
	c := w.conn
	c.mu.Lock()
	var err error
	room := c.streams
	if w.stream != nil {
		room = max(room-1, 1)
	}
	for err == nil && len(w.waiting) > 0 && len(w.open) < room {
		one := w.waiting[0]
		if one.id, err = c.begin(w.header, one.message, true); errors.Is(err, errFull) {
			break
		}
		w.waiting = w.waiting[1:]
		if errors.Is(err, ErrGone) {
			w.finish(one, err)
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
	if err != nil {
		w.fail(broken(err))
	}
}

// fail ends all calls, the stream and the connection: those that were sent with err. mu is held.
func (w *Client) fail(err error) {
	for _, c := range w.open {
		w.finish(c, err)
	}
	for _, c := range w.waiting {
		w.finish(c, ErrGone)
	}
	w.tell()
	w.open, w.waiting = nil, nil
	_ = w.conn.Close() // it is of no use, whatever this says
	w.conn = nil
	if w.stream != nil {
		if errors.Is(err, ErrGone) { // it had been taken up
			err = broken(err)
		}
		w.stream.finish(err)
	}
	w.connect()
}

// take takes a frame of the call's, and tells whether it is over. most is how much an answer may be. Client's lock is held.
func (c *call) take(f http2.Frame, most uint32) bool {
	c.begun = true
	switch f := f.(type) {
	case *http2.DataFrame:
		c.got = append(c.got, f.Data()...)
		if f.StreamEnded() || len(c.got) >= int(most) {
			c.err = status.Errorf(codes.Internal, "the answer ended after %d bytes, without a status", len(c.got))
			return true
		}
	case *http2.MetaHeadersFrame:
		err, known := verdict(f)
		switch {
		case !known:
			return false
		case err != nil:
			c.err = err
		case len(c.got) < prefixSize || c.got[0] != 0 || int(binary.BigEndian.Uint32(c.got[1:])) != len(c.got)-prefixSize:
			c.err = status.Errorf(codes.Internal, "%d bytes are not one message", len(c.got))
		default:
			c.got = c.got[prefixSize:]
		}
		return true
	case *http2.RSTStreamFrame:
		c.err = broken(fmt.Errorf("stream reset: %v", f.ErrCode))
		if f.ErrCode == http2.ErrCodeRefusedStream {
			c.err = ErrGone
		}
		return true
	}
	return false
}
