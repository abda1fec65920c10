package role

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go lets the heap grow by as much as was live before it collects, so that a server with 1 GiB of objects would hold 2.
// Ours are bytes for the most part, which cost the collector nothing to look at: the more of them there are, the less
// may be added to them. Small heaps may double as ever, and never less than heapRoom is left to grow into.
const (
	heapRoom    = 24 << 20
	leastGrowth = 25 // percent
	watchHeap   = 2 * time.Second
)

// growth is the percentage by which a heap may grow.
func growth(live uint64) int {
	return int(max(leastGrowth, min(100, heapRoom*100/max(live, 1))))
}

// boundHeap keeps the collector's target near what is live, until ctx ends. What the user said with GOGC stays.
func boundHeap(ctx context.Context) error {
	before := debug.SetGCPercent(100)
	debug.SetGCPercent(before)
	if before != 100 {
		return nil
	}
	defer debug.SetGCPercent(100)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(watchHeap)
	defer tick.Stop()
	for now := 100; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(live)
		if want := growth(live[0].Value.Uint64()); want*10 < now*9 || want*10 > now*11 { // setting it stops the world
			debug.SetGCPercent(want)
			now = want
		}
	}
}
