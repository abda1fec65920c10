package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// cycles is how often a crash test crashes: few, many with PROVE set, or LIGHTER_PROVE_CYCLES, which is not more than many.
func cycles(t *testing.T, few, many int) int {
	if s := os.Getenv("LIGHTER_PROVE_CYCLES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("LIGHTER_PROVE_CYCLES: %v", err)
		}
		return min(n, many)
	}
	if os.Getenv("PROVE") != "" {
		return many
	}
	return few
}

// attempt is a transaction as its writer knows it. Writer w owns the keys
// /w/<w>/*, and each transaction sets all of them to its number, so that half a
// transaction would show.
type attempt struct {
	writer, number int
	class          store.Class
	revision       store.Revision // acknowledged with; 0: not
}

func (a attempt) name() string { return fmt.Sprint(a.writer, "/", a.number) }

const (
	crashWriters = 3
	crashKeys    = 3
)

func (a attempt) txn() store.Txn {
	t := store.Txn{Class: a.class}
	for k := range crashKeys {
		value := fmt.Appendf(nil, "%d %s", a.number, make([]byte, 100*(a.number%40)))
		t.Ops = append(t.Ops, store.Op{Key: fmt.Sprintf("/w/%d/%d", a.writer, k), Value: value, Expect: store.Any})
	}
	return t
}

// witness is what the clients of a store have seen over its lives.
type witness struct {
	t      *testing.T
	mu     sync.Mutex
	frozen bool           // a power cut was: what is answered now, nobody hears
	seen   store.Revision // the greatest revision anybody saw
	taken  map[store.Revision]string
	begun  [crashWriters]map[int]bool
	found  [crashWriters]int // the write that was there at the last start
	lossy  bool              // since then relaxed writes may have been lost
	life   []attempt         // acknowledged since then
}

func (w *witness) saw(at store.Revision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.frozen {
		w.seen = max(w.seen, at)
	}
}

func (w *witness) begins(a attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.frozen {
		w.begun[a.writer][a.number] = true
	}
}

// acknowledged notes an answer, and that no revision is given twice.
func (w *witness) acknowledged(a attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.frozen {
		return
	}
	if was, ok := w.taken[a.revision]; ok {
		w.t.Errorf("revision %d was given to %s and to %s", a.revision, was, a.name())
	}
	w.taken[a.revision] = a.name()
	w.seen = max(w.seen, a.revision)
	w.life = append(w.life, a)
}

// check compares what a store has after a crash with what its clients know.
func (w *witness) check(s *embedded.Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, t := context.Background(), w.t
	newest, err := s.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if newest < w.seen {
		t.Errorf("the store is at revision %d, but %d was shown", newest, w.seen)
	}
	for _, a := range w.life {
		if a.class == store.Durable || !w.lossy {
			w.found[a.writer] = max(w.found[a.writer], a.number)
		}
		// A read at a revision that was shown is the truth or refused.
		e, err := s.Get(ctx, fmt.Sprintf("/w/%d/0", a.writer), a.revision)
		if err == nil && e.Revision != a.revision || err != nil && !errors.Is(err, store.ErrCompacted) {
			t.Errorf("read at revision %d, of %s: %d, %v", a.revision, a.name(), e.Revision, err)
		}
	}
	for writer := range crashWriters {
		entries, _, err := s.List(ctx, fmt.Sprintf("/w/%d/", writer), store.Page{})
		if err != nil {
			t.Fatal(err)
		}
		have := 0
		for i, e := range entries {
			var n int
			if _, err := fmt.Sscanf(string(e.Value), "%d ", &n); err != nil {
				t.Fatalf("%s has a foreign value: %v", e.Key, err)
			}
			if i > 0 && (n != have || e.Revision != entries[0].Revision) {
				t.Errorf("half a transaction: %s is of %d, %s of %d", entries[0].Key, have, e.Key, n)
			}
			have = n
			if given, ok := w.taken[e.Revision]; ok && given != fmt.Sprint(writer, "/", n) {
				t.Errorf("revision %d was %s and is %d/%d now", e.Revision, given, writer, n)
			}
		}
		if len(entries) != 0 && len(entries) != crashKeys {
			t.Errorf("half a transaction: %d keys", len(entries))
		}
		if must := w.found[writer]; have < must {
			t.Errorf("writer %d: write %d is lost, %d is there", writer, must, have)
		}
		if have != 0 && !w.begun[writer][have] {
			t.Errorf("writer %d: %d was never written", writer, have)
		}
		w.found[writer] = have
	}
	w.life, w.lossy = nil, false
}

