package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const keepMost = 256 << 10 // bytes of a buffer that is kept for the next message

// Stream is one call with many messages each way.
type Stream struct {
	w      *Client
	c      *conn
	id     uint32
	handle func(message []byte) error // by whoever leads
	unhook func() bool

	// Client's lock guards these.
	got   []byte // not taken
	end   error
	waits bool          // Serve does, until nobody else leads
	turn  chan struct{} // to say so
	taken chan struct{} // while a message is: closed after that
}

// Open begins a stream with a first message on a connection of its own, for as long as dialling and the header take. Else it is as Client.Stream.
func Open(ctx context.Context, conf Config, method string, message []byte, handle func(message []byte) error, metadata ...hpack.HeaderField) (*Stream, error) {
	dialling, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	c, err := dial(dialling, conf)
	if err != nil {
		return nil, err
	}
	w := &Client{conn: c, closed: true}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := w.begin(ctx, method, message, handle, metadata)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// Stream begins one with a first message on the connection that the calls have, or will have in a moment: an answer and what
// the stream brings with it come as one then. It ends with ctx; Serve must be called. handle is given each message, which is
// its own while it runs, by whoever reads for all: it must be short, and wait for nothing. Its error ends the stream.
// Errors: ErrGone, when there is no connection, or it has a stream already.
func (w *Client) Stream(ctx context.Context, method string, message []byte, handle func(message []byte) error, metadata ...hpack.HeaderField) (*Stream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = time.Time{}
	if !w.usable() && w.dialed != nil {
		dialed := w.dialed
		w.mu.Unlock()
		<-dialed
		w.mu.Lock()
	}
	if !w.usable() || w.stream != nil {
		return nil, ErrGone
	}
	return w.begin(ctx, method, message, handle, metadata)
}

// begin opens the stream. mu is held.
func (w *Client) begin(ctx context.Context, method string, message []byte, handle func(message []byte) error, metadata []hpack.HeaderField) (*Stream, error) {
	s := &Stream{w: w, c: w.conn, handle: handle, turn: make(chan struct{}, 1)}
	s.c.mu.Lock()
	var err error
	s.id, err = s.c.begin(s.c.header(method, metadata...), append(prefix(nil, len(message)), message...), false)
	if !errors.Is(err, ErrGone) && !errors.Is(err, errFull) {
		err = errors.Join(err, s.c.out.Flush())
	}
	s.c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.c.unreadStream = 0
	w.stream = s
	s.unhook = context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.finish(status.Error(codes.Canceled, "the stream was cancelled"))
	})
	return s, nil
}

// Send sends a message; one for which the server has no room is left out. Errors: that of a broken connection.
func (s *Stream) Send(message []byte) error {
	m := append(prefix(nil, len(message)), message...)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.window < int64(len(m)) {
		return nil
	}
	return errors.Join(s.c.send(s.id, m, false), s.c.out.Flush())
}

// Serve reads for all while nobody else does, until the stream ends, and returns why: handle's error, a status of gRPC's, or
// io.EOF when the server wanted so. handle is not called any more then.
func (s *Stream) Serve() error {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for led := false; s.end == nil; {
		if led = led || !w.led; led {
			patience := min(s.c.conf.Ping, s.c.conf.Patience)
			if len(w.open)+len(w.waiting) > 0 {
				patience = stall
			}
			w.lead(patience)
			if s.end != nil {
				w.pass()
			}
			continue
		}
		s.waits = true
		w.mu.Unlock()
		<-s.turn
		w.mu.Lock()
	}
	for s.taken != nil { // by somebody else
		taken := s.taken
		w.mu.Unlock()
		<-taken
		w.mu.Lock()
	}
	s.unhook()
	return s.end
}

// finish ends the stream, for the server too, unless it has ended. Client's lock is held.
func (s *Stream) finish(err error) {
	if s.end != nil {
		return
	}
	s.end = err
	if s.w.stream = nil; s.w.conn == s.c {
		if s.w.next == nil { // nothing else needs it
			_ = s.c.Close()
			s.w.conn = nil
		} else {
			s.c.mu.Lock()
			_ = s.c.frames.WriteRSTStream(s.id, http2.ErrCodeCancel) // whoever reads says it
			_ = s.c.out.Flush()
			s.c.mu.Unlock()
			s.c.patience(0) // Serve may read
		}
	}
	if s.waits {
		s.waits = false
		s.turn <- struct{}{}
	}
}

// take takes a frame of the stream's. Client's lock is held, but not while messages are taken.
func (s *Stream) take(f http2.Frame) {
	switch f := f.(type) {
	case *http2.DataFrame:
		s.got = append(s.got, f.Data()...)
		s.messages()
		if f.StreamEnded() {
			s.finish(broken(io.ErrUnexpectedEOF))
		}
	case *http2.MetaHeadersFrame:
		if err, over := verdict(f); over {
			if err == nil {
				err = io.EOF
			}
			s.finish(err)
		}
	case *http2.RSTStreamFrame:
		s.finish(status.Errorf(codes.Unavailable, "stream reset: %v", f.ErrCode))
	}
}

// messages takes those that are whole.
func (s *Stream) messages() {
	at := 0
	for s.end == nil && len(s.got)-at >= prefixSize {
		if s.got[at] != 0 {
			s.finish(status.Error(codes.Internal, "a compressed message, which was not asked for"))
			return
		}
		size := prefixSize + int(binary.BigEndian.Uint32(s.got[at+1:]))
		if len(s.got)-at < size {
			break
		}
		s.taken = make(chan struct{})
		s.w.mu.Unlock()
		err := s.handle(s.got[at+prefixSize : at+size : at+size])
		s.w.mu.Lock()
		close(s.taken)
		if s.taken = nil; err != nil {
			s.finish(err)
		}
		at += size
	}
	if s.got = s.got[:copy(s.got, s.got[at:])]; len(s.got) == 0 && cap(s.got) > keepMost {
		s.got = nil
	}
}
