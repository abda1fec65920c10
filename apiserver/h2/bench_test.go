package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/lighter-k8s/lighter/apiserver/h2"
)

// The benchmarks run each on net/http's server and on ours. The client is but a socket and a framer, in the same process:
// its share of ns/op, cpu-us/op and allocs/op is the same for both.

// cpu is what the process used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func both(b *testing.B, run func(b *testing.B, std bool)) {
	for name, std := range map[string]bool{"net http": true, "h2": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := cpu()
			run(b, std)
			b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// echoes sends n requests with a body of 1.5 KB over the connection, so many at once.
func (p *peer) echoes(n, atOnce int) {
	body := make([]byte, 1500)
	p.SetReuseFrames()
	next, left := uint32(1), n
	ask := func() {
		if left > 0 {
			left--
			p.ask(next, "POST", "/", false, "content-length", "1500", "content-type", "application/json")
			p.must(p.WriteData(next, true, body))
			next += 2
		}
	}
	for range atOnce {
		ask()
	}
	got := 0
	for ended := 0; ended < n; {
		p.until(func(f http2.Frame) bool {
			if d, ok := f.(*http2.DataFrame); ok {
				if got += len(d.Data()); got > 30000 {
					p.must(p.WriteWindowUpdate(0, uint32(got)))
					got = 0
				}
				return d.StreamEnded()
			}
			return f.Header().Type == http2.FrameHeaders && f.Header().Flags.Has(http2.FlagHeadersEndStream)
		})
		ended++
		ask()
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, at := range []struct{ conns, each int }{{1, 1}, {8, 8}} {
		b.Run(fmt.Sprintf("C=%d", at.conns*at.each), func(b *testing.B) {
			both(b, func(b *testing.B, std bool) {
				s := serve(b, std, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					data := make([]byte, r.ContentLength)
					_, _ = io.ReadFull(r.Body, data)
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Content-Length", "1500")
					_, _ = w.Write(data)
				}))
				peers := make([]*peer, at.conns)
				for n := range peers {
					peers[n] = dial(b, s)
					_ = peers[n].conn.SetDeadline(time.Now().Add(time.Minute))
				}
				b.ResetTimer()
				var g sync.WaitGroup
				for n, p := range peers {
					share := b.N / at.conns
					if n == 0 {
						share += b.N % at.conns
					}
					g.Go(func() { p.echoes(share, at.each) })
				}
				g.Wait()
			})
		})
	}
}

// BenchmarkFanOut is one event of 7.3 KB to one of 500 streams on 8 connections: what a watch does.
func BenchmarkFanOut(b *testing.B) {
	const conns, streams, size = 8, 500, 7300
	both(b, func(b *testing.B, std bool) {
		event := make([]byte, size)
		var mu sync.Mutex
		next := sync.NewCond(&mu)
		events := 0
		stop := make(chan struct{})
		var open sync.WaitGroup
		open.Add(streams)
		s := serve(b, std, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			send := func(p []byte) error {
				if _, err := w.Write(p); err != nil {
					return err
				}
				return http.NewResponseController(w).Flush()
			}
			if stream, ok := w.(h2.Stream); ok {
				send = stream.WriteFlush
			}
			_ = http.NewResponseController(w).Flush()
			open.Done()
			for sent := 0; ; sent++ {
				mu.Lock()
				for events == sent {
					next.Wait()
				}
				mu.Unlock()
				if sent >= 1<<30 || send(event) != nil {
					return
				}
			}
		}))
		var reading sync.WaitGroup
		arrived := make(chan int, 1000)
		for n := range conns {
			p := dial(b, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
			_ = p.conn.SetDeadline(time.Now().Add(10 * time.Minute))
			p.must(p.WriteWindowUpdate(0, 1<<31-1-65535))
			for k := n; k < streams; k += conns {
				p.ask(uint32(k/conns*2+1), "GET", "/", true)
			}
			reading.Go(func() {
				in := make([]byte, 64<<10)
				since := 0
				for {
					k, err := p.conn.Read(in)
					if err != nil {
						return
					}
					if since += k; since > 1<<30 { // frames' heads count too: a little less than arrived
						_ = p.WriteWindowUpdate(0, 1<<30-1<<20)
						since = 0
					}
					select {
					case arrived <- k:
					case <-stop:
						return
					}
				}
			})
		}
		open.Wait()
		time.Sleep(100 * time.Millisecond) // for what the beginning still says
		for len(arrived) > 0 {
			<-arrived
		}
		b.ResetTimer()
		began := cpu()
		for n := 0; n < b.N; n += streams {
			mu.Lock()
			events++
			mu.Unlock()
			next.Broadcast()
			for left := streams * (size + 9); left > 0; {
				left -= <-arrived
			}
		}
		b.StopTimer()
		rounds := (b.N + streams - 1) / streams
		b.ReportMetric(float64((cpu()-began).Nanoseconds())/float64(rounds*streams)/1000, "event-cpu-us")
		close(stop)
		s.CloseClientConnections()
		mu.Lock()
		events = 1 << 30
		mu.Unlock()
		next.Broadcast()
		reading.Wait()
	})
}

// TestEventAllocates: what a watch sends costs no allocation.
func TestEventAllocates(t *testing.T) {
	var pool sync.Pool
	for range 100 {
		if pool.Put(t); pool.Get() == nil {
			t.Skip("the race detector has pools forget")
		}
	}
	event := bytes.Repeat([]byte("x"), 7300)
	result := make(chan float64, 1)
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream := w.(h2.Stream)
		result <- testing.AllocsPerRun(1000, func() {
			if err := stream.WriteFlush(event); err != nil {
				t.Error(err)
			}
		})
	}))
	p := dial(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.must(p.WriteWindowUpdate(0, 1<<30))
	p.SetReuseFrames()
	p.ask(1, "GET", "/", true)
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
	if n := <-result; n > 0.1 { // a pool may be emptied by the garbage collector
		t.Errorf("%v allocations an event", n)
	}
}
