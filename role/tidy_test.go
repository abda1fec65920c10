package role

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// An etcd whose file is full refuses writes by name; when what fills it was compacted, it takes them again by itself.
func TestFullEtcdTakesWritesAgain(t *testing.T) {
	const quota = 16 << 20
	endpoint := storetest.Etcd(t, "--quota-backend-bytes", fmt.Sprint(quota))
	config := etcd.Config{Endpoints: []string{endpoint}, Prefix: "/registry"}
	s, err := etcd.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := etcd.NewMembers(config)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	list, err := all.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	tidy := &tidier{peer: list[0].Peer, worthwhile: 1 << 20, roomy: quota - 4<<20, log: slog.New(slog.DiscardHandler)}

	// Half of it is objects that are there, the rest is what one key was before.
	write := func(key string) (store.Revision, error) {
		return s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: make([]byte, 512<<10), Expect: store.Any}}})
	}
	var newest store.Revision
	for n := range 12 {
		if newest, err = write(fmt.Sprintf("/k/%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; err == nil && n < 100; n++ {
		var at store.Revision
		if at, err = write("/k/changes"); err == nil {
			newest = at
		}
	}
	if !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("a full etcd says %v", err)
	}
	if err := tidy.run(t.Context(), all); err != nil { // nothing was forgotten yet: it stays full
		t.Fatal(err)
	}
	if _, err := write("/k/changes"); !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("before anything was compacted: %v", err)
	}
	if e, err := s.Get(t.Context(), "/k/3", 0); err != nil || len(e.Value) == 0 {
		t.Errorf("reads go on: %v", err)
	}
	if err := s.Compact(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	err = store.ErrReadOnly
	for range 3 { // the member forgets in the background
		time.Sleep(300 * time.Millisecond)
		if err := tidy.run(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		if _, err = write("/k/changes"); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("after a compaction: %v", err)
	}
}
