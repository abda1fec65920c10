package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// What ext4's shutdown call does before the file system is gone.
const (
	shutdownCall = 0x8004587d // FS_IOC_SHUTDOWN
	writesAll    = 0          // like a process that is killed: nothing is lost
	writesLog    = 1          // of the file system, without the data
	writesNone   = 2          // as when the power goes
)

// loopDisk is an ext4 of its own, in a file.
type loopDisk struct {
	t          *testing.T
	image, dir string
	mounted    bool
}

func newLoopDisk(t *testing.T) *loopDisk {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("needs loop devices: ", err)
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4: ", err)
	}
	d := &loopDisk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: filepath.Join(t.TempDir(), "mount")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 256<<20), os.Mkdir(d.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-F", d.image)
	t.Cleanup(d.unmount)
	return d
}

func (d *loopDisk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// mount takes a loop device that goes with the mount.
func (d *loopDisk) mount() {
	d.t.Helper()
	d.run("mount", "-o", "loop", d.image, d.dir)
	d.mounted = true
}

func (d *loopDisk) unmount() {
	if d.mounted {
		d.run("umount", d.dir)
		d.mounted = false
	}
}

func (d *loopDisk) shutdown(how int) {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdownCall, how); err != nil {
		d.t.Fatalf("shutdown of the file system: %v", err)
	}
}

// heard is what a client heard of a writer's process.
type heard struct {
	mu    sync.Mutex
	lines int
	acked map[string]store.Revision // key to its newest
	deaf  bool
	err   error
	ended chan struct{}
}

func (h *heard) listen(out io.Reader) {
	defer close(h.ended)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		h.mu.Lock()
		var key string
		var at store.Revision
		if !h.deaf {
			h.lines++
			if _, err := fmt.Sscanf(lines.Text(), "acked %s %d", &key, &at); err != nil {
				h.err = fmt.Errorf("the process says %q", lines.Text())
			}
			h.acked[key] = max(h.acked[key], at)
		}
		h.mu.Unlock()
	}
}

// Power is cut under a process that writes to a real file system: its shutdown
// call makes it forget what it had not written, and then it replays its journal.
func TestFileSystemShutdown(t *testing.T) {
	seed := storetest.Seed(t)
	d := newLoopDisk(t)
	d.mount()
	var newest store.Revision
	acked, lost := 0, 0
	for cycle := range cycles(t, 3, 300) {
		how := []int{writesNone, writesLog, writesAll}[cycle%3]
		if cycle > 3 && seed.IntN(2) == 0 {
			how = writesNone
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LIGHTER_TEST_KILL_DIR="+filepath.Join(d.dir, "data"))
		if cycle == 1 || seed.IntN(4) == 0 {
			cmd.Env = append(cmd.Env, "LIGHTER_TEST_KILL_RELAXED=1")
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // of what ended in between
			cmd.Process.Kill()
			cmd.Wait()
		})
		h := &heard{acked: map[string]store.Revision{}, ended: make(chan struct{})}
		go h.listen(out)
		began, want := time.Now(), 1+seed.IntN(2000)
		for enough := false; !enough; time.Sleep(time.Millisecond) {
			h.mu.Lock()
			slow := time.Since(began)
			enough = h.lines >= want || slow > 2*time.Second && h.lines > 0 || slow > 30*time.Second
			h.mu.Unlock()
		}
		h.mu.Lock()
		h.deaf = true // only what was acknowledged before the cut began counts
		h.mu.Unlock()
		unsynced := filepath.Join(d.dir, "unsynced")
		if err := os.WriteFile(unsynced, []byte("of nobody's concern"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.shutdown(how)
		cmd.Process.Kill()
		<-h.ended
		cmd.Wait()
		if h.err != nil || h.lines == 0 {
			t.Fatalf("cycle %d: %d lines, %v", cycle, h.lines, h.err)
		}
		d.unmount()
		d.mount()
		if data, err := os.ReadFile(unsynced); (err == nil && len(data) > 0) != (how == writesAll) {
			t.Errorf("a file that nobody synced has %q (%v): this was no cut", data, err)
		}
		os.Remove(unsynced)
		acked += h.lines
		lost += afterShutdown(t, d, h, how, &newest)
		if t.Failed() {
			t.Fatalf("in cycle %d, shutdown %d", cycle, how)
		}
		if cycle%50 == 49 {
			t.Logf("%d cycles", cycle+1)
		}
	}
	t.Logf("%d writes were acknowledged before the cuts, %d relaxed ones were lost, the newest revision is %d", acked, lost, newest)
}

// afterShutdown compares what is there with what was heard, and returns how many relaxed writes are lost.
func afterShutdown(t *testing.T, d *loopDisk, h *heard, how int, newest *store.Revision) (lost int) {
	ctx := context.Background()
	s := open(t, filepath.Join(d.dir, "data"), embedded.Options{})
	var shown store.Revision
	for key, at := range h.acked {
		shown = max(shown, at)
		if at <= *newest {
			t.Errorf("%s got revision %d, which was shown before the last cut", key, at)
		}
		var writer, n int
		fmt.Sscanf(key, "/kill/%d/%d", &writer, &n)
		e, err := s.Get(ctx, key, 0)
		switch {
		case err != nil:
			t.Errorf("get %s: %v", key, err)
		case e.Revision >= at:
		case store.Class(writer%2) == store.Durable || how == writesAll:
			t.Errorf("%s was acknowledged at %d and is at %d", key, at, e.Revision)
		default:
			lost++
		}
		if e, err := s.Get(ctx, key, at); err == nil && e.Revision != at || err != nil && !errors.Is(err, store.ErrCompacted) {
			t.Errorf("read of %s at revision %d: %d, %v", key, at, e.Revision, err)
		}
	}
	was := *newest
	var err error
	if *newest, err = s.Revision(ctx); err != nil || *newest < max(was, shown) {
		t.Errorf("the store is at revision %d (%v), but %d was shown", *newest, err, max(was, shown))
	}
	if _, _, err := s.List(ctx, "", store.Page{}); err != nil {
		t.Error(err)
	}
	if err := s.Compact(ctx, *newest); err != nil { // or the disk fills up
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return lost
}
