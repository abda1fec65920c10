// Package wire is the client's side of gRPC on HTTP/2 connections that are read by whoever waits for an answer: no goroutine
// wakes another one between a request and its answer, and requests that come while one is under way go together. It has what
// etcd's transactions and watches need and no more: no balancing, no retries, no compression. gRPC's own client stands beside
// it for the rest, and for when this one has no connection.
//
//	conn.go  a connection: frames, windows, pings      client.go  calls, together      stream.go  a stream beside them
//
// Source of the protocol: gRPC's PROTOCOL-HTTP2.md and RFC 9113.
package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Config says where a server is and how a connection to it is kept.
type Config struct {
	Endpoint string      // "https://host:port", "http://host:port", or "host:port", with TLS if there is a configuration of it
	TLS      *tls.Config // may be nil
	// A server that says nothing for Ping while somebody waits is asked for a sign of life, for which it has Patience.
	Ping, Patience time.Duration
	Window         uint32 // bytes that the server may send before they are read; HTTP/2's own 65,535 at least
}

const (
	frameHead = 9
	frameMost = 16 << 10 // bytes of a frame: what each side takes
	idMost    = 1 << 30  // a connection is given up when its streams come so far
	window    = 65535    // at first, of all

	measureSize = 2*frameHead + 8 + 4 // bytes of a ping and a new window, by which gRPC's servers measure
	recordSize  = 22                  // what TLS 1.3 adds

	pongPatience = time.Second
)

var (
	// ErrGone is of a call that the server has not taken up and will not: it may be made elsewhere.
	ErrGone = errors.New("there is no connection for the call")

	errFull  = errors.New("the server takes no more for the moment")
	errQuiet = errors.New("nothing came")
)

// conn is one connection. One goroutine reads at a time; who writes holds mu.
type conn struct {
	net.Conn
	conf         Config
	scheme, host string

	in           *bufio.Reader
	frames       *http2.Framer // whose writing is to out
	last         uint32        // bytes of the frame that was read, if it is one of data
	unread       uint32        // bytes of data read, of which the server has not been told
	unreadStream uint32        // those of the stream that goes on
	quiet        time.Time     // since when nothing came, if that is known
	asked        time.Time     // for a sign of life
	least        int           // bytes that wake who reads

	patient time.Duration // guarded by Client's lock

	mu      sync.Mutex
	out     *bufio.Writer
	next    uint32 // stream
	window  int64  // what may be sent, by all streams
	stream  int64  // by a new one
	streams int    // that may be open at once
	end     uint32 // streams from here on will not be served
	owed    bool   // an answer to a ping is flushed soon
}

// dial connects and says hello, for as long as ctx.
func dial(ctx context.Context, conf Config) (*conn, error) {
	c := &conn{conf: conf, scheme: "http", host: conf.Endpoint, next: 1, window: window, stream: window, streams: 100, end: idMost}
	if conf.TLS != nil {
		c.scheme = "https"
	}
	if u, err := url.Parse(conf.Endpoint); err == nil && u.Host != "" {
		c.scheme, c.host = u.Scheme, u.Host
	}
	var err error
	switch c.scheme {
	case "http":
		c.Conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", c.host)
	case "https":
		t := &tls.Config{MinVersion: tls.VersionTLS12}
		if conf.TLS != nil {
			t = conf.TLS.Clone()
		}
		t.NextProtos = []string{http2.NextProtoTLS}
		c.Conn, err = (&tls.Dialer{Config: t}).DialContext(ctx, "tcp", c.host)
	default:
		err = fmt.Errorf("neither http nor https: %s", conf.Endpoint)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	c.in, c.out = bufio.NewReaderSize(c.Conn, 2*frameMost), bufio.NewWriterSize(c.Conn, 2*frameMost)
	c.frames = http2.NewFramer(c.out, c.in)
	c.frames.SetReuseFrames()
	c.frames.SetMaxReadFrameSize(frameMost)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := c.hello(); err != nil || !stop() {
		return nil, errors.Join(fmt.Errorf("%s does not speak HTTP/2: %w", conf.Endpoint, errors.Join(err, ctx.Err())), c.Close())
	}
	return c, nil
}

// hello is the preface and the settings of both sides.
func (c *conn) hello() error {
	_, err := c.out.WriteString(http2.ClientPreface)
	err = errors.Join(err, c.frames.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: c.conf.Window}))
	if more := c.conf.Window - window; more > 0 {
		err = errors.Join(err, c.frames.WriteWindowUpdate(0, more))
	}
	if err = errors.Join(err, c.out.Flush()); err != nil {
		return err
	}
	f, err := c.frames.ReadFrame()
	if err != nil {
		return err
	}
	s, ok := f.(*http2.SettingsFrame)
	if !ok {
		return fmt.Errorf("%v instead of its settings", f.Header().Type)
	}
	return c.own(s)
}

