package embedded_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/lighter-k8s/lighter/store/storetest"
)

// cutter cuts the power under a story, in a copy of the disk, at the writing
// operations that pick says, and checks what is left. The story goes on.
type cutter struct {
	story *story
	disk  *vfs.MemFS
	pick  func(n int) bool

	mu    sync.Mutex // the disk stands still during a check
	rnd   *rand.Rand
	n     int            // operations so far
	cuts  int            // checks
	kinds map[string]int // of the operations that did not happen
	bad   atomic.Pointer[error]
}

// live lives the story on the disk seen through lie, if any, and returns what was wrong after a cut.
func (c *cutter) live(pick func(n int) bool, lie func(kind string) bool) error {
	c.pick = pick
	c.disk, c.kinds = vfs.NewCrashableMem(), map[string]int{}
	fs := errorfs.Wrap(liar{c.disk, lie}, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && op.Kind != errorfs.OpLock {
			if err := c.before(op); err != nil {
				c.bad.CompareAndSwap(nil, &err)
			}
		}
		return nil
	}))
	err := c.story.live(fs, func() bool { return c.bad.Load() == nil })
	if bad := c.bad.Load(); bad != nil {
		return *bad
	}
	return err
}

// before is called before each writing operation.
func (c *cutter) before(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if !c.pick(c.n) || c.bad.Load() != nil {
		return nil
	}
	c.kinds[syncKind(op.Path)]++
	// What is written and not synced is lost, or there in pieces, or all there: then only the process was killed.
	kept := []int{0, 0, 30, 70, 100}[c.rnd.IntN(5)]
	c.story.mu.Lock()
	k := c.story.known
	after := crashed(c.disk, kept, c.rnd)
	c.story.mu.Unlock()
	if kept == 100 {
		k.safe = max(k.safe, k.answered)
	} else {
		k.forgot = 0
	}
	return wrap(c.check(after, k, 2), "power cut at operation %d (%v %s) with %d%% of what was not synced", c.n, op.Kind, op.Path, kept)
}

// check checks what a crash left, and perhaps what a second crash leaves of it, when the store is being opened.
func (c *cutter) check(disk *vfs.MemFS, k known, again int) error {
	c.cuts++
	if again == 0 || c.rnd.IntN(2) == 0 {
		return c.story.check(disk, k, c.rnd, nil)
	}
	at, n := 1+c.rnd.IntN(50), 0
	kept := []int{0, 50, 100}[c.rnd.IntN(3)]
	var mu sync.Mutex
	var after *vfs.MemFS
	opened := false
	err := c.story.check(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && !opened {
			if n++; n == at {
				after = crashed(disk, kept, c.rnd)
			}
		}
		return nil
	})), k, c.rnd, func() {
		mu.Lock()
		defer mu.Unlock()
		opened = true
	})
	if err != nil || after == nil {
		return err
	}
	return wrap(c.check(after, k, again-1), "a second cut at operation %d of Open with %d%%", at, kept)
}

// crashed is the disk after a crash that kept some percent of what was not synced. MemFS brings back all names whose
// removal was not synced; of the log's they may be gone too, the first ones first. (Pebble's removals of one folder
// are not on the disk before what it made there earlier: pebble relies on the file system for that, when it exchanges a
// marker: it makes the new one, removes the old one, and syncs the folder once.)
func crashed(disk *vfs.MemFS, kept int, rnd *rand.Rand) *vfs.MemFS {
	const dir = "data/log"
	before, _ := disk.List(dir) // it may not be there yet
	after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rnd})
	now, _ := disk.List(dir) // others may write at the same time: what is in neither list was removed before
	there, _ := after.List(dir)
	slices.Sort(there)
	for _, name := range there {
		if slices.Contains(before, name) || slices.Contains(now, name) {
			continue
		}
		if rnd.IntN(100) >= kept {
			break
		}
		after.Remove(dir + "/" + name)
	}
	if f, err := after.OpenDir(dir); err == nil {
		f.Sync() // what was removed is
		f.Close()
	}
	return after
}

// liar says of some syncs that they were done. A sync's kind is what it syncs.
type liar struct {
	vfs.FS
	lie func(kind string) bool
}

