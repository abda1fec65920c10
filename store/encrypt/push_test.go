package encrypt

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
)

// A plugin that does not answer stops who follows, but nobody's writes, and nothing is missed or given twice.
func TestPushDoesNotWaitForAPlugin(t *testing.T) {
	engine, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	none, err := Parse([]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - identity: {}\n"), map[string]string{"secrets": "secrets"})
	if err != nil {
		t.Fatal(err)
	}
	s := New(engine, none)
	put := func(name string) {
		t.Helper()
		op := store.Op{Key: "/registry/secrets/a/" + name, Value: []byte("plain " + name), Expect: store.Any}
		if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 10)
	var following sync.WaitGroup
	following.Go(func() {
		s.Push(ctx, "/registry/", 0, func(events []store.Event) bool {
			for _, e := range events {
				seen <- string(e.Value)
			}
			return true
		})
	})
	put("1")
	got := []string{<-seen}

	path := filepath.Join(t.TempDir(), "kms.sock")
	p := &plugin{key: 1, healthz: "ok"}
	p.serve(t, path)
	keys := kmsKeys(t, path)
	s.Use(keys)
	put("2")
	got = append(got, <-seen)
	k := keys.kms[0]
	k.mu.Lock()
	clear(k.cache) // who reads must ask again
	k.mu.Unlock()
	p.mu.Lock() // and is not answered
	put("3")
	put("4")
	p.mu.Unlock()
	got = append(got, <-seen, <-seen)
	cancel()
	following.Wait()
	if want := []string{"plain 1", "plain 2", "plain 3", "plain 4"}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}
