package h2_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/lighter-k8s/lighter/apiserver/h2"
)

// TestWindows: an answer waits for a window of 0 and goes out byte by byte through one of 1; other streams do not wait.
func TestWindows(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "0123456789") }))
	p := dial(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.ask(1, "GET", "/", true)
	p.until(func(f http2.Frame) bool { _, ok := f.(*http2.HeadersFrame); return ok })
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}))
	for n := range 10 {
		p.until(func(f http2.Frame) bool {
			d, ok := f.(*http2.DataFrame)
			if ok && (len(d.Data()) != 1 || d.StreamEnded() != (n == 9)) {
				t.Fatalf("%d bytes, end: %v, behind %d", len(d.Data()), d.StreamEnded(), n)
			}
			return ok
		})
		if n == 4 { // another one meanwhile
			p.ask(3, "HEAD", "/", true)
			p.until(func(f http2.Frame) bool {
				return f.Header().StreamID == 3 && f.Header().Flags.Has(http2.FlagHeadersEndStream)
			})
		}
		p.must(p.WriteWindowUpdate(1, 1))
	}
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	p.ask(5, "GET", "/", true)
	if got := string(p.body(5)); got != "0123456789" {
		t.Errorf("got %q", got)
	}
}

// TestConnectionWindow: many streams share one small window of the connection, and all end.
func TestConnectionWindow(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 20000)) }))
	p := dial(t, s)
	const streams = 40
	grown := false
	for n := range uint32(streams) {
		p.ask(2*n+1, "GET", "/", true)
	}
	got, ended := 0, 0
	p.until(func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if !ok {
			return false
		}
		switch got += len(d.Data()); { // when the first window is used up, a little at a time, and then all at once
		case got > 500000:
			if !grown {
				grown = true
				p.must(p.WriteWindowUpdate(0, 1<<20))
			}
		case got >= 65535:
			p.must(p.WriteWindowUpdate(0, uint32(1+rand.IntN(5000))))
		}
		if d.StreamEnded() {
			ended++
		}
		return ended == streams
	})
	if got != streams*20000 {
		t.Errorf("%d bytes", got)
	}
}

// TestReceiveWindow: who sends more than the window is stopped; what handlers do not read takes no more than it.
func TestReceiveWindow(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(wait))
	p := dial(t, s)
	p.until(func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() }) // from here on one goroutine writes
	p.ask(1, "POST", "/", false)
	go func() {
		for range 100 {
			if p.WriteData(1, false, make([]byte, 16000)) != nil {
				return
			}
		}
	}()
	if code := p.resetWith(1); code != http2.ErrCodeFlowControl {
		t.Errorf("reset with %v", code)
	}
}

// TestReceiveWindowOfAll: streams that each keep to their window, but together exceed the connection's, end it.
func TestReceiveWindowOfAll(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(wait))
	p := dial(t, s)
	p.until(func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	go func() {
		for n := range uint32(4) {
			if p.tryAsk(2*n+1, "POST", "/", false) != nil {
				return
			}
			for range 25 {
				if p.WriteData(2*n+1, false, make([]byte, 16000)) != nil {
					return
				}
			}
		}
	}()
	if code, _ := p.goneWith(); code != http2.ErrCodeFlowControl {
		t.Errorf("GOAWAY with %v", code)
	}
}

// TestHalfways: a body that nobody reads is called off when the answer is complete; an answer that falls short of its length
// is reset.
func TestHalfways(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, strings.TrimPrefix(r.URL.Path, "/"))
	}))
	p := dial(t, s)
	p.ask(1, "POST", "/whole", false)
	if got := string(p.body(1)); got != "whole" {
		t.Errorf("got %q", got)
	}
	if code := p.resetWith(1); code != http2.ErrCodeNo {
		t.Errorf("a body that nobody reads: %v", code)
	}
	p.must(p.WriteData(1, false, []byte("was on its way")))
	p.ask(3, "GET", "/part", true)
	if code := p.resetWith(3); code != http2.ErrCodeInternal {
		t.Errorf("an answer that is too short: %v", code)
	}
}

// TestManyStalled: many clients who read nothing hold a bounded amount, and others are served as before.
func TestManyStalled(t *testing.T) {
	var ours *h2.Server
	s := serveOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/some" {
			_, _ = w.Write(make([]byte, 200000))
			return
		}
		for {
			if _, err := w.Write(make([]byte, 30000)); err != nil {
				return
			}
		}
	}), &ours)
	const stalled = 120
	for range stalled {
		p := dial(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		p.must(p.WriteWindowUpdate(0, 1<<30))
		for n := range uint32(2) {
			p.ask(2*n+1, "GET", "/endless", true)
		}
	}
	for before := int64(-1); before != ours.Held() || before < h2.HeldMost; time.Sleep(200 * time.Millisecond) {
		before = ours.Held()
	}
	if held, most := ours.Held(), int64(h2.HeldMost+stalled*18<<10+1<<20); held > most {
		t.Errorf("%d bytes are held, at most %d may be", held, most)
	}
	var g sync.WaitGroup
	for range 50 {
		g.Go(func() {
			resp, err := s.Client().Get(s.URL + "/some")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); n != 200000 || err != nil {
				t.Error(n, err)
			}
		})
	}
	g.Wait()
}

