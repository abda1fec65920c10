package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
)

// story is what one client does, known beforehand, and what it was told while it
// did: after a crash the store must be as it was after one of the transactions,
// which are numbered from 1, and not after one that is too early.
type story struct {
	steps  []step
	txns   []store.Txn      // by number; each puts its number at storyKey too
	states []map[string]int // by number: what is there then, and which transaction put it

	mu    sync.Mutex
	known known
}

// known is what the store owes its client.
type known struct {
	begun, answered    int              // transactions, the newest
	safe               int              // the newest that a crash must leave
	revs               []store.Revision // by number, of those that were answered
	forgetting, forgot store.Revision   // Compact before it was begun, was answered
	revision           store.Revision   // the greatest that was shown
}

// step is a transaction, or a Compact, or a restart.
type step struct {
	txn     int
	compact int // before this many transactions ago
	restart bool
}

const storyKey = "/n"

// newStory thinks one up: transactions of some keys out of few, deletions, both classes.
func newStory(rnd *rand.Rand, txns int) *story {
	s := &story{txns: make([]store.Txn, 1), states: []map[string]int{{}}, known: known{revs: make([]store.Revision, 1)}}
	for n := 1; n <= txns; n++ {
		state := maps.Clone(s.states[n-1])
		t := store.Txn{Class: store.Class(rnd.IntN(2))}
		for _, k := range rnd.Perm(30)[:rnd.IntN(4)] {
			op := store.Op{Key: fmt.Sprintf("/k/%d", k), Expect: store.Any}
			if state[op.Key] != 0 && rnd.IntN(4) == 0 {
				delete(state, op.Key)
			} else {
				op.Value, state[op.Key] = storyValue(n, op.Key), n
			}
			t.Ops = append(t.Ops, op)
		}
		t.Ops = append(t.Ops, store.Op{Key: storyKey, Value: storyValue(n, storyKey), Expect: store.Any})
		slices.SortFunc(t.Ops, func(a, b store.Op) int { return strings.Compare(a.Key, b.Key) }) // as events come
		state[storyKey] = n
		s.txns, s.states = append(s.txns, t), append(s.states, state)
		s.steps = append(s.steps, step{txn: n})
		if rnd.IntN(40) == 0 {
			s.steps = append(s.steps, step{compact: 1 + rnd.IntN(30)})
		}
		if n == txns/2 || rnd.IntN(200) == 0 {
			s.steps = append(s.steps, step{restart: true})
		}
	}
	return s
}

func storyValue(n int, key string) []byte {
	return append(fmt.Appendf(nil, "%d %s ", n, key), bytes.Repeat([]byte{byte(n)}, n*7919%1500)...)
}

// storyOptions are those of a store whose files end and are flushed often, and whose revisions are reserved often in every other life.
func storyOptions(fs vfs.FS, life int) embedded.Options {
	return embedded.Options{FS: fs, RecentBytes: 20_000}.Short(96<<10, []store.Revision{8, 1000}[life%2])
}

// live does all that the story says on a store on fs, as long as on is true.
func (s *story) live(fs vfs.FS, on func() bool) error {
	ctx := context.Background()
	var following sync.WaitGroup
	defer following.Wait()
	life := 0
	open := func() (*embedded.Store, error) {
		db, err := embedded.Open("data", storyOptions(fs, life))
		if err == nil {
			following.Go(func() { s.follow(ctx, db) })
		}
		return db, err
	}
	db, err := open()
	for _, step := range s.steps {
		if err != nil || !on() {
			break
		}
		switch {
		case step.txn > 0:
			s.mu.Lock()
			s.known.begun = step.txn
			s.mu.Unlock()
			var at store.Revision
			if at, err = db.Commit(ctx, s.txns[step.txn]); err == nil {
				err = s.answered(step.txn, at)
			}
		case step.compact > 0 && s.known.answered > step.compact:
			before := s.known.revs[s.known.answered-step.compact]
			s.mu.Lock()
			s.known.forgetting = max(s.known.forgetting, before)
			s.mu.Unlock()
			if err = db.Compact(ctx, before); errors.Is(err, store.ErrCompacted) {
				err = nil
			}
			s.mu.Lock()
			s.known.forgot = s.known.forgetting
			s.mu.Unlock()
		case step.restart:
			if err = db.Close(); err == nil {
				s.mu.Lock()
				s.known.safe = max(s.known.safe, s.known.answered)
				s.mu.Unlock()
				life++
				db, err = open()
			}
		}
	}
	if db != nil {
		err = errors.Join(err, db.Close())
	}
	return err
}

// follow sees what is shown, before it is answered: it is safe by then.
func (s *story) follow(ctx context.Context, db *embedded.Store) {
	at, err := db.Revision(ctx)
	if err != nil {
		return
	}
	db.Push(ctx, storyKey, at, func(events []store.Event) bool {
		n := 0
		if fmt.Sscanf(string(events[0].Value), "%d ", &n); n > 0 && s.txns[n].Class == store.Durable {
			s.mu.Lock()
			s.known.safe = max(s.known.safe, n)
			s.mu.Unlock()
		}
		return true
	})
}

func (s *story) answered(n int, at store.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at <= s.known.revision {
		return fmt.Errorf("transaction %d got revision %d after %d", n, at, s.known.revision)
	}
	s.known.revs = append(s.known.revs, at)
	s.known.answered, s.known.revision = n, at
	if s.txns[n].Class == store.Durable {
		s.known.safe = max(s.known.safe, n)
	}
	return nil
}