func syncKind(name string) string {
	switch base := path.Base(name); {
	case strings.HasSuffix(base, ".log"), base == "new": // which is to be one
		return "log"
	case strings.HasSuffix(base, ".sst"):
		return "table"
	default:
		kind, _, _ := strings.Cut(base, "-")
		kind, _, _ = strings.Cut(kind, ".")
		return strings.ToLower(kind)
	}
}

func (l liar) wrap(f vfs.File, err error, kind string) (vfs.File, error) {
	if err != nil || l.lie == nil {
		return f, err
	}
	return unsynced{f, l, kind}, nil
}

func (l liar) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	return l.wrap(f, err, syncKind(name))
}

func (l liar) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := l.FS.OpenReadWrite(name, c, o...)
	return l.wrap(f, err, syncKind(name))
}

func (l liar) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	return l.wrap(f, err, "folder "+path.Clean(name))
}

type unsynced struct {
	vfs.File
	liar liar
	kind string
}

func (f unsynced) Sync() error {
	if f.liar.lie(f.kind) {
		return nil
	}
	return f.File.Sync()
}

func (f unsynced) SyncData() error { return f.Sync() }

// Power is cut at every write and every sync of a workload of a thousand
// transactions, or at some of them where a slice is enough. Each further
// workload is of the next seed: LIGHTER_SEED goes on where another run ended.
func TestPowerCutEverywhere(t *testing.T) {
	seed := storetest.SeedNumber(t)
	total := cycles(t, 1000, 100_000)
	for left := total; left > total/5; seed++ { // about as many in all
		story := func() *story { return newStory(rand.New(rand.NewPCG(seed, 0)), 1000) }
		count := &cutter{story: story()}
		if err := count.live(func(int) bool { return false }, nil); err != nil {
			t.Fatalf("LIGHTER_SEED=%d: %v", seed, err)
		}
		every := max(1, count.n*7/4/left) // a cut is checked twice about: another is made in its Open
		c := &cutter{story: story(), rnd: rand.New(rand.NewPCG(seed, 1))}
		if err := c.live(func(n int) bool { return n%every == int(seed%uint64(every)) }, nil); err != nil {
			t.Fatalf("LIGHTER_SEED=%d: %v", seed, err)
		}
		left -= c.cuts
		t.Logf("LIGHTER_SEED=%d: %d operations, %d crashes checked, by what was to happen: %v", seed, c.n, c.cuts, c.kinds)
	}
	t.Logf("LIGHTER_SEED=%d goes on from here", seed)
}

// A store that leaves out a kind of sync, or one single sync of those that no
// other makes good, is caught by the same check. Not in the list are the marker,
// whose file is empty, and pebble's note of its options, which is made anew:
// nothing is lost with what is in them. Names in the other folders are synced twice.
func TestMutantsOfSyncs(t *testing.T) {
	seed := storetest.SeedNumber(t)
	for kind, singles := range map[string][]bool{
		"log": {false, true}, "table": {false, true}, "manifest": {false, true}, "folder data/log": {false, true},
		"folder .": {false}, "folder data": {false}, "folder data/pebble": {false},
	} {
		for _, single := range singles {
			t.Run(fmt.Sprintf("%s, single: %v", kind, single), func(t *testing.T) {
				crashes := 0
				for n := range uint64(30) {
					c := &cutter{story: newStory(rand.New(rand.NewPCG(seed+n, 0)), 300), rnd: rand.New(rand.NewPCG(seed+n, 1))}
					syncs, since := 0, -1
					which := 1
					if n > 0 {
						which += c.rnd.IntN(1 + 2*int(n))
					}
					err := c.live(func(at int) bool { return since >= 0 && at%3 == 0 && (!single || at < since+100) }, func(k string) bool {
						if k == kind {
							syncs++
						}
						if k != kind || syncs < which || single && syncs > which {
							return false
						}
						if since < 0 {
							since = c.n
						}
						return true
					})
					if crashes += c.cuts; err != nil {
						t.Logf("caught after %d crashes, of %d stories, from sync %d on: %v", crashes, n+1, which, err)
						return
					}
				}
				t.Errorf("LIGHTER_SEED=%d: %d crashes did not show it", seed, crashes)
			})
		}
	}
}