// TestWindowOverflow: windows beyond 2^31-1 are an error of the stream or the connection.
func TestWindowOverflow(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(wait))
	p := dial(t, s)
	p.ask(1, "GET", "/", true)
	p.must(p.WriteWindowUpdate(1, 1<<31-1))
	if code := p.resetWith(1); code != http2.ErrCodeFlowControl {
		t.Errorf("reset with %v", code)
	}
	p.must(p.WriteWindowUpdate(0, 1<<31-1))
	if code, _ := p.goneWith(); code != http2.ErrCodeFlowControl {
		t.Errorf("GOAWAY with %v", code)
	}
}

// TestUploads: bodies of all sizes, with and without a length, many at once, come whole; the windows are given back.
func TestUploads(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
			return
		}
		w.Header().Set("Trailer", "Size")
		n, err := io.Copy(w, r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Size", fmt.Sprint(n))
	}))
	var g sync.WaitGroup
	for n := range 60 {
		g.Go(func() {
			want := bytes.Repeat([]byte{byte(n)}, []int{0, 1, 4095, 4096, 4097, 65535, 70000, 1 << 20, 3 << 20}[n%9])
			path, body := "/", io.Reader(bytes.NewReader(want))
			switch n % 4 {
			case 1:
				path = "/half"
			case 2:
				body = io.NopCloser(body) // without a length
			}
			resp, err := s.Client().Post(s.URL+path, "a/b", body)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || path == "/" && (!bytes.Equal(got, want) || resp.Trailer.Get("Size") != fmt.Sprint(len(want))) {
				t.Errorf("%d bytes: %d came back, %v, %v", len(want), len(got), resp.Trailer, err)
			}
		})
	}
	g.Wait()
}

// TestCancelled: a client that goes away ends its handlers, wherever they wait.
func TestCancelled(t *testing.T) {
	var running sync.WaitGroup
	began := make(chan struct{}, 100)
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer running.Done()
		began <- struct{}{}
		switch r.URL.Path {
		case "/reading":
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("a broken body looks whole")
			}
		case "/writing":
			for {
				if _, err := w.Write(make([]byte, 10000)); err != nil {
					break
				}
			}
		}
		<-r.Context().Done()
	}))
	for _, how := range []string{"context", "connection"} {
		for _, path := range []string{"/reading", "/writing", "/waiting"} {
			running.Add(1)
			if how == "connection" {
				p := dial(t, s)
				p.ask(1, "POST", path, false)
				p.must(p.WriteData(1, false, []byte("x")))
				<-began
				_ = p.conn.Close()
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			in, out := io.Pipe()
			r, err := http.NewRequestWithContext(ctx, "POST", s.URL+path, in)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = out.Write([]byte("x")) }()
			go func() {
				if resp, err := s.Client().Do(r); err == nil {
					_ = resp.Body.Close() // nothing was read of it
				}
			}()
			<-began
			cancel()
		}
	}
	all := make(chan struct{})
	go func() { running.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(10 * time.Second):
		t.Fatal("handlers of clients that are gone go on")
	}
}

// TestStalled: a client that reads nothing holds up its own streams, and nobody else's; what it may send is still read.
func TestStalled(t *testing.T) {
	ended := make(chan struct{}, 100)
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			for {
				if _, err := w.Write(make([]byte, 30000)); err != nil {
					ended <- struct{}{}
					return
				}
			}
		}
		_, _ = io.WriteString(w, "quick")
	}))
	p := dial(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.must(p.WriteWindowUpdate(0, 1<<30))
	const streams = 20
	for n := range uint32(streams) {
		p.ask(2*n+1, "GET", "/endless", true)
	}
	for range 50 {
		resp, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(resp.Body); string(got) != "quick" {
			t.Errorf("got %q", got)
		}
		_ = resp.Body.Close()
	}
	for n := range uint32(streams) { // it is heard though it hears nothing
		p.must(p.WriteRSTStream(2*n+1, http2.ErrCodeCancel))
	}
	for range streams - 1 { // one of them is writing, which only the peer or the end of the connection can end
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a stream that was reset waits behind a peer who does not read")
		}
	}
}
