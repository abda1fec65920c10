package watch

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/store"
)

const (
	// pastBytes is how much of the store's history a watcher is given at once; it holds no more of it, however slow its reader is.
	pastBytes = 32 << 10
	// pastPatience is how long the store's watch is kept open for a reader who does not take what is there.
	pastPatience = 100 * time.Millisecond
	// pastReads is how many former states are read at a time, for one watcher.
	pastReads = 8
)

// past reads, for a watcher that begins before memory's log does, what happened from the store's history. It ends where
// the log begins: Take goes on there.
type past struct {
	state  *State
	table  *table
	filter Filter
	prefix string // of the store's keys
	cancel context.CancelFunc
	done   chan struct{} // closed when run ended
	poke   func()

	mu      sync.Mutex
	given   bool     // what follows was not taken yet
	events  []*Event // that matter to the filter
	upTo    uint64   // nothing is missing up to here once they are taken
	arrived bool     // memory's log may go on from here
	err     error    // why there is no more

	room chan struct{} // to receive from once what was given was taken
}

// recall begins to read what happened after a revision. ctx bounds all of it; stop must be called.
func (s *State) recall(ctx context.Context, t *table, f Filter, after uint64, poke func()) *past {
	p := &past{state: s, table: t, filter: f, prefix: Prefix + t.info.StoreKey + "/", upTo: after,
		done: make(chan struct{}), room: make(chan struct{}, 1), poke: poke}
	if t.info.Namespaced && f.Namespace != "" {
		p.prefix += f.Namespace + "/"
	}
	if !t.info.Namespaced || f.Namespace != "" {
		p.prefix += f.Name
	}
	ctx, p.cancel = context.WithCancel(ctx)
	go p.run(ctx, after)
	return p
}

// stop ends the reading and waits for its end.
func (p *past) stop() {
	p.cancel()
	<-p.done
}

func (p *past) run(ctx context.Context, after uint64) {
	defer close(p.done)
	var err error
	for err == nil {
		if after, err = p.read(ctx, after); err == nil {
			select {
			case <-p.room:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	if errors.Is(err, store.ErrCompacted) {
		err = ErrExpired
	}
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.poke()
}

// read gives what happened after a revision, until the reader does not take it or memory's log goes on. It returns the
// revision up to which it did.
func (p *past) read(ctx context.Context, after uint64) (uint64, error) {
	s := p.state.store
	if _, err := s.Revision(ctx); err != nil { // who asks is told, by a mark, when nothing else happens
		return after, err
	}
	var batch []store.Event
	size := 0
	for e, err := range s.Watch(ctx, p.prefix, store.Revision(after)) {
		switch {
		case err != nil:
			return after, err
		case e.Key != "" && p.concerns(e.Key):
			batch, size = append(batch, e), size+len(e.Key)+len(e.Value)
		}
		if !e.Last {
			continue
		}
		arrived := uint64(e.Revision) >= p.begins()
		if !arrived && size < pastBytes {
			if e.Key == "" { // the log has moved on meanwhile
				if _, err := s.Revision(ctx); err != nil {
					return after, err
				}
			}
			continue
		}
		events, err := p.states(ctx, batch)
		if err != nil {
			return after, err
		}
		batch, size, after = nil, 0, uint64(e.Revision)
		p.give(events, after, arrived)
		if arrived || !p.taken(ctx) {
			return after, ctx.Err()
		}
	}
	return after, ctx.Err()
}

// begins is the revision after which memory's log has all events.
func (p *past) begins() uint64 {
	p.state.mu.RLock()
	defer p.state.mu.RUnlock()
	return p.table.since
}

// give hands events over; those before were taken.
func (p *past) give(events []*Event, upTo uint64, arrived bool) {
	p.mu.Lock()
	p.events, p.upTo, p.arrived, p.given = events, upTo, arrived, true
	p.mu.Unlock()
	p.poke()
}

// take gives what there is, and tells whether memory's log may go on from there: if it does not, goOn must be called.
func (p *past) take(into []*Event) (events []*Event, upTo uint64, arrived bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.given {
		return into, p.upTo, false, p.err
	}
	into, p.events, p.given = append(into, p.events...), nil, false
	if !p.arrived {
		p.goOn()
	}
	return into, p.upTo, p.arrived, nil
}

// failed tells why nothing was given and nothing will be.
func (p *past) failed(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given {
		return nil
	}
	return cmp.Or(p.err, ctx.Err())
}

// goOn lets the reading go on after what was taken.
func (p *past) goOn() { p.room <- struct{}{} } // which has room: no more is given before

// taken waits a little until what was given is taken.
func (p *past) taken(ctx context.Context) bool {
	t := time.NewTimer(pastPatience)
	defer t.Stop()
	select {
	case <-p.room:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// states makes events of what the store shows: each with the state before it, which the store gives as of the revision
// before. What does not matter to the filter is left out.
func (p *past) states(ctx context.Context, batch []store.Event) ([]*Event, error) {
	last := map[string]int{} // the newest event of each key so far
	before := make([]store.Entry, len(batch))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pastReads)
	for n, e := range batch {
		if was, ok := last[e.Key]; ok {
			before[n] = batch[was].Entry
		} else if e.Revision > 1 {
			group.Go(func() (err error) {
				before[n], err = p.state.store.Get(ctx, e.Key, e.Revision-1)
				return err
			})
		}
		last[e.Key] = n
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []*Event
	items := map[string]*Item{}
	for n, e := range batch {
		old, ok := items[e.Key]
		if !ok {
			old = p.item(before[n])
		}
		ev := &Event{Revision: uint64(e.Revision), Old: old, New: p.item(e.Entry)}
		items[e.Key] = ev.New
		if _, item := ev.For(&p.filter); item != nil {
			out = append(out, ev)
		}
	}
	return out, nil
}

// item is an object's state; nil: it is not there, or cannot be read, which is the same to who watches.
func (p *past) item(e store.Entry) *Item {
	if e.Value == nil || e.Err != nil {
		return nil
	}
	i, err := newItem(p.table.info, e.Key[len(Prefix)+len(p.table.info.StoreKey)+1:], e, nil, p.state.hot, nil)
	if err != nil {
		return nil
	}
	return i
}

// concerns tells by its key whether an object can be one of the filter's.
func (p *past) concerns(key string) bool {
	rest := key[len(Prefix)+len(p.table.info.StoreKey)+1:]
	return p.filter.Name == "" || rest == p.filter.Name || p.table.info.Namespaced && strings.HasSuffix(rest, "/"+p.filter.Name)
}
