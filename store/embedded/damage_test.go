package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// filled is a closed store, with several files of each kind, and what is in it.
func filled(t *testing.T, rnd *rand.Rand) (*vfs.MemFS, []store.Entry) {
	disk := vfs.NewCrashableMem()
	ctx := context.Background()
	var want []store.Entry
	for range 2 {
		s := open(t, "data", embedded.Options{FS: disk})
		for i := range 150 {
			var ops []store.Op
			for j := range 10 {
				value := make([]byte, 3000)
				for k := range value {
					value[k] = byte(rnd.Uint32())
				}
				ops = append(ops, store.Op{Key: fmt.Sprintf("/f/%d", (i*10+j)%1000), Value: value, Expect: store.Any})
			}
			if _, err := s.Commit(ctx, store.Txn{Ops: ops, Class: store.Relaxed}); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if want, _, err = s.List(ctx, "", store.Page{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return disk, want
}

// files lists the files of the store that have content.
func files(t *testing.T, disk vfs.FS) (paths []string) {
	for _, dir := range []string{"data/log", "data/pebble"} {
		names, err := disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := disk.Stat(dir + "/" + name); err == nil && info.Size() > 0 && name != "LOCK" {
				paths = append(paths, dir+"/"+name)
			}
		}
	}
	return paths
}

// rewrite gives the file other content.
func rewrite(t *testing.T, disk vfs.FS, path string, change func([]byte) []byte) {
	f, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if f, err = disk.Create(path, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(change(data)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a damaged file held is refused, when the store is opened or when it is read. It is never served.
func TestDamage(t *testing.T) {
	rnd := storetest.Seed(t)
	disk, want := filled(t, rnd)
	paths := files(t, disk)
	kinds, harmless := map[string]int{}, map[string]int{}
	damages := map[string]func([]byte) []byte{
		"a flipped bit":   func(b []byte) []byte { b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8); return b },
		"a zeroed sector": func(b []byte) []byte { i := rnd.IntN(len(b)); clear(b[i:min(len(b), i+512)]); return b },
		"a cut end":       func(b []byte) []byte { return b[:rnd.IntN(len(b))] },
		"nothing at all":  func(b []byte) []byte { return nil },
	}
	detected := 0
	for range cycles(t, 12, 300) {
		path := paths[rnd.IntN(len(paths))]
		for name, damage := range damages {
			hurt := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rnd})
			changed := false
			rewrite(t, hurt, path, func(b []byte) []byte {
				was := string(b)
				b = damage(b)
				changed = string(b) != was
				return b
			})
			if !changed {
				continue
			}
			if refused(t, hurt, want, path+": "+name) {
				detected++
				kinds[syncKind(path)]++
			} else { // nothing that the store reads was there: all was read, and was right
				harmless[name+" of a "+syncKind(path)]++
			}
		}
	}
	if detected == 0 {
		t.Error("no damage was detected")
	}
	t.Logf("%d detected, by kind of file: %v; without effect: %v", detected, kinds, harmless)
}

// refused opens and reads the store; what it reads must be right.
func refused(t *testing.T, disk vfs.FS, want []store.Entry, what string) bool {
	t.Helper()
	s, err := embedded.Open("data", embedded.Options{FS: disk})
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: not called corrupt: %v", what, err)
		}
		return true
	}
	defer s.Close()
	ctx := context.Background()
	detected := false
	for _, e := range want {
		got, err := s.Get(ctx, e.Key, 0)
		switch {
		case errors.Is(err, store.ErrCorrupt):
			detected = true
			if !strings.Contains(err.Error(), e.Key) {
				t.Errorf("%s: the error does not name %s: %v", what, e.Key, err)
			}
		case err != nil:
			t.Errorf("%s: get %s: %v", what, e.Key, err)
		case string(got.Value) != string(e.Value) || got.Revision != e.Revision:
			t.Fatalf("%s: %s is served with %d bytes of revision %d, should be %d of %d",
				what, e.Key, len(got.Value), got.Revision, len(e.Value), e.Revision)
		}
	}
	entries, _, err := s.List(ctx, "", store.Page{})
	if err == nil && len(entries) != len(want) {
		t.Errorf("%s: %d entries are listed, should be %d", what, len(entries), len(want))
	}
	return detected || errors.Is(err, store.ErrCorrupt)
}

// A log whose last segment was emptied is not one whose making a crash interrupted.
func TestEmptiedSegment(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := open(t, "data", embedded.Options{FS: disk})
	defer s.Close()
	if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/a", Value: []byte("x"), Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
	killed := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	names, err := killed.List("data/log")
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	rewrite(t, killed, "data/log/"+names[0], func([]byte) []byte { return nil })
	if _, err := embedded.Open("data", embedded.Options{FS: killed}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("opened, or failed otherwise: %v", err)
	}
}

// A disk that refuses writes ends writing, not reading; what was acknowledged is there after a restart.
func TestDiskRefuses(t *testing.T) {
	rnd := storetest.Seed(t)
	for name, refusal := range map[string]error{"full": syscall.ENOSPC, "broken": syscall.EIO} {
		for range 6 {
			t.Run(name, func(t *testing.T) { diskRefuses(t, refusal, 20+rnd.IntN(900)) })
		}
	}
}

func diskRefuses(t *testing.T, refusal error, after int) {
	disk := vfs.NewCrashableMem()
	var left atomic.Int64
	left.Store(int64(after))
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) < 0 {
			return refusal
		}
		return nil
	})
	left.Add(200) // for Open
	s := open(t, "data", embedded.Options{FS: errorfs.Wrap(disk, inject)})
	left.Store(int64(after))
	ctx := context.Background()
	acknowledged, unknown := 0, 0
	for i := 1; ; i++ {
		op := store.Op{Key: "/n", Value: fmt.Appendf(nil, "%d %s", i, make([]byte, 20_000)), Expect: store.Any}
		_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{op}, Class: store.Class(i % 2)})
		if errors.Is(err, store.ErrReadOnly) {
			break
		}
		if err != nil {
			if !errors.Is(err, refusal) {
				t.Errorf("the error does not say why: %v", err)
			}
			unknown = i
			continue
		}
		if unknown > 0 {
			t.Fatalf("write %d is acknowledged after the disk refused %d", i, unknown)
		}
		acknowledged = i
	}
	number := func(s store.Store) (n int) {
		e, err := s.Get(ctx, "/n", 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscanf(string(e.Value), "%d ", &n)
		return n
	}
	shown := number(s)
	if shown != acknowledged && shown != unknown {
		t.Errorf("reads show write %d; %d was acknowledged, %d unknown", shown, acknowledged, unknown)
	}
	if err := s.Close(); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("close says %v", err)
	}
	// The process ends, and another begins.
	disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	s = open(t, "data", embedded.Options{FS: disk})
	defer s.Close()
	if got := number(s); got < shown || got != acknowledged && got != unknown {
		t.Errorf("after a restart write %d is there; %d was acknowledged, %d unknown", got, acknowledged, unknown)
	}
}
