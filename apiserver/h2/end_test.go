package h2_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestShutdown: what runs ends well, what a client begins before it knows is served, and nothing begins after that.
func TestShutdown(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			_ = http.NewResponseController(w).Flush()
			<-release
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	p := dial(t, s)
	p.ask(1, "GET", "/slow", true)
	p.until(func(f http2.Frame) bool { _, ok := f.(*http2.HeadersFrame); return ok })
	done := make(chan error, 1)
	go func() { done <- s.Config.Shutdown(t.Context()) }()
	var ping *http2.PingFrame
	p.until(func(f http2.Frame) bool {
		if g, ok := f.(*http2.GoAwayFrame); ok && (g.LastStreamID != 1<<31-1 || g.ErrCode != http2.ErrCodeNo) {
			t.Errorf("the first GOAWAY is %v", g)
		}
		if x, ok := f.(*http2.PingFrame); ok {
			p.ask(3, "GET", "/crossed", true) // before its answer: as if it had been on the way
			ping = x
		}
		return ping != nil
	})
	if got := string(p.body(3)); got != "/crossed" {
		t.Errorf("got %q", got)
	}
	p.must(p.WritePing(true, ping.Data))
	p.until(func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.LastStreamID == 3
	})
	p.ask(5, "GET", "/late", true)
	select {
	case err := <-done:
		t.Fatalf("the server is down (%v) while a stream runs", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	slow := ""
	for {
		f, err := p.ReadFrame()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok && d.StreamID == 1 {
			slow += string(d.Data())
		}
		if f.Header().StreamID == 5 {
			t.Errorf("a stream behind the last is answered: %v", f)
		}
	}
	if slow != "/slow" {
		t.Errorf("got %q", slow)
	}
	_ = p.conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestClose ends everything at once, stalled writers too.
func TestClose(t *testing.T) {
	ended := make(chan struct{}, 10)
	var written atomic.Int64
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 30000)); err != nil {
				ended <- struct{}{}
				return
			}
			written.Add(1)
		}
	}))
	for range 5 {
		p := dial(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		p.must(p.WriteWindowUpdate(0, 1<<30))
		p.ask(1, "GET", "/", true)
		p.until(func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok })
	}
	for before := int64(-1); before != written.Load(); time.Sleep(200 * time.Millisecond) {
		before = written.Load() // until the sockets are full
	}
	began := time.Now()
	if err := s.Config.Close(); err != nil {
		t.Error(err)
	}
	for range 5 {
		select {
		case <-ended:
		case <-time.After(4 * time.Second): // TLS alone would wait 5 s for each
			t.Fatalf("handlers go on %v after the server was closed", time.Since(began))
		}
	}
}

// TestIdle: a connection without streams ends after IdleTimeout, with a GOAWAY; one with a stream goes on.
func TestIdle(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(wait), func(s *http.Server) { s.IdleTimeout = 100 * time.Millisecond })
	busy, lazy := dial(t, s), dial(t, s)
	busy.ask(1, "GET", "/", true)
	if code, said := lazy.goneWith(); !said || code != http2.ErrCodeNo {
		t.Errorf("GOAWAY %v: %v", said, code)
	}
	busy.must(busy.WritePing(false, [8]byte{1}))
	busy.until(func(f http2.Frame) bool { x, ok := f.(*http2.PingFrame); return ok && x.IsAck() })
}

// TestWriteTimeout: WriteByteTimeout ends a connection whose peer takes nothing for so long.
func TestWriteTimeout(t *testing.T) {
	ended := make(chan struct{})
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 30000)); err != nil {
				close(ended)
				return
			}
		}
	}), func(s *http.Server) { s.HTTP2.WriteByteTimeout = 200 * time.Millisecond })
	p := dial(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.must(p.WriteWindowUpdate(0, 1<<30))
	p.ask(1, "GET", "/", true)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("a peer who reads nothing keeps its writer for ever")
	}
}

// TestConnectionClose: what HTTP/1.1 says with "Connection: close" is a GOAWAY, and no header.
func TestConnectionClose(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	}))
	p := dial(t, s)
	p.ask(1, "GET", "/", true)
	if code, said := p.goneWith(); !said || code != http2.ErrCodeNo {
		t.Errorf("GOAWAY %v: %v", said, code)
	}
}

// TestLateBody: a handler whose short body does not come is started all the same, and may answer.
func TestLateBody(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "asked ")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	}))
	p := dial(t, s)
	p.ask(1, "POST", "/", false, "content-length", "6")
	p.until(func(f http2.Frame) bool { d, ok := f.(*http2.DataFrame); return ok && string(d.Data()) == "asked " })
	p.must(p.WriteData(1, true, []byte("answer")))
	if got := string(p.body(1)); got != "answer" {
		t.Errorf("got %q", got)
	}
}

// TestNoGoroutineStays: when a server was shut down, nothing of it runs.
func TestNoGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			wait(w, r)
		case "/panic":
			panic("on purpose")
		}
	}))
	for range 20 {
		for _, path := range []string{"/", "/panic"} {
			if resp, err := s.Client().Get(s.URL + path); err == nil {
				_ = resp.Body.Close()
			}
		}
		p := dial(t, s)
		for n := range uint32(20) {
			p.ask(2*n+1, "POST", []string{"/", "/wait", "/panic"}[n%3], n%2 == 0)
		}
		_ = p.conn.Close()
	}
	s.Client().CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Config.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for n := 0; runtime.NumGoroutine() > before; n++ {
		if time.Sleep(10 * time.Millisecond); n == 500 {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestCurl: nghttp2's client is of other people's making too.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	if out, _ := exec.Command(curl, "--version").Output(); !strings.Contains(string(out), "HTTP2") {
		t.Skip("this curl knows no HTTP/2")
	}
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "End")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("End", "yes")
	}))
	for _, size := range []int{0, 10, 100000, 3 << 20} {
		c := exec.Command(curl, "-sk", "--http2", "--max-time", "20", "--data-binary", "@-", "-H", "Expect: 100-continue", "-w", "\n%{http_version} %{http_code}", s.URL)
		c.Stdin = strings.NewReader(strings.Repeat("x", size))
		out, err := c.Output()
		if want := strings.Repeat("x", size) + "\n2 200"; err != nil || string(out) != want {
			t.Errorf("%d bytes: %v, %.60q of %d", size, err, out, len(out))
		}
	}
}

// TestHTTP11: connections that do not speak HTTP/2 are net/http's, beneath our listener too.
func TestHTTP11(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "\r\n\r\nHTTP/1.1") {
		t.Errorf("%q, %v", got, err)
	}
}