// write has clients write, compact and watch until stop is closed or the store refuses.
func (w *witness) write(s *embedded.Store, seed *rand.Rand, cycle int, stop <-chan struct{}) (wait func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var writers, reader sync.WaitGroup
	for writer := range crashWriters {
		rnd := rand.New(rand.NewPCG(seed.Uint64(), 1))
		writers.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a := attempt{writer: writer, number: cycle*100_000 + i, class: store.Class(rnd.IntN(2))}
				w.begins(a)
				at, err := s.Commit(ctx, a.txn())
				if err != nil {
					return
				}
				a.revision = at
				w.acknowledged(a)
				if rnd.IntN(60) == 0 {
					if err := s.Compact(ctx, at); err != nil && !errors.Is(err, store.ErrCompacted) {
						return
					}
				}
			}
		})
	}
	reader.Go(func() {
		at, _ := s.Revision(ctx)
		w.saw(at)
		for e, err := range s.Watch(ctx, "/w/", at) {
			if err != nil {
				return
			}
			w.saw(e.Revision)
		}
	})
	reader.Go(func() { // as the server's memory does: it is shown what is committed before anybody is answered
		at, _ := s.Revision(ctx)
		s.Push(ctx, "/w/", at, func(events []store.Event) bool {
			w.saw(events[0].Revision)
			return true
		})
	})
	return func() {
		writers.Wait()
		cancel()
		reader.Wait()
	}
}

// Power is cut at a random write, sync, create, rename or remove, also of Open
// and Close. What was not synced is then lost, or there in random pieces.
func TestPowerCut(t *testing.T) {
	seed := storetest.Seed(t)
	const lives = 100 // of one disk: its history grows
	all := cycles(t, 40, 1500)
	for done := 0; done < all && !t.Failed(); done += lives {
		disk := vfs.NewCrashableMem()
		w := &witness{t: t, taken: map[store.Revision]string{}}
		for i := range w.begun {
			w.begun[i] = map[int]bool{}
		}
		kept := 0 // percent of what was not synced
		for cycle := done; cycle < min(all, done+lives); cycle++ {
			disk, kept = w.cycle(disk, kept, seed, cycle+1)
			if t.Failed() {
				t.Fatalf("in cycle %d", cycle+1)
			}
		}
		t.Logf("%d transactions were acknowledged, the newest revision is %d", len(w.taken), w.seen)
	}
}

func (w *witness) cycle(disk *vfs.MemFS, kept int, seed *rand.Rand, cycle int) (*vfs.MemFS, int) {
	var left atomic.Int64
	left.Store(int64(seed.IntN(1 << (2 + seed.IntN(10)))))
	percent := []int{0, 0, 30, 70, 100}[seed.IntN(5)]
	refuse := seed.IntN(2) == 0 && cycle <= 200 // an Open that is refused may stay in pebble, with its disk, for ever
	rng := rand.New(rand.NewPCG(seed.Uint64(), 2))
	var after *vfs.MemFS
	cut := make(chan struct{})
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		switch n := left.Add(-1); {
		case n == 0:
			w.mu.Lock()
			after = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			w.frozen = true
			w.lossy = w.lossy || percent < 100 // all is kept when only the process is killed
			w.mu.Unlock()
			close(cut)
		case n > 0:
			return nil
		}
		if refuse {
			return errors.New("no power")
		}
		return nil
	})
	left.Add(1)
	s, err := embedded.Open("data", embedded.Options{FS: errorfs.Wrap(disk, inject), RecentBytes: 20_000})
	if err != nil && left.Load() > 0 {
		w.t.Fatalf("open after a power cut with %d%% kept: %v", kept, err)
	}
	if err == nil {
		if left.Load() > 0 {
			w.check(s)
		}
		closeEarly := seed.IntN(8) == 0
		wait := w.write(s, seed, cycle, cut)
		if !closeEarly {
			<-cut
		}
		if err := s.Close(); err != nil && left.Load() > 0 {
			w.t.Errorf("close: %v", err)
		}
		wait()
	}
	if left.Load() > 0 { // closed in time
		return disk, 100
	}
	<-cut
	w.frozen = false
	return after, percent
}
