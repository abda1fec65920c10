package embedded

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/lighter-k8s/lighter/store"
)

// follower is told of transactions by who shows them, while it has seen all.
type follower struct {
	prefix string
	ended  chan struct{} // closed when it is among the followers no more
	end    func()        // closes ended, once

	mu     sync.Mutex // held while take runs
	take   func([]store.Event) bool
	at     store.Revision // all up to it was given
	gone   bool           // nothing is given any more
	events []store.Event  // what take gets is in here
}

var _ store.Pusher = (*Store)(nil)

// Push implements store.Pusher.
func (s *Store) Push(ctx context.Context, prefix string, after store.Revision, take func([]store.Event) bool) error {
	f := &follower{prefix: prefix, at: after, take: take}
	defer f.leave()
	if after > s.recent.revision() {
		return fmt.Errorf("watch %s after %d: %w", prefix, after, store.ErrFuture)
	}
	for {
		if s.recent.join(f) {
			select {
			case <-f.ended:
			case <-ctx.Done():
			case <-s.ending:
			}
			s.recent.leave(f)
		}
		at, gone := f.where()
		if gone {
			return nil
		}
		txns, newest, err := s.wait(ctx, at) // or why nobody tells f any more
		if err != nil {
			return fmt.Errorf("watch %s after %d: %w", prefix, at, err)
		}
		f.give(txns, newest)
	}
}

// join makes f a follower if it has seen all.
func (r *recent) join(f *follower) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.at != r.newest || f.gone {
		return false
	}
	f.ended = make(chan struct{})
	f.end = sync.OnceFunc(func() { close(f.ended) })
	r.followers = append(slices.Clip(r.followers), f)
	return true
}

// leave makes f no follower. What is being shown may still be given to it.
func (r *recent) leave(f *follower) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers = slices.DeleteFunc(slices.Clone(r.followers), func(o *follower) bool { return o == f })
}

// push gives f what is being shown; who shows calls it, in order.
func (f *follower) push(txns []txn) {
	if !f.give(txns, txns[len(txns)-1].revision) {
		f.end()
	}
}

// give gives f transactions, after which nothing is missing up to newest; false: it takes no more.
func (f *follower) give(txns []txn, newest store.Revision) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	shown := f.at
	for _, t := range txns {
		f.events = f.events[:0]
		t.show(f.prefix, func(e store.Event, _ error) bool {
			f.events = append(f.events, e)
			return true
		})
		if len(f.events) > 0 {
			f.hand()
			shown = t.revision
		}
	}
	if shown < newest {
		f.events = append(f.events[:0], store.Event{Entry: store.Entry{Revision: newest}, Last: true})
		f.hand()
	}
	f.at = newest
	return !f.gone
}

// hand calls take, unless f has left.
func (f *follower) hand() {
	if !f.gone {
		f.gone = !f.take(f.events)
	}
	clear(f.events) // a value is not kept for it
}

// leave ends f: when it returns, take does not run and will not.
func (f *follower) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
}

// where is the revision up to which f was given all.
func (f *follower) where() (at store.Revision, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, f.gone
}
