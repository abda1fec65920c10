package embedded_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/storetest"
)

func open(t testing.TB, dir string, o embedded.Options) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, "data", embedded.Options{FS: vfs.NewMem()})
	})
}

// The events come from pebble when memory is too small for them.
func TestStoreWithoutRecentEvents(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, "data", embedded.Options{FS: vfs.NewMem(), RecentBytes: 1})
	})
}

func TestStoreOnDisk(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) store.Store {
		return open(t, dir, embedded.Options{})
	})
}
