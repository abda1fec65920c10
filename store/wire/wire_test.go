package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lighter-k8s/lighter/store/storetest"
	"github.com/lighter-k8s/lighter/store/wire"
)

// server is gRPC's own, with etcd's words: what it puts is noted, and its answer holds it.
type server struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	put   sync.Map
	delay func(key string)
	watch func(pb.Watch_WatchServer) error
}

func (s *server) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if string(r.Key) == "refused" {
		return nil, status.Error(codes.FailedPrecondition, "not so: 100 %\n")
	}
	if s.delay != nil {
		s.delay(string(r.Key))
	}
	s.put.Store(string(r.Key), true)
	return &pb.PutResponse{PrevKv: &mvccpb.KeyValue{Key: r.Key, Value: r.Value[:min(len(r.Value), 3000)]}}, nil
}

func (s *server) Watch(w pb.Watch_WatchServer) error { return s.watch(w) }

func (s *server) start(t *testing.T, o ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(o...)
	pb.RegisterKVServer(g, s)
	pb.RegisterWatchServer(g, s)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return g, "http://" + l.Addr().String()
}

func conf(endpoint string) wire.Config {
	return wire.Config{Endpoint: endpoint, Ping: 10 * time.Second, Patience: 3 * time.Second, Window: 128 << 10}
}

// calls waits until there is a connection.
func calls(t *testing.T, c wire.Config) *wire.Client {
	t.Helper()
	w := wire.NewClient("/etcdserverpb.KV/Put", func() wire.Config { return c })
	t.Cleanup(w.Close)
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(time.Millisecond) {
		if put(t.Context(), w, "first", nil) == nil {
			return w
		}
	}
	t.Fatal("no connection")
	return nil
}

func put(ctx context.Context, w *wire.Client, key string, value []byte) error {
	r := &pb.PutRequest{Key: []byte(key), Value: value}
	answer, err := w.Do(ctx, proto.Size(r), func(room []byte) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(room, r) })
	if err != nil {
		return err
	}
	var p pb.PutResponse
	if err := proto.Unmarshal(answer, &p); err != nil {
		return err
	}
	if string(p.PrevKv.GetKey()) != key || !bytes.Equal(p.PrevKv.GetValue(), value[:min(len(value), 3000)]) {
		return fmt.Errorf("the answer of %q to %q", p.PrevKv.GetKey(), key)
	}
	return nil
}

// Each gets the answer to its own call, whatever goes together, with few streams and with small windows.
func TestTogether(t *testing.T) {
	rnd := storetest.Seed(t)
	seeds := [2]uint64{rnd.Uint64(), rnd.Uint64()}
	for name, o := range map[string][]grpc.ServerOption{
		"plain": nil, "two streams": {grpc.MaxConcurrentStreams(2)}, "small windows": {grpc.InitialWindowSize(65535), grpc.InitialConnWindowSize(65535)},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{}
			_, endpoint := s.start(t, o...)
			w := calls(t, conf(endpoint))
			var all sync.WaitGroup
			for g := range 40 {
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(seeds[0], seeds[1]+uint64(g)))
					for i := range 100 {
						value := bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(100)*rnd.IntN(300))
						if err := put(t.Context(), w, fmt.Sprintf("%d-%d", g, i), value); err != nil {
							t.Errorf("%d bytes: %v", len(value), err)
						}
					}
				})
			}
			all.Wait()
			if err := put(t.Context(), w, "refused", nil); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "not so: 100 %\n" {
				t.Errorf("refused with %v", err)
			}
			if err := put(t.Context(), w, "large", make([]byte, 1<<20)); !errors.Is(err, wire.ErrGone) {
				t.Errorf("a large message: %v", err)
			}
		})
	}
}

// A server that ends, one way or the other: what it did not take up is said to be so, and what it answered was done.
func TestServerEnds(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		t.Run(fmt.Sprintf("graceful: %v", graceful), func(t *testing.T) {
			s := &server{watch: func(w pb.Watch_WatchServer) error { <-w.Context().Done(); return nil }}
			g, endpoint := s.start(t)
			w := calls(t, conf(endpoint))
			var all sync.WaitGroup
			stream, err := w.Stream(t.Context(), watchMethod, progress(t), func([]byte) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if err := stream.Serve(); status.Code(err) != codes.Unavailable {
					t.Errorf("a stream beside them ended with %v", err)
				}
			})
			var gone, unknown, done atomic.Int64
			for n := range 20 {
				all.Go(func() {
					for i := range 100000 {
						key := fmt.Sprintf("%d-%d", n, i)
						err := put(t.Context(), w, key, make([]byte, 500))
						_, was := s.put.Load(key)
						switch {
						case err == nil && was:
							done.Add(1)
							continue
						case errors.Is(err, wire.ErrGone) && !was:
							gone.Add(1)
						case status.Code(err) == codes.Unavailable && !errors.Is(err, wire.ErrGone):
							unknown.Add(1)
						default:
							t.Errorf("%s: done: %v, said %v", key, was, err)
						}
						return
					}
				})
			}
			time.Sleep(20 * time.Millisecond) // the moment is the input
			if graceful {
				g.GracefulStop()
			} else {
				g.Stop()
			}
			all.Wait()
			t.Logf("%d done, %d not taken up, %d unknown", done.Load(), gone.Load(), unknown.Load())
			if done.Load() == 0 || gone.Load()+unknown.Load() != 20 {
				t.Error("it did not end in the middle")
			}
		})
	}
}

