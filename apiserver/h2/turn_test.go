package h2_test

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// alone sends so many writes, one after the other, and returns the number of the next stream.
func (p *peer) alone(from uint32, n int) uint32 {
	p.t.Helper()
	for range n {
		p.ask(from, "POST", "/", true)
		p.body(from)
		from += 2
	}
	return from
}

// byReader tells whether the reader of a connection runs the handler whose call this is.
func byReader() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "serveTaken") {
			return true
		}
		if !more {
			return false
		}
	}
}

// TestReaderServes: writes that come alone are served by the reader, and never a read.
func TestReaderServes(t *testing.T) {
	var here, all atomic.Int32
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if all.Add(1); byReader() {
			here.Add(1)
			if r.Method == http.MethodGet {
				t.Error("the reader serves a GET")
			}
		}
		_, _ = io.WriteString(w, "x")
	}))
	p := dial(t, s)
	next := p.alone(1, 100)
	if n := here.Load(); n < 50 {
		t.Errorf("the reader served %d of 100 requests that came alone", n)
	}
	p.ask(next, "GET", "/", true)
	p.body(next)
}

// TestReaderPassesOn: a handler that takes long keeps nobody else on its connection waiting, and learns that its client
// reset the stream; the connection goes on well afterwards, whichever of the goroutines ends first.
func TestReaderPassesOn(t *testing.T) {
	released := make(chan struct{})
	var kept atomic.Int32
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/held":
			if byReader() {
				kept.Add(1)
			}
			<-released
		case "/until":
			if byReader() {
				kept.Add(1)
			}
			<-r.Context().Done()
			released <- struct{}{}
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	p := dial(t, s)
	next := uint32(1)
	for range 3 {
		held := p.alone(next, 20)
		p.ask(held, "POST", "/held", true)
		next = held + 2
		p.ask(next, "POST", "/other", true)
		if got := string(p.body(next)); got != "/other" {
			t.Fatalf("got %q while another waits", got)
		}
		next = p.alone(next+2, 20)
		released <- struct{}{}
		if got := string(p.body(held)); got != "/held" {
			t.Fatalf("got %q", got)
		}
		next = p.alone(next, 20)
		p.ask(next, "POST", "/until", true)
		p.must(p.WriteRSTStream(next, http2.ErrCodeCancel))
		<-released // the handler saw it
		next += 2
	}
	p.alone(next, 20)
	if kept.Load() == 0 {
		t.Error("no handler that took long was served by the reader: nothing is proven")
	}
}

// TestReaderServesPanic: what panics on the reader resets its stream and nothing else.
func TestReaderServesPanic(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("of a handler")
		}
		_, _ = io.WriteString(w, "x")
	}))
	p := dial(t, s)
	next := p.alone(1, 20)
	p.ask(next, "POST", "/panic", true)
	if code := p.resetWith(next); code != http2.ErrCodeInternal {
		t.Errorf("reset with %v", code)
	}
	p.alone(next+2, 20)
}

// TestReaderServesLargeAnswer: the reader's own handler waits for window that only reading gives.
func TestReaderServesLargeAnswer(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int64(1)
		if r.URL.Path == "/large" {
			n = 1 << 20
		}
		_, _ = io.Copy(w, io.LimitReader(zeros{}, n))
	}))
	p := dial(t, s)
	next := p.alone(1, 20)
	p.ask(next, "POST", "/large", true)
	got := 0
	p.until(func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if !ok || d.StreamID != next {
			return false
		}
		if n := len(d.Data()); n > 0 {
			got += n
			p.must(p.WriteWindowUpdate(0, uint32(n)))
			p.must(p.WriteWindowUpdate(next, uint32(n)))
		}
		return d.StreamEnded()
	})
	if got != 1<<20 {
		t.Errorf("got %d bytes", got)
	}
}

// TestReaderServesLost: a handler that the reader serves learns that its client is gone.
func TestReaderServesLost(t *testing.T) {
	told := make(chan bool)
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/until" {
			<-r.Context().Done()
			told <- byReader()
		}
		_, _ = io.WriteString(w, "x")
	}))
	for range 10 {
		p := dial(t, s)
		p.ask(p.alone(1, 20), "POST", "/until", true)
		_ = p.conn.Close()
		if <-told {
			return
		}
	}
	t.Error("the reader served none of ten: nothing is proven")
}
