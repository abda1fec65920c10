package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/lighter-k8s/lighter/store"
)

func leadStore(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("data", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func leadTxn(key string) store.Txn {
	return store.Txn{Ops: []store.Op{{Key: key, Value: []byte("x"), Expect: store.Any}}}
}

// following waits until a follower has seen all.
func following(s *Store) {
	for n := 0; n == 0; time.Sleep(time.Millisecond) {
		s.recent.mu.Lock()
		n = len(s.recent.followers)
		s.recent.mu.Unlock()
	}
}

// A Commit that is alone writes the log itself, and a follower knows of it when it returns.
func TestLeader(t *testing.T) {
	var itself, others atomic.Int64
	s := leadStore(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, "data/log/") {
			if strings.Contains(string(debug.Stack()), "TestLeader") {
				itself.Add(1)
			} else {
				others.Add(1)
			}
		}
		return nil
	})))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var seen atomic.Int64
	var end sync.WaitGroup
	end.Go(func() {
		s.Push(ctx, "/", 0, func(events []store.Event) bool {
			seen.Store(int64(events[0].Revision))
			return true
		})
	})
	following(s)
	const writes = 200
	for n := range writes {
		at, err := s.Commit(ctx, leadTxn(fmt.Sprint("/", n)))
		if err != nil || seen.Load() < int64(at) {
			t.Fatalf("revision %d (%v) is acknowledged, the follower knows of %d", at, err, seen.Load())
		}
	}
	if itself.Load() < writes/2 { // but while pebble flushes or the log is settled
		t.Errorf("%d of %d writes of the log by who commits, %d by others", itself.Load(), writes, others.Load())
	}
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for n := range 50 {
				at, err := s.Commit(ctx, leadTxn(fmt.Sprint("/", w, "/", n)))
				if err != nil || seen.Load() < int64(at) {
					t.Errorf("revision %d (%v) is acknowledged, the follower knows of %d", at, err, seen.Load())
				}
			}
		})
	}
	group.Wait()
	cancel()
	end.Wait()
}

// What comes after a leader's group may be in the log first, but is not shown first.
func TestLeaderIsNotOvertaken(t *testing.T) {
	s := leadStore(t, vfs.NewMem())
	defer s.Close()
	var first, second atomic.Bool
	inside, release := make(chan bool), make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		s.Push(ctx, "/", 0, func([]store.Event) bool {
			if first.CompareAndSwap(false, true) {
				inside <- true
				<-release
			}
			return true
		})
	})
	following(s)
	group.Go(func() { s.Commit(ctx, leadTxn("/1")) })
	<-inside // the leader has given up the log, and shows
	group.Go(func() {
		if _, err := s.Commit(ctx, leadTxn("/2")); err != nil {
			t.Error(err)
		}
		second.Store(true)
	})
	for n, carried := 0, false; !carried; time.Sleep(time.Millisecond) {
		if n++; n > 10_000 {
			t.Error("the second is not carried while the first is shown")
			break
		}
		s.mu.Lock()
		carried = s.assigned == 2 && len(s.forming.sizes) == 0 && !s.carrying
		s.mu.Unlock()
	}
	s.mu.Lock()
	if s.leads() {
		t.Error("a third would lead, and could be shown before the second")
	}
	s.mu.Unlock()
	for range 50 { // it has all the time it wants
		if at := s.recent.revision(); at != 1 || second.Load() {
			t.Errorf("revision %d is shown while 1 is", at)
			break
		}
		time.Sleep(time.Millisecond)
	}
	release <- true
	for !second.Load() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	group.Wait()
}

// While the disk hangs a leader waits for it; everybody else is told when their time is up.
func TestDiskHangs(t *testing.T) {
	var hangs atomic.Bool
	inside, release := make(chan bool), make(chan bool)
	s := leadStore(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && hangs.CompareAndSwap(true, false) {
			inside <- true
			<-release
		}
		return nil
	})))
	defer s.Close()
	hangs.Store(true)
	led := make(chan error)
	go func() {
		_, err := s.Commit(t.Context(), leadTxn("/1"))
		led <- err
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Commit(ctx, leadTxn("/2")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the disk hangs: %v", err)
	}
	if e, err := s.Get(t.Context(), "/1", 0); err != nil || e.Revision != 0 {
		t.Errorf("what is not on the disk is read: %v, %v", e, err)
	}
	release <- true
	if err := <-led; err != nil {
		t.Error(err)
	}
	if _, err := s.Commit(t.Context(), leadTxn("/3")); err != nil {
		t.Error(err)
	}
	if at, err := s.Revision(t.Context()); err != nil || at != 3 { // what was given up on is written all the same
		t.Errorf("revision %d, %v", at, err)
	}
}

// Who begins to follow late is given what was before, too.
func TestFollowerCatchesUp(t *testing.T) {
	s := leadStore(t, vfs.NewMem())
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 {
		if _, err := s.Commit(ctx, leadTxn("/a")); err != nil {
			t.Fatal(err)
		}
	}
	var got []store.Revision
	err := s.Push(ctx, "/", 0, func(events []store.Event) bool {
		got = append(got, events[0].Revision)
		return len(got) < 3
	})
	if err != nil || !slices.Equal(got, []store.Revision{1, 2, 3}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// A Restore ends a follower as it ends a watch.
func TestRestoreEndsFollowers(t *testing.T) {
	var b strings.Builder
	full := leadStore(t, vfs.NewMem())
	defer full.Close()
	if _, err := full.Commit(t.Context(), leadTxn("/a")); err != nil {
		t.Fatal(err)
	}
	if _, err := full.Backup(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	s := leadStore(t, vfs.NewMem())
	defer s.Close()
	ended := make(chan error)
	go func() {
		ended <- s.Push(t.Context(), "/", 0, func([]store.Event) bool { return true })
	}()
	following(s)
	if _, err := s.Restore(t.Context(), strings.NewReader(b.String()), 100); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, store.ErrCompacted) {
		t.Error(err)
	}
}