// Who does not wait any longer leaves, also when it led; one answer that does not come keeps no other from coming.
func TestLeave(t *testing.T) {
	release := make(chan struct{})
	s := &server{delay: func(key string) {
		if strings.HasPrefix(key, "slow") {
			<-release
		}
	}}
	_, endpoint := s.start(t)
	w := calls(t, conf(endpoint))
	var slow, quick sync.WaitGroup
	slow.Go(func() {
		if err := put(t.Context(), w, "slow", nil); err != nil {
			t.Error(err)
		}
	})
	for n := range 40 {
		slow.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
			defer cancel()
			if err := put(ctx, w, fmt.Sprintf("slow %d", n), nil); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("slow %d: %v", n, err)
			}
		})
		quick.Go(func() {
			for i := range 20 {
				if err := put(t.Context(), w, fmt.Sprintf("%d-%d", n, i), nil); err != nil {
					t.Errorf("%d: %v", n, err)
				}
			}
		})
	}
	quick.Wait()
	alone := calls(t, conf(endpoint))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := put(ctx, alone, "slow and alone", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who leads: %v", err)
	}
	if err := put(t.Context(), alone, "after who led", nil); err != nil {
		t.Error(err)
	}
	close(release)
	slow.Wait()
	if err := put(t.Context(), w, "after", nil); err != nil {
		t.Error(err)
	}
}

// A server that ended while nobody looked is noticed before a call is sent to it.
func TestEndedUnseen(t *testing.T) {
	g, endpoint := (&server{}).start(t)
	w := calls(t, conf(endpoint))
	g.Stop()
	time.Sleep(200 * time.Millisecond) // as long as a connection rests that is looked at
	if err := put(t.Context(), w, "x", nil); !errors.Is(err, wire.ErrGone) {
		t.Errorf("got %v", err)
	}
}

