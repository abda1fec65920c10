package memory_test

import (
	"testing"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New() })
}
