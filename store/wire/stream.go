package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const keepMost = 256 << 10 // bytes of a buffer that is kept for the next message

// Stream is one call with many messages each way, on a connection of its own: whoever reads slowly is sent no more.
type Stream struct {
	c    *conn
	id   uint32
	stop func() bool

	got  []byte // of a message that is not whole
	used int    // of that, given already
	end  error
}

// Open connects, for as long as dialling and the header take, and sends a first message. The stream ends with ctx; it must be closed.
func Open(ctx context.Context, conf Config, method string, message []byte, metadata ...hpack.HeaderField) (*Stream, error) {
	dialling, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	c, err := dial(dialling, conf)
	if err != nil {
		return nil, err
	}
	s := &Stream{c: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.id, err = c.begin(c.header(method, metadata...), append(prefix(nil, len(message)), message...), false)
	if err = errors.Join(err, c.out.Flush()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s.stop = context.AfterFunc(ctx, func() { _ = c.Close() }) // Recv says it
	return s, nil
}

// Close ends the stream. Recv must have returned, or ctx have ended.
func (s *Stream) Close() {
	s.stop()
	_ = s.c.Close() // nothing is owed to it
}

// Send sends a message, beside Recv; one for which the server has no room is left out. Errors: that of a broken connection.
func (s *Stream) Send(message []byte) error {
	m := append(prefix(nil, len(message)), message...)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.window < int64(len(m)) {
		return nil
	}
	return errors.Join(s.c.send(s.id, m, false), s.c.out.Flush())
}

// Recv gives the next message, good until the next Recv. Errors: a status of gRPC's; io.EOF after the last.
func (s *Stream) Recv() ([]byte, error) {
	if s.got = s.got[:copy(s.got, s.got[s.used:])]; len(s.got) == 0 && cap(s.got) > keepMost {
		s.got = nil
	}
	s.used = 0
	for {
		if len(s.got) >= 5 {
			size := int(binary.BigEndian.Uint32(s.got[1:]))
			if s.got[0] != 0 {
				return nil, status.Error(codes.Internal, "a compressed message, which was not asked for")
			}
			if s.used = 5 + size; len(s.got) >= s.used {
				return s.got[5:s.used], nil
			}
			s.used = 0
		}
		if s.end != nil {
			return nil, s.end
		}
		f, err := s.c.read(min(s.c.conf.Ping, s.c.conf.Patience))
		if errors.Is(err, errQuiet) {
			continue
		}
		if err != nil {
			return nil, broken(err)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			s.got = append(s.got, f.Data()...)
			if err := s.c.room(s.id); err != nil {
				return nil, broken(err)
			}
			if f.StreamEnded() {
				s.end = broken(io.ErrUnexpectedEOF)
			}
		case *http2.MetaHeadersFrame:
			if err, over := verdict(f); over {
				if s.end = io.EOF; err != nil {
					s.end = err
				}
			}
		case *http2.RSTStreamFrame:
			s.end = status.Errorf(codes.Unavailable, "stream reset: %v", f.ErrCode)
		}
	}
}