// A server that is slow but answers pings is waited for; one that says nothing is given up.
func TestSilence(t *testing.T) {
	s := &server{delay: func(key string) {
		if key == "slow" {
			time.Sleep(300 * time.Millisecond)
		}
	}}
	_, endpoint := s.start(t)
	c := conf(endpoint)
	c.Ping, c.Patience = 100*time.Millisecond, 10*time.Second
	if err := put(t.Context(), calls(t, c), "slow", nil); err != nil {
		t.Errorf("slow: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var silent atomic.Bool
	go func() { // passes on what is sent, until it is silent
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", endpoint[len("http://"):])
			if err != nil {
				return
			}
			pass := func(to, from net.Conn) {
				for b := make([]byte, 4096); ; {
					n, err := from.Read(b)
					if err != nil {
						to.Close()
						return
					}
					if !silent.Load() {
						_, _ = to.Write(b[:n]) // the next Read says it
					}
				}
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	c.Endpoint, c.Patience = "http://"+l.Addr().String(), 100*time.Millisecond
	w := calls(t, c)
	silent.Store(true)
	if err := put(t.Context(), w, "x", nil); status.Code(err) != codes.Unavailable {
		t.Errorf("silent: %v", err)
	}
}

const watchMethod = "/etcdserverpb.Watch/Watch"

func progress(t *testing.T) []byte {
	r, err := proto.Marshal(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Messages of all sizes come whole and in order, both ways, while the server's end is told apart from a break: on a connection
// of the stream's own, and beside calls.
func TestStream(t *testing.T) {
	rnd := storetest.Seed(t)
	var sizes []int
	for range 200 {
		sizes = append(sizes, rnd.IntN(3000))
	}
	sizes = append(sizes, 0, 1<<20, 3, 2<<20, 100)
	r := progress(t)
	for _, beside := range []bool{false, true} {
		t.Run(fmt.Sprintf("beside calls: %v", beside), func(t *testing.T) {
			s := &server{watch: func(w pb.Watch_WatchServer) error {
				for n, size := range sizes {
					if _, err := w.Recv(); err != nil {
						return err
					}
					if err := w.Send(&pb.WatchResponse{WatchId: int64(n), CancelReason: string(bytes.Repeat([]byte{'x'}, size))}); err != nil {
						return err
					}
				}
				return status.Error(codes.FailedPrecondition, "that was all")
			}}
			_, endpoint := s.start(t)
			w := calls(t, conf(endpoint))
			open := func(ctx context.Context, handle func([]byte) error) *wire.Stream {
				t.Helper()
				stream, err := wire.Open(ctx, conf(endpoint), watchMethod, r, handle)
				if beside {
					stream, err = w.Stream(ctx, watchMethod, r, handle)
				}
				if err != nil {
					t.Fatal(err)
				}
				return stream
			}
			var all sync.WaitGroup
			end := make(chan struct{})
			if beside {
				for g := range 5 {
					all.Go(func() {
						for i := 0; ; i++ {
							select {
							case <-end:
								return
							default:
							}
							if err := put(t.Context(), w, fmt.Sprintf("%d-%d", g, i), make([]byte, i%3000)); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
			}
			n := 0
			var stream *wire.Stream
			opened, next := make(chan struct{}), make(chan struct{}, 1)
			all.Go(func() {
				<-opened
				for range next {
					if err := stream.Send(r); err != nil {
						t.Error(err)
					}
				}
			})
			stream = open(t.Context(), func(m []byte) error {
				var got pb.WatchResponse
				if err := proto.Unmarshal(m, &got); err != nil || got.WatchId != int64(n) || len(got.CancelReason) != sizes[n] {
					return fmt.Errorf("message %d of %d bytes: %d of %d, %v", n, sizes[n], got.WatchId, len(got.CancelReason), err)
				}
				if n++; n < len(sizes) {
					next <- struct{}{}
				}
				return nil
			})
			close(opened)
			if err := stream.Serve(); status.Convert(err).Message() != "that was all" {
				t.Errorf("ended with %v after %d of %d", err, n, len(sizes))
			}
			close(next)

			s.watch = func(w pb.Watch_WatchServer) error { // until it is cancelled
				for w.Send(&pb.WatchResponse{}) == nil {
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n = 0
			cancelled := open(ctx, func([]byte) error {
				if n++; n == 10 {
					cancel()
				}
				return nil
			})
			if err := cancelled.Serve(); status.Code(err) != codes.Canceled {
				t.Errorf("cancelled: %v", err)
			}
			no := errors.New("no more")
			n = 0
			refused := open(t.Context(), func([]byte) error {
				if n++; n == 10 {
					return no
				}
				return nil
			})
			if err := refused.Serve(); err != no || n != 10 {
				t.Errorf("after %d: %v", n, err)
			}
			close(end)
			all.Wait()
		})
	}
}

// What came with an answer has been taken when the call returns: who watches what it writes need not wait for it.
func TestStreamBeforeAnswer(t *testing.T) {
	events := make(chan *pb.WatchResponse)
	s := &server{watch: func(w pb.Watch_WatchServer) error {
		for {
			select {
			case e := <-events:
				if err := w.Send(e); err != nil {
					return err
				}
			case <-w.Context().Done():
				return nil
			}
		}
	}}
	s.delay = func(key string) {
		if key == "with an event" {
			events <- &pb.WatchResponse{}
		}
	}
	_, endpoint := s.start(t)
	w := calls(t, conf(endpoint))
	var taken atomic.Int64
	stream, err := w.Stream(t.Context(), watchMethod, progress(t), func([]byte) error { taken.Add(1); return nil })
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- stream.Serve() }()
	before := 0
	for n := range 300 {
		if err := put(t.Context(), w, "with an event", nil); err != nil {
			t.Fatal(err)
		}
		if taken.Load() == int64(n+1) {
			before++
		}
		for taken.Load() != int64(n+1) { // it is on its way
			time.Sleep(100 * time.Microsecond)
		}
	}
	t.Logf("%d of 300", before)
	if before < 100 {
		t.Errorf("of 300 events that were sent before their answers %d were taken before them", before)
	}
	if _, err := w.Stream(t.Context(), watchMethod, progress(t), func([]byte) error { return nil }); !errors.Is(err, wire.ErrGone) {
		t.Errorf("a second stream: %v", err)
	}
	w.Close()
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("closed: %v", err)
	}
}

// BenchmarkPut is a call beside the same by gRPC's own client.
func BenchmarkPut(b *testing.B) {
	s := &server{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := grpc.NewServer()
	pb.RegisterKVServer(g, s)
	go g.Serve(l)
	defer g.Stop()
	w := wire.NewClient("/etcdserverpb.KV/Put", func() wire.Config { return conf("http://" + l.Addr().String()) })
	defer w.Close()
	for put(b.Context(), w, "k", nil) != nil {
		time.Sleep(time.Millisecond)
	}
	theirs, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer theirs.Close()
	kv, value := pb.NewKVClient(theirs), make([]byte, 1800)
	for name, one := range map[string]func() error{
		"wire": func() error { return put(b.Context(), w, "k", value) },
		"gRPC": func() error {
			_, err := kv.Put(b.Context(), &pb.PutRequest{Key: []byte("k"), Value: value})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before) // of this process, server and all
			for b.Loop() {
				if err := one(); err != nil {
					b.Fatal(err)
				}
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/float64(b.N), "ns-cpu/op")
		})
	}
}
