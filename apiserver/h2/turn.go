package h2

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A client that has one request at a time under way pays for two goroutines each time: the reader wakes a worker, and
// that wakes another thread. So a write that comes alone to a connection on which requests have come alone for a while is
// served by the reader itself. Its handler may take long all the same: the server's guard looks every few milliseconds,
// and gives the reading to another goroutine.
const (
	aloneFor   = 8                     // requests in a row, before the reader serves one
	guardEvery = 5 * time.Millisecond  // a handler keeps the reader for twice that at most
	guardRests = 20                    // looks that found no turn, until the guard lets go of a connection
	waitedFor  = 10 * time.Microsecond // what is read as soon after a turn had waited for it
)

// turn is what a connection knows of requests that its reader serves. Guarded by the connection's lock, but for mine and ran.
type turn struct {
	alone  int           // requests in a row that found no other
	taken  *stream       // what the reader serves
	seen   *stream       // what it served when the guard looked
	rested int           // looks that found none
	known  bool          // to the guard
	over   chan struct{} // closed when another goroutine read to the end

	mine *stream   // the reader's own: what it is to serve
	ran  time.Time // the reader's own: when it had served
}

// came counts a request that begins. c.mu is held.
func (c *conn) came() {
	if len(c.streams) > 1 {
		c.turn.alone = 0
	} else {
		c.turn.alone++
	}
}

// takes tells whether the reader, whose call this is, serves st itself. c.mu is held.
func (c *conn) takes(st *stream) bool {
	t := &c.turn
	if t.alone <= aloneFor || c.in.Buffered() > 0 || st.req.Method == http.MethodGet || st.req.Method == http.MethodConnect {
		return false // what is read may be watched
	}
	t.mine = st
	return true
}

// serveTaken serves what the reader took, if anything. False: another goroutine reads now.
func (c *conn) serveTaken() bool {
	t := &c.turn
	st := t.mine
	if st == nil {
		return true
	}
	c.mu.Lock()
	if t.mine, t.taken, t.rested = nil, st, 0; !t.known {
		t.known = true
		c.server.guard.watch(c)
	}
	c.mu.Unlock()
	st.run()
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.taken != st {
		return false
	}
	t.taken, t.seen, t.ran = nil, nil, time.Now()
	return true
}

// waited is told when the header of a request was read. One that had to wait for a turn shows that they do not come alone.
func (c *conn) waited() {
	if c.turn.ran.IsZero() {
		return
	}
	soon := time.Since(c.turn.ran) < waitedFor
	if c.turn.ran = (time.Time{}); soon {
		c.mu.Lock()
		c.turn.alone = 0
		c.mu.Unlock()
	}
}

// look gives the reading to another goroutine if the same request has kept the reader since the last look. False: there
// was none for long.
func (c *conn) look() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.turn
	switch {
	case t.taken == nil:
		t.rested++
	case t.taken != t.seen:
		t.seen, t.rested = t.taken, 0
	default:
		if t.taken, t.seen, t.alone = nil, nil, 0; t.over == nil {
			t.over = make(chan struct{})
		}
		go c.readOn()
	}
	t.known = t.rested < guardRests && c.err == nil
	return t.known
}

// readOn reads in place of who serves.
func (c *conn) readOn() {
	if err := c.read(); !errors.Is(err, errPassed) {
		c.close(err)
		close(c.turn.over)
	}
}

// errPassed ends the reading of a goroutine after which another reads.
var errPassed = errors.New("http2: another reads")

// guard looks at the turns of connections that have had some lately.
type guard struct {
	mu      sync.Mutex
	conns   []*conn
	running bool
}

func (g *guard) watch(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns = append(g.conns, c); !g.running {
		g.running = true
		go g.run()
	}
}

// run ends when no connection has had a turn for a while.
func (g *guard) run() {
	for {
		time.Sleep(guardEvery)
		g.mu.Lock()
		conns := g.conns
		g.conns = nil
		g.mu.Unlock()
		conns = slices.DeleteFunc(conns, func(c *conn) bool { return !c.look() })
		g.mu.Lock()
		g.conns = append(conns, g.conns...)
		if g.running = len(g.conns) > 0; !g.running {
			g.conns = nil
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
	}
}
