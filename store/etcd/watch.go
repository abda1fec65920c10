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
// "API guarantees": a watch is atomic), fragments are put together here.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		err := s.watch(ctx, prefix, after, wire.Open, func(events []store.Event) bool {
			for _, e := range events {
				if !yield(e, nil) {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield(store.Event{}, err)
		}
	}
}

// Push implements store.Pusher: on the connection of the transactions, so that an answer and its event come together.
func (s *Store) Push(ctx context.Context, prefix string, after store.Revision, take func([]store.Event) bool) error {
	return s.watch(ctx, prefix, after, s.beside, take)
}

// opener begins a stream: wire.Open, or Store.beside.
type opener func(ctx context.Context, c wire.Config, method string, message []byte, handle func([]byte) error, metadata ...hpack.HeaderField) (*wire.Stream, error)

// beside begins a stream on the connection of the transactions, or, if that has one, on its own.
func (s *Store) beside(ctx context.Context, c wire.Config, method string, message []byte, handle func([]byte) error, metadata ...hpack.HeaderField) (*wire.Stream, error) {
	if stream, err := s.wire.Stream(ctx, method, message, handle, metadata...); err == nil {
		return stream, nil
	}
	return wire.Open(ctx, c, method, message, handle, metadata...)
}

// watch returns nil when show wanted no more. A watch that etcd ends for a reason that passes (no leader, a member that
// stops) goes on after the last revision that was shown: for the reader nothing has happened.
func (s *Store) watch(ctx context.Context, prefix string, after store.Revision, open opener, show func([]store.Event) bool) error {
	newest, err := s.Revision(ctx)
	if err == nil && after > newest {
		err = store.ErrFuture
	}
	for err == nil {
		if err = s.follow(ctx, prefix, &after, open, show); errors.Is(err, errLeft) {
			return nil
		}
		if e := s.usable(ctx); e != nil {
			err = fmt.Errorf("%w: %w", e, err)
		} else if !passing(err) && status.Code(err) != codes.Internal && !errors.Is(err, errEnded) || !pause(ctx, 50*time.Millisecond) {
			err = s.explain(ctx, err)
		} else {
			err = nil
		}
	}
	return fmt.Errorf("watch %s after %d: %w", prefix, after, err)
}

// askAfter is how long a watch is behind a revision that somebody waits for before etcd is asked how far it is.
const askAfter = 5 * time.Millisecond

var (
	errEnded = errors.New("etcd ended the watch")
	errLeft  = errors.New("the reader left")
)

// follow is one watch of etcd's, on a stream of its own: etcd says how far a stream is when all its watches are there, and one
// that reads the past must keep nobody waiting. after moves with what was shown.
func (s *Store) follow(ctx context.Context, prefix string, after *store.Revision, open opener, show func([]store.Event) bool) error {
	// An etcd that cannot be trusted to say how far a watch is shows the writes of all: each revision has an event then.
	asking, watched := s.own || s.versions.progress(ctx, s.client.Endpoints(), s.version), s.prefix+prefix
	if !asking {
		watched = ""
	}
	create := &pb.WatchCreateRequest{Key: []byte(watched), RangeEnd: []byte(rangeEnd(watched)), StartRevision: int64(*after) + 1, Fragment: true}
	if watched == "" {
		create.Key = []byte{0}
	}
	m, err := proto.Marshal(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}})
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	var at atomic.Int64 // what was shown, for ask
	at.Store(int64(*after))
	var whole []*mvccpb.Event // of an answer in fragments
	stream, err := s.stream(watching, open, m, func(m []byte) error {
		var r pb.WatchResponse
		if err := proto.Unmarshal(m, &r); err != nil {
			return err
		}
		switch {
		case r.CompactRevision != 0:
			return rpctypes.ErrCompacted
		case r.Canceled && r.CancelReason != "":
			return errors.New(r.CancelReason)
		case r.Canceled:
			return errEnded
		case r.Created:
			return nil
		}
		if whole = append(whole, r.Events...); r.Fragment {
			return nil
		}
		newest := store.Revision(0)
		if n := len(whole); n > 0 {
			newest = store.Revision(whole[n-1].Kv.ModRevision)
		} else if asking && r.Header != nil {
			newest = store.Revision(r.Header.Revision)
		}
		events := s.events(whole, prefix)
		whole = nil
		for len(events) > 0 {
			*after = events[0].Revision
			n := slices.IndexFunc(events, func(e store.Event) bool { return e.Revision != *after })
			if n < 0 {
				n = len(events)
			}
			events[n-1].Last = true
			if !show(events[:n]) {
				return errLeft
			}
			events = events[n:]
		}
		if newest > *after {
			*after = newest
			if !show([]store.Event{{Entry: store.Entry{Revision: newest}, Last: true}}) {
				return errLeft
			}
		}
		at.Store(int64(*after))
		return nil
	})
	if err != nil {
		return err
	}
	if asking {
		var asker sync.WaitGroup
		asker.Go(func() { s.ask(watching, stream, &at) })
		defer asker.Wait()
		defer cancel()
	}
	if err = stream.Serve(); errors.Is(err, io.EOF) { // it says no more: of a member that stops
		return errEnded
	}
	return rpctypes.Error(err)
}

const watchMethod = "/etcdserverpb.Watch/Watch"

// stream begins a watch at the first server that answers. It ends when that has no leader.
func (s *Store) stream(ctx context.Context, open opener, m []byte, handle func([]byte) error) (*wire.Stream, error) {
	var errs []error
	for _, c := range s.wires() {
		stream, err := open(ctx, c, watchMethod, m, handle, hpack.HeaderField{Name: rpctypes.MetadataRequireLeaderKey, Value: rpctypes.MetadataHasLeader})
		if err == nil {
			return stream, nil
		}
		errs = append(errs, err)
	}
	return nil, status.Error(codes.Unavailable, errors.Join(errs...).Error())
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
