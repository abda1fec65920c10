package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/wire"
)

// Watch implements store.Store. Each answer of etcd has whole revisions (etcd's
// "API guarantees": a watch is atomic), fragments are put together by its client.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		if err := s.watch(ctx, prefix, after, yield); err != nil {
			yield(store.Event{}, fmt.Errorf("watch %s after %d: %w", prefix, after, err))
		}
	}
}

// watch returns nil when the reader left. A watch that etcd ends for a reason that passes (no leader, a member that
// stops) goes on after the last revision that was shown: for the reader nothing has happened.
func (s *Store) watch(ctx context.Context, prefix string, after store.Revision, yield func(store.Event, error) bool) error {
	newest, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	if after > newest {
		return store.ErrFuture
	}
	for {
		left, err := s.follow(ctx, prefix, &after, yield)
		if left {
			return nil
		}
		if e := s.usable(ctx); e != nil {
			return fmt.Errorf("%w: %w", e, err)
		}
		if !passing(err) && status.Code(err) != codes.Internal && !errors.Is(err, errEnded) || !pause(ctx, 50*time.Millisecond) {
			return s.explain(ctx, err)
		}
	}
}

// askAfter is how long a watch is behind a revision that somebody waits for before etcd is asked how far it is.
const askAfter = 5 * time.Millisecond

var errEnded = errors.New("etcd ended the watch")

// follow is one watch of etcd's, on a stream of its own: etcd says how far a stream is when all its watches are there, and one
// that reads the past must keep nobody waiting. It is read here, with no queue in between: whoever yields slowly is sent no
// more. after moves with what was shown. It returns true when the reader left.
func (s *Store) follow(ctx context.Context, prefix string, after *store.Revision, yield func(store.Event, error) bool) (left bool, err error) {
	// An etcd that cannot be trusted to say how far a watch is shows the writes of all: each revision has an event then.
	asking, watched := s.own || s.versions.progress(ctx, s.client.Endpoints(), s.version), s.prefix+prefix
	if !asking {
		watched = ""
	}
	create := &pb.WatchCreateRequest{Key: []byte(watched), RangeEnd: []byte(rangeEnd(watched)), StartRevision: int64(*after) + 1, Fragment: true}
	if watched == "" {
		create.Key = []byte{0}
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	stream, err := s.stream(watching, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}})
	if err != nil {
		return false, err
	}
	defer stream.Close()
	var at atomic.Int64 // what was shown, for ask
	at.Store(int64(*after))
	var asker sync.WaitGroup
	defer asker.Wait()
	defer cancel()
	if asking {
		asker.Go(func() { s.ask(watching, stream, &at) })
	}
	var whole []*mvccpb.Event // of an answer in fragments
	for {
		m, err := stream.Recv()
		if err != nil {
			return false, ended(err)
		}
		var r pb.WatchResponse
		if err := proto.Unmarshal(m, &r); err != nil {
			return false, err
		}
		switch {
		case r.CompactRevision != 0:
			return false, rpctypes.ErrCompacted
		case r.Canceled && r.CancelReason != "":
			return false, errors.New(r.CancelReason)
		case r.Canceled:
			return false, errEnded
		case r.Created:
			continue
		}
		whole = append(whole, r.Events...)
		if r.Fragment {
			continue
		}
		events := s.events(whole, prefix)
		for i, e := range events {
			e.Last = i+1 == len(events) || events[i+1].Revision != e.Revision
			if !yield(e, nil) {
				return true, nil
			}
		}
		if n := len(events); n > 0 { // whole revisions: the next one begins after the last of these
			*after = events[n-1].Revision
		}
		var newest store.Revision
		if n := len(whole); n > 0 {
			newest = store.Revision(whole[n-1].Kv.ModRevision)
		} else if asking && r.Header != nil {
			newest = store.Revision(r.Header.Revision)
		}
		if whole = nil; newest > *after {
			*after = newest
			if !yield(store.Event{Entry: store.Entry{Revision: newest}, Last: true}, nil) {
				return true, nil
			}
		}
		at.Store(int64(*after))
	}
}

const watchMethod = "/etcdserverpb.Watch/Watch"

// stream begins a watch at the first server that answers. It ends when that has no leader.
func (s *Store) stream(ctx context.Context, r *pb.WatchRequest) (*wire.Stream, error) {
	m, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, c := range s.wires() {
		stream, err := wire.Open(ctx, c, watchMethod, m, hpack.HeaderField{Name: rpctypes.MetadataRequireLeaderKey, Value: rpctypes.MetadataHasLeader})
		if err == nil {
			return stream, nil
		}
		errs = append(errs, err)
	}
	return nil, status.Error(codes.Unavailable, errors.Join(errs...).Error())
}

// ended is why a stream is over. An EOF says no more than that: of a member that stops.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errEnded
	}
	return rpctypes.Error(err)
}

// ask lets etcd say how far the watch is while it is behind a revision that somebody waits for, until ctx ends.
func (s *Store) ask(ctx context.Context, stream *wire.Stream, at *atomic.Int64) {
	progress, _ := proto.Marshal(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}) // it has no fields
	for {
		wanted, more := s.wantedNow()
		var due <-chan time.Time
		if int64(wanted) > at.Load() { // its writes will be here in a moment, unless they were somebody else's, to other keys
			due = time.After(askAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
			continue
		case <-due:
		}
		if int64(wanted) <= at.Load() {
			continue
		}
		if stream.Send(progress) != nil {
			return // Recv says why
		}
	}
}

// version asks one endpoint for its own.
func (s *Store) version(ctx context.Context, endpoint string) (string, error) {
	r, err := s.client.Status(ctx, endpoint)
	if err != nil {
		if status.Code(err) == codes.Unimplemented {
			return "", nil
		}
		return "", err
	}
	return r.Version, nil
}

// events are those of etcd's that are under the prefix, by revision and then key, without our own prefix.
func (s *Store) events(theirs []*mvccpb.Event, prefix string) []store.Event {
	events := make([]store.Event, 0, len(theirs))
	for _, e := range theirs {
		key, ours := strings.CutPrefix(string(e.Kv.Key), s.prefix)
		if !ours || !strings.HasPrefix(key, prefix) {
			continue
		}
		ev := store.Event{Entry: store.Entry{Key: key, Revision: store.Revision(e.Kv.ModRevision)}}
		if e.Type == mvccpb.PUT {
			ev.Value = present(e.Kv.Value)
		}
		events = append(events, ev)
	}
	slices.SortStableFunc(events, func(a, b store.Event) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Key, b.Key))
	})
	return events
}
