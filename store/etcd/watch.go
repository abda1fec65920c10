package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lighter-k8s/lighter/store"
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
		if !passing(err) && !errors.Is(err, errEnded) || !pause(ctx, 50*time.Millisecond) {
			return s.explain(ctx, err)
		}
	}
}

// askAfter is how long a watch is behind a revision that somebody waits for before etcd is asked how far it is.
const askAfter = 5 * time.Millisecond

var errEnded = errors.New("etcd ended the watch")

// follow is one watch of etcd's; after moves with what was shown. It returns true when the reader left.
func (s *Store) follow(ctx context.Context, prefix string, after *store.Revision, yield func(store.Event, error) bool) (left bool, err error) {
	// A stream of its own, which the metadata makes: etcd says how far a stream is when all its watches are there, and one
	// that reads the past must keep nobody waiting.
	own := metadata.AppendToOutgoingContext(ctx, "lighter-watch", strconv.FormatUint(s.watches.Add(1), 10))
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(own))
	defer cancel()
	options := []clientv3.OpOption{clientv3.WithRev(int64(*after) + 1), clientv3.WithPrefix(), clientv3.WithFragment()}
	// An etcd that cannot be trusted to say how far a watch is shows the writes of all: each revision has an event then.
	asking, watched := s.own || s.versions.progress(ctx, s.client.Endpoints(), s.version), s.prefix+prefix
	if !asking {
		watched = ""
	}
	answers := s.client.Watch(watching, watched, options...)
	for {
		wanted, more := s.wantedNow()
		var ask <-chan time.Time
		if asking && wanted > *after { // its writes will be here in a moment, unless they were somebody else's, to other keys
			ask = time.After(askAfter)
		}
		var r clientv3.WatchResponse
		var ok bool
		select {
		case r, ok = <-answers:
		case <-more:
			continue
		case <-ask:
			if err := s.client.RequestProgress(watching); err != nil {
				return false, err
			}
			continue
		}
		if !ok {
			return false, errEnded
		}
		if err := r.Err(); err != nil {
			return false, err
		}
		events := s.events(r.Events, prefix)
		for i, e := range events {
			e.Last = i+1 == len(events) || events[i+1].Revision != e.Revision
			if !yield(e, nil) {
				return true, nil
			}
		}
		if n := len(events); n > 0 { // whole revisions: the next one begins after the last of these
			*after = events[n-1].Revision
		}
		var at store.Revision
		if n := len(r.Events); n > 0 {
			at = store.Revision(r.Events[n-1].Kv.ModRevision)
		} else if asking && r.IsProgressNotify() {
			at = store.Revision(r.Header.Revision)
		}
		if at > *after {
			*after = at
			if !yield(store.Event{Entry: store.Entry{Revision: at}, Last: true}, nil) {
				return true, nil
			}
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
func (s *Store) events(theirs []*clientv3.Event, prefix string) []store.Event {
	events := make([]store.Event, 0, len(theirs))
	for _, e := range theirs {
		key, ours := strings.CutPrefix(string(e.Kv.Key), s.prefix)
		if !ours || !strings.HasPrefix(key, prefix) {
			continue
		}
		ev := store.Event{Entry: store.Entry{Key: key, Revision: store.Revision(e.Kv.ModRevision)}}
		if e.Type == clientv3.EventTypePut {
			ev.Value = present(e.Kv.Value)
		}
		events = append(events, ev)
	}
	slices.SortStableFunc(events, func(a, b store.Event) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Key, b.Key))
	})
	return events
}
