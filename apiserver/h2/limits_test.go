package h2_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// wait blocks until its client is gone.
func wait(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestMalformed: what is wrong with one request resets that stream alone.
func TestMalformed(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	good := []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x"}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	for name, fields := range map[string][]string{
		"no method":                       {":scheme", "https", ":path", "/"},
		"no path":                         {":method", "GET", ":scheme", "https"},
		"empty path":                      {":method", "GET", ":scheme", "https", ":path", ""},
		"path without a slash":            {":method", "GET", ":scheme", "https", ":path", "x"},
		"star that is no OPTIONS":         {":method", "GET", ":scheme", "https", ":path", "*"},
		"another scheme":                  {":method", "GET", ":scheme", "gopher", ":path", "/"},
		"method that is no token":         {":method", "G T", ":scheme", "https", ":path", "/"},
		"CONNECT with a path":             {":method", "CONNECT", ":scheme", "https", ":path", "/", ":authority", "x"},
		"path twice":                      with(":path", "/"),
		"answer's pseudo-header":          {":status", "200", ":method", "GET", ":scheme", "https", ":path", "/"},
		"pseudo-header behind others":     {":method", "GET", ":scheme", "https", "a", "b", ":path", "/"},
		"upper case":                      with("Accept", "x"),
		"name that is no token":           with("a b", "x"),
		"empty name":                      with("", "x"),
		"line feed in a value":            with("a", "b\nc"),
		"NUL in a value":                  with("a", "b\x00c"),
		"connection":                      with("connection", "close"),
		"transfer-encoding":               with("transfer-encoding", "chunked"),
		"te that is not trailers":         with("te", "gzip"),
		"another host":                    with("host", "y"),
		"length that is no number":        with("content-length", "x"),
		"negative length":                 with("content-length", "-1"),
		"two lengths":                     with("content-length", "0", "content-length", "0"),
		"length of a body that is absent": with("content-length", "3"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, s)
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(fields...), EndStream: true, EndHeaders: true}))
			if code := p.resetWith(1); code != http2.ErrCodeProtocol {
				t.Errorf("reset with %v", code)
			}
			p.ask(3, "GET", "/fine", true, "te", "trailers", "host", "x")
			if got := string(p.body(3)); got != "/fine" {
				t.Errorf("the next request is answered %q", got)
			}
		})
	}
}

// TestFloods: what costs the peer little and us much ends the connection.
func TestFloods(t *testing.T) {
	var running, most atomic.Int64
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer running.Add(-1)
		switch r.URL.Path {
		case "/stubborn": // does not look at its context for a while
			time.Sleep(200 * time.Millisecond)
		case "/wait":
			wait(w, r)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}), func(s *http.Server) { s.HTTP2.MaxConcurrentStreams = 50 })
	for name, tt := range map[string]struct {
		begin func(p *peer)
		send  func(p *peer, n int) error
		why   string // what GOAWAY says; "": it may not come to it
	}{
		"PING": {send: func(p *peer, n int) error { return p.WritePing(false, [8]byte{byte(n)}) }},
		"SETTINGS": {send: func(p *peer, n int) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384})
		}},
		"PRIORITY": {send: func(p *peer, n int) error {
			return p.WritePriority(uint32(2*n+1), http2.PriorityParam{StreamDep: 0, Weight: 1})
		}},
		"WINDOW_UPDATE": {begin: func(p *peer) { p.ask(1, "GET", "/wait", true) },
			send: func(p *peer, n int) error { return p.WriteWindowUpdate(1, 1) }},
		"empty DATA": {begin: func(p *peer) { p.ask(1, "POST", "/", false) },
			send: func(p *peer, n int) error { return p.WriteData(1, false, nil) }},
		"unknown frames": {send: func(p *peer, n int) error { return p.WriteRawFrame(0xbe, 0, 0, []byte("?")) }},
		"rapid reset": {why: "streams reset", send: func(p *peer, n int) error {
			if err := p.tryAsk(uint32(2*n+1), "GET", "/wait", true); err != nil {
				return err
			}
			return p.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel)
		}},
		"rapid reset of handlers that do not end": {why: "streams reset", send: func(p *peer, n int) error {
			if err := p.tryAsk(uint32(2*n+1), "GET", "/stubborn", true); err != nil {
				return err
			}
			return p.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel)
		}},
		"streams that make us reset them": {why: "streams reset", send: func(p *peer, n int) error {
			if err := p.tryAsk(uint32(2*n+1), "GET", "/wait", true); err != nil {
				return err
			}
			return p.WriteWindowUpdate(uint32(2*n+1), 0)
		}},
		"CONTINUATION without end": {begin: func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":method", "GET")}))
		}, send: func(p *peer, n int) error {
			return p.WriteContinuation(1, false, p.block("a", strings.Repeat("b", 4000)))
		}},
		"empty CONTINUATION": {begin: func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":method", "GET")}))
		}, send: func(p *peer, n int) error { return p.WriteContinuation(1, false, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, s)
			over := make(chan http2.ErrCode, 1)
			go func() {
				code, said := p.goneWith()
				if !said {
					code = http2.ErrCodeEnhanceYourCalm
				}
				over <- code
			}()
			if tt.begin != nil {
				tt.begin(p)
			}
			for n := range 1 << 20 {
				if tt.send(p, n) != nil {
					break
				}
			}
			if code := <-over; code != http2.ErrCodeEnhanceYourCalm || p.why != tt.why && tt.why != "" {
				t.Errorf("GOAWAY with %v %q", code, p.why)
			}
		})
	}
	if n := most.Load(); n > 50+10 { // those of the row before may still run
		t.Errorf("%d handlers ran at once where a connection may have 50", n)
	}
}

