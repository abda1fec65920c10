package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// TestMain is the process that TestKill kills, when it is asked to be.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LIGHTER_TEST_KILL_DIR"); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim writes for ever, in both classes, and says what was acknowledged.
func victim(dir string) error {
	s, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		return err
	}
	var mu sync.Mutex // a line is written whole
	var group sync.WaitGroup
	for w := range 4 {
		if w%2 == int(store.Durable) && os.Getenv("LIGHTER_TEST_KILL_RELAXED") != "" {
			continue // or they would take the others' writes to the disk too
		}
		group.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("/kill/%d/%d", w, i%50)
				op := store.Op{Key: key, Value: fmt.Appendf(nil, "%d %s", i, make([]byte, 1000)), Expect: store.Any}
				at, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{op}, Class: store.Class(w % 2)})
				mu.Lock()
				if err != nil {
					fmt.Println("failed", err)
				} else {
					fmt.Println("acked", key, at)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return nil
}

// A kill -9 loses nothing that was acknowledged, relaxed or not.
func TestKill(t *testing.T) {
	seed := storetest.Seed(t)
	dir := t.TempDir()
	var newest store.Revision
	for range cycles(t, 4, 500) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LIGHTER_TEST_KILL_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := map[string]store.Revision{}
		lines := bufio.NewScanner(out)
		for left := 1 + seed.IntN(2500); lines.Scan(); left-- {
			var key string
			var at store.Revision
			if _, err := fmt.Sscanf(lines.Text(), "acked %s %d", &key, &at); err != nil {
				t.Errorf("the process says %q", lines.Text())
				break
			}
			if at <= newest {
				t.Errorf("revision %d was used before the kill", at)
			}
			acked[key] = max(acked[key], at)
			if left == 0 {
				break
			}
		}
		cmd.Process.Kill()
		for lines.Scan() { // what was said before the kill counts too
			var key string
			var at store.Revision
			if _, err := fmt.Sscanf(lines.Text(), "acked %s %d", &key, &at); err == nil {
				acked[key] = max(acked[key], at)
			}
		}
		cmd.Wait()

		s := open(t, dir, embedded.Options{})
		for key, at := range acked {
			if e, err := s.Get(context.Background(), key, 0); err != nil || e.Revision < at {
				t.Errorf("%s was acknowledged at %d and is at %d (%v)", key, at, e.Revision, err)
			}
		}
		if newest, err = s.Revision(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