// check opens what a crash left and compares it with what the client knew then. opened, if any, is called after Open.
func (s *story) check(fs vfs.FS, k known, rnd *rand.Rand, opened func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a watch that lacks an event would wait
	defer cancel()
	db, err := embedded.Open("data", storyOptions(fs, rnd.IntN(2)))
	if opened != nil {
		opened()
	}
	if err != nil {
		return err
	}
	err = s.checkStore(ctx, db, k, rnd)
	return errors.Join(err, db.Close())
}

func (s *story) checkStore(ctx context.Context, db *embedded.Store, k known, rnd *rand.Rand) error {
	newest, err := db.Revision(ctx)
	if err != nil {
		return err
	}
	if newest < k.revision {
		return fmt.Errorf("the store is at revision %d, but %d was shown", newest, k.revision)
	}
	n := 0 // the newest transaction that is there
	if e, err := db.Get(ctx, storyKey, 0); err != nil {
		return err
	} else if e.Value != nil {
		if _, err := fmt.Sscanf(string(e.Value), "%d ", &n); err != nil {
			return fmt.Errorf("%s has a foreign value: %w", storyKey, err)
		}
	}
	if n < k.safe || n > k.begun {
		return fmt.Errorf("transaction %d is the newest that is there; %d must be, %d was the last that began", n, k.safe, k.begun)
	}
	if err := s.compare(ctx, db, k, n, 0); err != nil {
		return err
	}
	// It takes writes, and gives revisions that nobody has seen.
	extra := store.Op{Key: "/extra", Value: []byte("x"), Expect: 0}
	at, err := db.Commit(ctx, store.Txn{Ops: []store.Op{extra}})
	if err != nil {
		return err
	}
	if at <= newest {
		return fmt.Errorf("a new write got revision %d, but %d was shown", at, newest)
	}
	for range 3 {
		past := k.answered - rnd.IntN(1+min(k.answered, 20))
		if rnd.IntN(8) == 0 {
			past = rnd.IntN(k.answered + 1)
		}
		if past == 0 {
			continue
		}
		if err := s.compare(ctx, db, k, n, past); err != nil {
			return err
		}
		if err := s.compareEvents(ctx, db, k, n, past); err != nil {
			return err
		}
	}
	return nil
}

// compare compares a list with the state after transaction past, read at its revision; 0: after n, the newest.
func (s *story) compare(ctx context.Context, db *embedded.Store, k known, n, past int) error {
	state, page := s.states[n], store.Page{}
	if past > 0 {
		state, page.At = s.states[past], k.revs[past]
	}
	entries, _, err := db.List(ctx, "", page)
	if past > 0 {
		if gone, e := refusal(err, n < past, page.At < k.forgetting, page.At < k.forgot); gone || e != nil {
			return wrap(e, "list at revision %d, of transaction %d", page.At, past)
		}
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		by := state[e.Key]
		if by == 0 || !bytes.Equal(e.Value, storyValue(by, e.Key)) {
			return fmt.Errorf("%s is %.20q and not of transaction %d, where %d of %d are there", e.Key, e.Value, by, n, k.begun)
		}
		if by <= k.answered && e.Revision != k.revs[by] {
			return fmt.Errorf("%s of transaction %d has revision %d, but %d was shown", e.Key, by, e.Revision, k.revs[by])
		}
	}
	if len(entries) != len(state) {
		return fmt.Errorf("%d entries after transaction %d (read at %d), should be %d", len(entries), n, page.At, len(state))
	}
	return nil
}

// compareEvents compares the events after transaction past, up to the write that checkStore made.
func (s *story) compareEvents(ctx context.Context, db *embedded.Store, k known, n, past int) error {
	after := k.revs[past]
	var want []store.Op
	var by []int
	for t := past + 1; t <= n; t++ {
		want = append(want, s.txns[t].Ops...)
		by = append(by, slices.Repeat([]int{t}, len(s.txns[t].Ops))...)
	}
	want, by = append(want, store.Op{Key: "/extra", Value: []byte("x")}), append(by, n+1)
	got := 0
	var marked store.Revision // by a mark: events come later
	for e, err := range db.Watch(ctx, "", after) {
		if gone, e := refusal(err, n < past, after+1 < k.forgetting, after+1 < k.forgot); gone || e != nil {
			return wrap(e, "watch after revision %d, of transaction %d, with %d there", after, past, n)
		}
		if err != nil {
			return err
		}
		if e.Key == "" {
			marked = e.Revision
			continue
		}
		if e.Revision <= marked {
			return fmt.Errorf("watch after revision %d: an event at %d after a mark of %d", after, e.Revision, marked)
		}
		op, t := want[got], by[got]
		last := got+1 == len(by) || by[got+1] != t
		if e.Key != op.Key || !bytes.Equal(e.Value, op.Value) || (e.Value == nil) != (op.Value == nil) || e.Last != last {
			return fmt.Errorf("watch after revision %d: event %d is %s (last: %v), should be %s of transaction %d", after, got, e.Key, e.Last, op.Key, t)
		}
		if t <= min(n, k.answered) && e.Revision != k.revs[t] {
			return fmt.Errorf("the event of transaction %d has revision %d, but %d was shown", t, e.Revision, k.revs[t])
		}
		if got++; got == len(want) {
			return nil
		}
	}
	return errors.New("a watch ended by itself")
}

// refusal tells whether err is ErrCompacted, and whether it may or must be: what is lost is refused, what is kept never.
func refusal(err error, lost, may, must bool) (gone bool, wrong error) {
	gone = errors.Is(err, store.ErrCompacted)
	switch {
	case gone && !lost && !may:
		return gone, errors.New("is refused, but neither lost nor compacted")
	case !gone && lost:
		return gone, fmt.Errorf("is of what was lost, and is not refused: %v", err)
	case !gone && must:
		return gone, fmt.Errorf("is compacted, and is not refused: %v", err)
	}
	return gone, nil
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
