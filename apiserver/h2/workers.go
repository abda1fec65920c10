package h2

import (
	"sync"
	"time"
)

// job is what a worker runs: a stream's handler, or what is pending on a connection.
type job interface{ run() }

// workers are goroutines that are used again: their stacks have grown already, and a handler of an API server needs
// more than a goroutine begins with. There are as many as run at once; those that nothing was found for during
// idlePeriod end.
type workers struct {
	mu    sync.Mutex
	idle  []chan job // the one used last is used next
	least int        // idle ones during this period: so many were not needed
	timer *time.Timer
	ended bool
}

const (
	idlePeriod = 5 * time.Second
	idleMost   = 256
)

// do runs j on a goroutine of its own.
func (w *workers) do(j job) {
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(j)
		return
	}
	next := w.idle[n-1]
	w.idle[n-1] = nil
	w.idle = w.idle[:n-1]
	w.least = min(w.least, n-1)
	w.mu.Unlock()
	next <- j // which has room for one
}

func (w *workers) work(j job) {
	jobs := make(chan job, 1)
	for j != nil {
		j.run()
		w.mu.Lock()
		if w.ended || len(w.idle) >= idleMost {
			w.mu.Unlock()
			return
		}
		if w.idle = append(w.idle, jobs); w.timer == nil {
			w.least = 0 // the period begins, and nobody was idle
			w.timer = time.AfterFunc(idlePeriod, w.trim)
		}
		w.mu.Unlock()
		j = <-jobs
	}
}

// trim ends who was idle all through the period that is over.
func (w *workers) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, unused := range w.idle[:w.least] {
		unused <- nil
	}
	w.idle = append(w.idle[:0], w.idle[w.least:]...)
	if w.least = len(w.idle); w.least == 0 || w.ended {
		w.timer = nil
		return
	}
	w.timer.Reset(idlePeriod)
}

// end lets all workers go once they have nothing to do.
func (w *workers) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, unused := range w.idle {
		unused <- nil
	}
	w.idle, w.least = nil, 0
}