// header is the block of a call's header, which leaves the server's table as it is.
func (c *conn) header(method string, more ...hpack.HeaderField) []byte {
	var block block
	e := hpack.NewEncoder(&block)
	for _, f := range append([]hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: c.scheme}, {Name: ":path", Value: method},
		{Name: ":authority", Value: c.host}, {Name: "te", Value: "trailers"}, {Name: "content-type", Value: "application/grpc"}}, more...) {
		f.Sensitive = true                      // never indexed
		if err := e.WriteField(f); err != nil { // no Write of block fails
			panic(err)
		}
	}
	return block
}

type block []byte

func (b *block) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// begin opens a stream: its header, and a message. mu is held; nothing is flushed. Errors: ErrGone, errFull.
func (c *conn) begin(header, message []byte, last bool) (id uint32, err error) {
	switch {
	case c.next >= c.end || int64(len(message)) > min(c.stream, window):
		return 0, ErrGone
	case c.window < int64(len(message)):
		return 0, errFull
	}
	id = c.next
	c.next += 2
	if err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: header, EndHeaders: true}); err != nil {
		return id, err
	}
	return id, c.send(id, message, last)
}

// send writes a message for which there is room. mu is held.
func (c *conn) send(id uint32, message []byte, last bool) error {
	c.window -= int64(len(message))
	for {
		some := message[:min(len(message), frameMost)]
		message = message[len(some):]
		if err := c.frames.WriteData(id, last && len(message) == 0, some); err != nil || len(message) == 0 {
			return err
		}
	}
}

// read gives the next frame, good until the next read. Errors: errQuiet when none is there in time, which was while from when
// it began (see patience); the server is then asked for a sign of life before long.
func (c *conn) read(while time.Duration) (http2.Frame, error) {
	if err := c.wait(while); err != nil {
		return nil, err
	}
	f, err := c.frames.ReadFrame()
	if err != nil {
		return nil, err
	}
	c.last = 0
	if d, ok := f.(*http2.DataFrame); ok {
		c.last = d.Length
		c.unread += d.Length
	}
	if f.Header().StreamID != 0 {
		return f, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return f, c.own(f)
}

// wait returns when a whole frame is there.
func (c *conn) wait(while time.Duration) error {
	for want := frameHead; ; {
		head, err := c.in.Peek(want)
		switch {
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case err != nil:
			return c.quieter(while)
		case want == frameHead:
			want += min(int(head[0])<<16|int(head[1])<<8|int(head[2]), frameMost) // the framer refuses a larger one
		}
		if c.in.Buffered() >= want {
			c.quiet, c.asked = time.Time{}, time.Time{}
			return nil
		}
	}
}

// quieter is told when nothing came for a while. Errors: errQuiet; that the server is gone.
func (c *conn) quieter(while time.Duration) error {
	now := time.Now()
	if c.quiet.IsZero() {
		c.quiet = now.Add(-while)
	}
	switch {
	case !c.asked.IsZero() && now.Sub(c.asked) >= c.conf.Patience:
		return errors.New("no sign of life")
	case c.asked.IsZero() && now.Sub(c.quiet) >= c.conf.Ping:
		c.asked = now
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := errors.Join(c.frames.WritePing(false, [8]byte{}), c.out.Flush()); err != nil {
			return err
		}
	}
	return errQuiet
}

// patience is how long from now on read waits, also one that waits already. Client's lock is held: so nobody is overlooked.
func (c *conn) patience(d time.Duration) {
	c.patient = d
	_ = c.SetReadDeadline(time.Now().Add(d)) // of a connection that is closed reading says it
}

// whole tells whether a frame can be read without waiting.
func (c *conn) whole() bool {
	if c.in.Buffered() < frameHead {
		return false
	}
	head, err := c.in.Peek(frameHead)
	return err == nil && c.in.Buffered() >= frameHead+min(int(head[0])<<16|int(head[1])<<8|int(head[2]), frameMost)
}

// alive looks whether a connection that nobody reads is still there, and takes what has come.
func (c *conn) alive() bool {
	for c.in.Buffered() > 0 || c.pending() {
		c.patience(stall)
		if _, err := c.read(stall); err != nil {
			return false
		}
	}
	return c.next < c.end
}

// pending tells whether there is something to read: bytes, or the end.
func (c *conn) pending() bool {
	some := true
	c.socket(func(fd int) {
		_, _, err := syscall.Recvfrom(fd, make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		some = !errors.Is(err, syscall.EAGAIN)
	})
	return some
}

// worth says what is worth waking up for: what a server measures with is not, while an answer is waited for that has not
// begun. It is read with that, and an answer that is as short as that a little later.
func (c *conn) worth(answer bool) {
	least := 1
	if answer {
		if least = measureSize + 1; c.scheme == "https" {
			least += recordSize
		}
	}
	if c.least != least {
		c.least = least
		c.socket(func(fd int) { _ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, least) }) // it wakes oftener else
	}
}

// socket calls f, unless the connection is closed, which reading says.
func (c *conn) socket(f func(fd int)) {
	under := c.Conn
	if t, ok := under.(*tls.Conn); ok {
		under = t.NetConn()
	}
	if raw, err := under.(*net.TCPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// own takes a frame that is about the connection and answers it. mu is held.
func (c *conn) own(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if n, ok := f.Value(http2.SettingInitialWindowSize); ok {
			c.stream = int64(n)
		}
		if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
			c.streams = int(min(n, 1<<20))
		}
		return errors.Join(c.frames.WriteSettingsAck(), c.out.Flush())
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.pong(f.Data)
		}
	case *http2.WindowUpdateFrame:
		c.window += int64(f.Increment)
	case *http2.GoAwayFrame:
		c.end = min(c.end, f.LastStreamID+1)
	}
	return nil
}

