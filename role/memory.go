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
	quietTicks  = 10       // so many of them without a collection: what was needed is over
	laterTicks  = 40       // and so many: what the watch room keeps for a while may go too
	heapIdle    = 12 << 20 // what then goes back to the system, if it is as much
)

// growth is the percentage by which a heap may grow.
func growth(live uint64) int {
	return int(max(leastGrowth, min(100, heapRoom*100/max(live, 1))))
}

// boundHeap keeps the collector's target near what is live, until ctx ends. What the user said with GOGC stays. rest is
// called when little has happened for a while, to let go of more.
func boundHeap(ctx context.Context, rest func()) error {
	before := debug.SetGCPercent(100)
	debug.SetGCPercent(before)
	if before != 100 {
		return nil
	}
	defer debug.SetGCPercent(100)
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	tick := time.NewTicker(watchHeap)
	defer tick.Stop()
	var cycles uint64
	quiet, freed := 0, false
	for now := 100; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(heap)
		live := heap[0].Value.Uint64()
		if want := growth(live); want*10 < now*9 || want*10 > now*11 { // setting it stops the world
			debug.SetGCPercent(want)
			now = want
		}
		if quiet++; heap[1].Value.Uint64() != cycles {
			cycles, quiet, freed = heap[1].Value.Uint64(), 0, false
		}
		idle := heap[2].Value.Uint64() + heap[3].Value.Uint64() + heap[4].Value.Uint64() - live
		if quiet == laterTicks {
			rest()
		}
		if quiet == quietTicks && int64(idle) > heapIdle || quiet == laterTicks && freed {
			debug.FreeOSMemory() // counts as a cycle
			metrics.Read(heap)
			cycles, freed = heap[1].Value.Uint64(), true // not done again before the next one that was needed, but once when all is over
		}
	}
}