// TestSteadyPeer: a client that reads in small pieces and says so each time is not taken for a flood, nor is one that pings.
func TestSteadyPeer(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.CopyN(w, zeros{}, 40<<20) }))
	p := dial(t, s)
	p.ask(1, "GET", "/", true)
	got := 0
	p.until(func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if !ok {
			return false
		}
		got += len(d.Data())
		for left := len(d.Data()); left > 0; left -= 1024 {
			p.must(p.WriteWindowUpdate(0, uint32(min(left, 1024))))
			p.must(p.WriteWindowUpdate(1, uint32(min(left, 1024))))
		}
		return d.StreamEnded()
	})
	if got != 40<<20 {
		t.Errorf("%d bytes", got)
	}
}

// TestTooManyStreams: what is beyond the limit is refused, and may be asked again.
func TestTooManyStreams(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(wait), func(s *http.Server) { s.HTTP2.MaxConcurrentStreams = 3 })
	p := dial(t, s)
	for n := range uint32(4) {
		p.ask(2*n+1, "GET", "/", true)
	}
	if code := p.resetWith(7); code != http2.ErrCodeRefusedStream {
		t.Errorf("reset with %v", code)
	}
}

// TestHeaderTooLarge: 431, and the connection goes on with a table that both sides still share.
func TestHeaderTooLarge(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Last")) }),
		func(s *http.Server) { s.MaxHeaderBytes = 16 << 10 })
	for _, size := range []int{1000, 20000} {
		r, err := http.NewRequest("GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 10 {
			r.Header.Set(fmt.Sprintf("Field-%d", n), strings.Repeat("x", size/10))
		}
		r.Header.Set("Last", fmt.Sprint(size))
		want := 200
		if size > 16<<10 {
			want = 431
		}
		c := s.Client()
		resp, err := c.Do(r)
		if err != nil && want == 431 && strings.Contains(err.Error(), "header list larger") {
			continue // the client keeps to our SETTINGS itself
		}
		if err != nil || resp.StatusCode != want {
			t.Fatal(size, resp, err)
		}
		_ = resp.Body.Close()
	}
	p := dial(t, s)
	fields := []string{}
	for n := range 30 {
		fields = append(fields, fmt.Sprintf("f-%d", n), strings.Repeat("x", 1000))
	}
	first := p.block(append([]string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x"}, fields...)...)
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first[:10000], EndStream: true}))
	p.must(p.WriteContinuation(1, false, first[10000:20000]))
	p.must(p.WriteContinuation(1, true, first[20000:]))
	status := ""
	p.dec.SetEmitFunc(nil)
	p.until(func(f http2.Frame) bool {
		h, ok := f.(*http2.HeadersFrame)
		if !ok {
			return false
		}
		got, err := p.dec.DecodeFull(h.HeaderBlockFragment())
		if err != nil {
			t.Fatal(err)
		}
		status = got[0].Value
		return true
	})
	if status != "431" {
		t.Errorf("status %q", status)
	}
	p.ask(3, "GET", "/", true, "last", "still in step")
	if got := string(p.body(3)); got != "still in step" {
		t.Errorf("got %q", got)
	}
}
