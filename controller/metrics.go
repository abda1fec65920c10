package controller

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Queues counts what goes through the queues of a process, by their names, and shows it under upstream's: workqueue_*. Safe for concurrent use.
type Queues struct {
	mu  sync.Mutex
	all map[string]*tally
}

// Queue makes a queue that is counted by its name. Where upstream has such a queue it has upstream's name.
func (e Env) Queue(name string) *Queue {
	q := NewQueue()
	if e.Queues != nil {
		e.Queues.mu.Lock()
		defer e.Queues.mu.Unlock()
		t := e.Queues.all[name]
		if t == nil {
			if e.Queues.all == nil {
				e.Queues.all = map[string]*tally{}
			}
			t = &tally{}
			e.Queues.all[name] = t
		}
		t.now, q.tally = q, t // the counts go on where this process leads again
	}
	return q
}

// tally are the counts of queues of one name.
type tally struct {
	now            *Queue // guarded by the lock of Queues
	adds, retries  atomic.Uint64
	queued, worked durations
}

// durations is a histogram with upstream's buckets: the powers of ten from 10 ns on.
type durations struct {
	buckets [10]atomic.Uint64 // each without those below it; longer ones are in none
	count   atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (d *durations) observe(took time.Duration) {
	n, most := 0, 10*time.Nanosecond
	for ; n < len(d.buckets) && took > most; n++ {
		most *= 10
	}
	if n < len(d.buckets) {
		d.buckets[n].Add(1)
	}
	d.count.Add(1)
	d.sum.Add(int64(took))
}

func (d *durations) metric(desc *prometheus.Desc, name string) prometheus.Metric {
	buckets, sum := map[float64]uint64{}, uint64(0)
	for n := range d.buckets {
		sum += d.buckets[n].Load()
		buckets[math.Pow10(n-8)] = sum
	}
	return prometheus.MustNewConstHistogram(desc, d.count.Load(), time.Duration(d.sum.Load()).Seconds(), buckets, name)
}

func queueMetric(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("workqueue_"+name, help, []string{"name"}, nil)
}

var (
	queueAdds       = queueMetric("adds_total", "Keys that were put into the queue.")
	queueRetries    = queueMetric("retries_total", "Keys that came back after an error.")
	queueDepth      = queueMetric("depth", "Keys that wait.")
	queueUnfinished = queueMetric("unfinished_work_seconds", "For how long all keys together have been worked on that are not done.")
	queueLongest    = queueMetric("longest_running_processor_seconds", "For how long the key has been worked on that takes longest.")
	queueQueued     = queueMetric("queue_duration_seconds", "How long keys waited before they were worked on.")
	queueWorked     = queueMetric("work_duration_seconds", "How long keys were worked on.")
)

// Describe implements prometheus.Collector.
func (qs *Queues) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueAdds, queueRetries, queueDepth, queueUnfinished, queueLongest, queueQueued, queueWorked} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (qs *Queues) Collect(to chan<- prometheus.Metric) {
	qs.mu.Lock()
	all := maps.Clone(qs.all)
	now := map[string]*Queue{}
	for name, t := range all {
		now[name] = t.now
	}
	qs.mu.Unlock()
	for name, t := range all {
		depth, unfinished, longest := now[name].state()
		to <- prometheus.MustNewConstMetric(queueAdds, prometheus.CounterValue, float64(t.adds.Load()), name)
		to <- prometheus.MustNewConstMetric(queueRetries, prometheus.CounterValue, float64(t.retries.Load()), name)
		to <- prometheus.MustNewConstMetric(queueDepth, prometheus.GaugeValue, float64(depth), name)
		to <- prometheus.MustNewConstMetric(queueUnfinished, prometheus.GaugeValue, unfinished.Seconds(), name)
		to <- prometheus.MustNewConstMetric(queueLongest, prometheus.GaugeValue, longest.Seconds(), name)
		to <- t.queued.metric(queueQueued, name)
		to <- t.worked.metric(queueWorked, name)
	}
}

// state is how many keys wait, and for how long others have been worked on: together, and the one that takes longest.
func (q *Queue) state() (depth int, unfinished, longest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, began := range q.working {
		if !began.IsZero() {
			took := time.Since(began)
			unfinished, longest = unfinished+took, max(longest, took)
		}
	}
	return len(q.order), unfinished, longest
}
