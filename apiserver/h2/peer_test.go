package h2_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a client that sends what it is told to, right or wrong, and reads only when it is told to.
type peer struct {
	t    testing.TB
	conn *tls.Conn
	*http2.Framer
	head bytes.Buffer
	enc  *hpack.Encoder
	dec  *hpack.Decoder
	why  string // of the last GOAWAY
}

// dial connects and sends the preface and these settings.
func dial(t testing.TB, s *httptest.Server, settings ...http2.Setting) *peer {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &peer{t: t, conn: conn, Framer: http2.NewFramer(conn, conn)}
	p.AllowIllegalWrites = true
	p.enc, p.dec = hpack.NewEncoder(&p.head), hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	p.must(p.WriteSettings(settings...))
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// block encodes fields: name, value, name, value ...
func (p *peer) block(fields ...string) []byte {
	p.head.Reset()
	for n := 0; n < len(fields); n += 2 {
		p.must(p.enc.WriteField(hpack.HeaderField{Name: fields[n], Value: fields[n+1]}))
	}
	return p.head.Bytes()
}

// ask sends a request's header.
func (p *peer) ask(stream uint32, method, path string, end bool, more ...string) {
	p.t.Helper()
	p.must(p.tryAsk(stream, method, path, end, more...))
}

// tryAsk is ask where the server may have gone.
func (p *peer) tryAsk(stream uint32, method, path string, end bool, more ...string) error {
	fields := append([]string{":method", method, ":scheme", "https", ":path", path, ":authority", "x"}, more...)
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.block(fields...), EndStream: end, EndHeaders: true})
}

// until reads frames until one is what is looked for, and acknowledges settings and pings.
func (p *peer) until(found func(http2.Frame) bool) {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("looking for a frame: %v", err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			p.must(p.WriteSettingsAck())
		}
		if found(f) {
			return
		}
		if ping, ok := f.(*http2.PingFrame); ok && !ping.IsAck() {
			p.must(p.WritePing(true, ping.Data))
		}
	}
}

// goneWith reads until the server ends the connection and returns the code of its GOAWAY.
func (p *peer) goneWith() (code http2.ErrCode, said bool) {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		var network net.Error
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
			p.t.Fatal("the connection goes on")
		case err != nil:
			return code, said
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code, said = g.ErrCode, true
			p.why = string(g.DebugData())
		}
		if ping, ok := f.(*http2.PingFrame); ok && !ping.IsAck() {
			_ = p.WritePing(true, ping.Data) // it may be gone
		}
	}
}

// resetWith reads until the stream is reset.
func (p *peer) resetWith(stream uint32) (code http2.ErrCode) {
	p.t.Helper()
	p.until(func(f http2.Frame) bool {
		if r, ok := f.(*http2.RSTStreamFrame); ok && r.StreamID == stream {
			code = r.ErrCode
			return true
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			p.t.Fatalf("GOAWAY %v %s", g.ErrCode, g.DebugData())
		}
		return false
	})
	return code
}

// body reads a stream's DATA to its end.
func (p *peer) body(stream uint32) (out []byte) {
	p.t.Helper()
	p.until(func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.DataFrame:
			if f.StreamID == stream {
				out = append(out, f.Data()...)
				return f.StreamEnded()
			}
		case *http2.HeadersFrame:
			return f.StreamID == stream && f.StreamEnded()
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				p.t.Fatalf("reset %v", f.ErrCode)
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				p.t.Fatalf("GOAWAY %v %s", f.ErrCode, f.DebugData())
			}
		}
		return false
	})
	return out
}