// pong answers a ping with what is sent next: gRPC's servers send one with almost each call, to measure the connection, and
// nothing waits for its answer. mu is held.
func (c *conn) pong(data [8]byte) error {
	if !c.owed {
		c.owed = true
		time.AfterFunc(pongPatience, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.owed = false
			_ = c.out.Flush() // whoever reads says it
		})
	}
	return c.frames.WritePing(true, data)
}

// worse looks at an error: a server that has no leader, or ends, gets nothing new, since another one may be better off.
// Client's lock is held.
func (c *conn) worse(err error) {
	if status.Code(err) == codes.Unavailable {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end = min(c.end, c.next)
	}
}

// room tells the server that what was read has been taken, once it is worth a frame: of the connection, and of the stream of
// which the last frame was, if it is one that goes on (else 0). It is the leader's to call.
func (c *conn) room(id uint32) error {
	all, one := uint32(0), uint32(0)
	if c.unread >= c.conf.Window/2 {
		all, c.unread = c.unread, 0
	}
	if id != 0 {
		if c.unreadStream += c.last; c.unreadStream >= c.conf.Window/2 {
			one, c.unreadStream = c.unreadStream, 0
		}
	}
	if all+one == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if all > 0 {
		err = c.frames.WriteWindowUpdate(0, all)
	}
	if one > 0 {
		err = errors.Join(err, c.frames.WriteWindowUpdate(id, one))
	}
	return errors.Join(err, c.out.Flush())
}

// verdict is the status that a header or trailer carries; known: it carries one. An answer without gRPC's is one of HTTP.
func verdict(f *http2.MetaHeadersFrame) (err error, known bool) {
	code, message := "", ""
	for _, h := range f.Fields {
		switch h.Name {
		case "grpc-status":
			code = h.Value
		case "grpc-message":
			message = h.Value
		}
	}
	switch n, e := strconv.ParseUint(code, 10, 32); {
	case code == "0":
		return nil, true
	case code != "" && e == nil:
		if plain, err := url.PathUnescape(message); err == nil {
			message = plain
		}
		return status.Error(codes.Code(n), message), true
	case f.StreamEnded():
		return status.Errorf(codes.Unavailable, "HTTP status %q, and none of gRPC", f.PseudoValue("status")), true
	}
	return nil, false
}

// broken is the error of a call whose outcome is not known, because of err.
func broken(err error) error {
	return status.Errorf(codes.Unavailable, "the connection broke: %v", err)
}

const prefixSize = 5

// prefix appends what stands before a message of so many bytes.
func prefix(room []byte, size int) []byte {
	return append(room, 0, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}
