package store

import "context"

// Pusher is a Store that can show events in the goroutine that makes them visible, so that nobody need be woken for it.
type Pusher interface {
	// Push calls take with what Watch yields, the events of one revision (or a mark) at a time, until take returns false
	// (then without an error), or ctx or Watch's error ends it. To a follower that has seen all, events are given before
	// their Commit returns, or a moment later where the engine is told of both by somebody else, by whichever goroutine:
	// take is never called twice at once, nor after Push has returned. It must be short, not wait for anything, not call
	// the store, and not keep the slice.
	Push(ctx context.Context, prefix string, after Revision, take func([]Event) bool) error
}

// Follow is s.Push if s is a Pusher, else the same by s.Watch.
func Follow(ctx context.Context, s Store, prefix string, after Revision, take func([]Event) bool) error {
	if p, ok := s.(Pusher); ok {
		return p.Push(ctx, prefix, after, take)
	}
	return FollowWatch(ctx, s, prefix, after, take)
}

// FollowWatch is Follow by s.Watch.
func FollowWatch(ctx context.Context, s Store, prefix string, after Revision, take func([]Event) bool) error {
	var batch []Event
	for e, err := range s.Watch(ctx, prefix, after) {
		if err != nil {
			return err
		}
		if batch = append(batch, e); !e.Last {
			continue
		}
		if !take(batch) {
			return nil
		}
		batch = batch[:0]
	}
	return ctx.Err()
}
