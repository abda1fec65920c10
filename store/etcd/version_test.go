package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
)

// fake is an etcd of some version whose revisions 2, 3 ... each put one key. Its watches are slow to begin; as etcd did
// before 3.5.8, it answers progress requests meanwhile.
type fake struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedMaintenanceServer
	version string // "": it does not say
	keys    []string
	ends    []error // how its first watches end, before and after they show one event in turn

	mu    sync.Mutex
	asked bool // for progress
}

func (f *fake) newest() int64              { return int64(len(f.keys)) + 1 }
func (f *fake) header() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: f.newest()} }
func (f *fake) early() bool                { f.mu.Lock(); defer f.mu.Unlock(); return f.asked }

func (f *fake) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return &pb.RangeResponse{Header: f.header()}, nil
}

func (f *fake) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	if f.version == "" {
		return nil, errors.New("out of order")
	}
	return &pb.StatusResponse{Header: f.header(), Version: f.version}, nil
}

func (f *fake) Watch(s pb.Watch_WatchServer) error {
	requests := make(chan *pb.WatchRequest)
	go func() {
		defer close(requests)
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			requests <- r
		}
	}()
	f.mu.Lock()
	var end error
	ending := len(f.ends) > 0
	if ending {
		end, f.ends = f.ends[0], f.ends[1:]
	}
	late := len(f.ends)%2 == 0
	f.mu.Unlock()
	if ending && !late {
		return end
	}
	create := (<-requests).GetCreateRequest()
	if create == nil {
		return errors.New("no watch")
	}
	if err := s.Send(&pb.WatchResponse{Header: f.header(), Created: true}); err != nil {
		return err
	}
	begin := time.After(100 * time.Millisecond)
	for {
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			if r.GetProgressRequest() != nil {
				f.mu.Lock()
				f.asked = true
				f.mu.Unlock()
				if err := s.Send(&pb.WatchResponse{Header: f.header(), WatchId: -1}); err != nil {
					return err
				}
			}
		case <-begin:
			r := &pb.WatchResponse{Header: f.header()}
			for n, key := range f.keys {
				in := key >= string(create.Key) && (len(create.RangeEnd) == 1 && create.RangeEnd[0] == 0 || key < string(create.RangeEnd))
				if at := int64(n) + 2; in && at >= create.StartRevision {
					r.Events = append(r.Events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte("x"), CreateRevision: at, ModRevision: at}})
				}
			}
			if ending && len(r.Events) > 1 {
				r.Events = r.Events[:1]
			}
			if err := s.Send(r); err != nil {
				return err
			}
			if ending {
				return end
			}
		}
	}
}

func (f *fake) serve(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	pb.RegisterKVServer(g, f)
	pb.RegisterWatchServer(g, f)
	pb.RegisterMaintenanceServer(g, f)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return "http://" + l.Addr().String()
}

// Some versions of etcd say too early how far a watch is: none of those is asked, and nothing is shown out of order.
func TestProgressByVersion(t *testing.T) {
	for name, tt := range map[string]struct {
		versions []string
		asked    bool
	}{
		"the answer overtakes events":         {[]string{"3.5.7"}, false},
		"the answer may never come":           {[]string{"3.5.12"}, false},
		"3.5 as it is now":                    {[]string{"3.5.13"}, true},
		"newer":                               {[]string{"3.6.0", "4.0.1"}, true},
		"3.4, old and new":                    {[]string{"3.4.31", "3.4.30"}, false},
		"one is older than the others":        {[]string{"3.6.14", "3.5.4", "3.6.14"}, false},
		"one does not say how old it is":      {[]string{"3.6.14", ""}, false},
		"what is no etcd has no such version": {[]string{"kine"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fakes []*fake
			var endpoints []string
			for _, v := range tt.versions {
				f := &fake{version: v, keys: []string{"/a/1", "/b/1", "/a/2", "/b/2"}}
				fakes, endpoints = append(fakes, f), append(endpoints, f.serve(t))
			}
			s := connect(t, etcd.Config{Endpoints: endpoints})
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if at, err := s.Revision(ctx); err != nil || at != 5 {
				t.Fatalf("revision %d, %v", at, err)
			}
			var got []string
			for e, err := range s.Watch(ctx, "/a/", 1) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s@%d", e.Key, e.Revision))
				if e.Revision >= store.Revision(5) {
					break
				}
			}
			asked := slices.ContainsFunc(fakes, (*fake).early)
			if asked != tt.asked {
				t.Errorf("asked for progress: %v", asked)
			}
			if want := "/a/1@2 /a/2@4 @5"; !tt.asked && strings.Join(got, " ") != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
}

// A stream that etcd ends, with an error that passes or with none, is followed by another one: the reader notices nothing.
func TestStreamsEnd(t *testing.T) {
	f := &fake{version: "3.5.7", keys: []string{"/a/1", "/a/2", "/a/3"}, ends: []error{
		nil, nil, status.Error(codes.Unavailable, "no leader"), status.Error(codes.Internal, "stream terminated by RST_STREAM"), nil, nil}}
	s := connect(t, etcd.Config{Endpoints: []string{f.serve(t)}})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for e, err := range s.Watch(ctx, "/a/", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, fmt.Sprintf("%s@%d", e.Key, e.Revision)); e.Revision == 4 {
			break
		}
	}
	if want := "/a/1@2 /a/2@3 /a/3@4"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
