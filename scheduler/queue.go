package scheduler

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// A pod that fits nowhere waits this long before it is tried again: doubling from firstDelay up to maxDelay.
const (
	firstDelay = time.Second
	maxDelay   = 10 * time.Second
	// longestAside is when a refused pod is tried again although nothing is known to have helped it.
	longestAside = 5 * time.Minute
	// patience is how many refusals in a row let the pod that has waited longest go first, whatever its
	// priority: pods that fit nowhere must not starve those that fit.
	patience = 16
)

type place uint8

const (
	nowhere place = iota // being decided on, or bound
	active               // ready
	backOff              // ready at a time
	aside                // until something helps
)

// entry is a pod that waits for a node.
type entry struct {
	ask      *ask
	place    place
	at       int       // in its heap
	since    time.Time // orders equals in active: when it came in, or was last refused
	serial   uint64    // orders equals in time
	ready    time.Time // when its back-off ends
	tries    int       // refusals in a row
	rejected cause
	said     said // what its status says, written or being written
}

// queue holds the pods that wait for a node. It has no clock and no lock.
type queue struct {
	entries map[types.UID]*entry
	active  entryHeap
	backOff entryHeap
	aside   entryHeap
	asideBy [causes]int    // how many are aside for each cause
	helped  [causes]uint64 // how often something happened that can end refusals by each cause
	serial  uint64
	refused int // in a row
}

func newQueue() *queue {
	q := &queue{entries: map[types.UID]*entry{}}
	q.active.less = func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.ask.priority, a.ask.priority), a.since.Compare(b.since), cmp.Compare(a.serial, b.serial))
	}
	q.backOff.less = func(a, b *entry) int { return cmp.Or(a.ready.Compare(b.ready), cmp.Compare(a.serial, b.serial)) }
	q.aside.less = func(a, b *entry) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.serial, b.serial)) }
	return q
}

// add puts a new pod in, or gives the newest state of one that waits; a changed one is tried again.
func (q *queue) add(a *ask, now time.Time) {
	e := q.entries[a.obj.UID]
	if e == nil {
		q.serial++
		e = &entry{ask: a, since: a.obj.CreationTimestamp.Time, serial: q.serial, said: saidOf(a.obj)}
		q.entries[a.obj.UID] = e
		q.activate(e)
		return
	}
	if n := e.ask.nominated; n != nil {
		n.nominated[slices.Index(n.nominated, e.ask)] = a
		e.ask.nominated, a.nominated = nil, n
	}
	e.ask = a
	switch e.place {
	case active:
		heap.Fix(&q.active, e.at)
	case aside:
		q.wakeOne(e, now)
	}
}

// remove forgets a pod.
func (q *queue) remove(uid types.UID) {
	if e := q.entries[uid]; e != nil {
		q.take(e)
		delete(q.entries, uid)
	}
}

// take takes an entry out of where it waits.
func (q *queue) take(e *entry) {
	switch e.place {
	case active:
		heap.Remove(&q.active, e.at)
	case backOff:
		heap.Remove(&q.backOff, e.at)
	case aside:
		heap.Remove(&q.aside, e.at)
		e.rejected.count(&q.asideBy, -1)
	}
	e.place = nowhere
}

func (q *queue) activate(e *entry) {
	e.place = active
	heap.Push(&q.active, e)
}

// pop takes out the pod to decide on next; nil when none is ready. It stays known until remove.
func (q *queue) pop(now time.Time) *entry {
	for len(q.backOff.list) > 0 && !q.backOff.list[0].ready.After(now) {
		e := heap.Pop(&q.backOff).(*entry)
		q.activate(e)
	}
	for len(q.aside.list) > 0 && !q.aside.list[0].since.Add(longestAside).After(now) {
		q.wakeOne(q.aside.list[0], now)
	}
	if len(q.active.list) == 0 {
		return nil
	}
	e := q.active.list[0]
	if q.refused >= patience {
		q.refused = 0
		for _, o := range q.active.list {
			if o.since.Before(e.since) {
				e = o
			}
		}
	}
	q.take(e)
	return e
}

// next is when the first pod becomes ready by itself; false: none will.
func (q *queue) next() (at time.Time, ok bool) {
	if len(q.aside.list) > 0 {
		at, ok = q.aside.list[0].since.Add(longestAside), true
	}
	if len(q.backOff.list) > 0 && (!ok || q.backOff.list[0].ready.Before(at)) {
		at, ok = q.backOff.list[0].ready, true
	}
	return at, ok
}

// putAside keeps a refused pod until something happens that can help it.
func (q *queue) putAside(e *entry, by cause, now time.Time) {
	q.refused++
	e.rejected, e.since = by, now
	e.ready = now.Add(delay(e.tries))
	e.tries++
	e.place = aside
	heap.Push(&q.aside, e)
	by.count(&q.asideBy, 1)
}

// retry brings a pod back after a delay: its write was refused.
func (q *queue) retry(e *entry, now time.Time) {
	e.since, e.ready = now, now.Add(delay(e.tries))
	e.tries++
	e.place = backOff
	heap.Push(&q.backOff, e)
}

func delay(tries int) time.Duration { return min(firstDelay<<min(tries, 10), maxDelay) }

// wake brings back all that were refused for one of the causes, once their back-off is over.
func (q *queue) wake(by cause, now time.Time) {
	found := 0
	for i := range causes {
		if by&(1<<i) != 0 {
			q.helped[i]++
			found += q.asideBy[i]
		}
	}
	if found == 0 {
		return
	}
	for _, e := range slices.Clone(q.aside.list) {
		if e.rejected&by != 0 {
			q.wakeOne(e, now)
		}
	}
}

func (q *queue) wakeOne(e *entry, now time.Time) {
	if e.place != aside {
		return
	}
	q.take(e)
	if e.ready.After(now) {
		e.place = backOff
		heap.Push(&q.backOff, e)
		return
	}
	q.activate(e)
}

// help is how often something happened that can end refusals by the causes.
func (q *queue) help(by cause) (sum uint64) {
	for i := range causes {
		if by&(1<<i) != 0 {
			sum += q.helped[i]
		}
	}
	return sum
}

// entryHeap is a heap.Interface.
type entryHeap struct {
	list []*entry
	less func(a, b *entry) int
}

func (h *entryHeap) Len() int           { return len(h.list) }
func (h *entryHeap) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) < 0 }
func (h *entryHeap) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].at, h.list[j].at = i, j
}
func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	e.at = len(h.list)
	h.list = append(h.list, e)
}
func (h *entryHeap) Pop() any {
	last := len(h.list) - 1
	e := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return e
}
