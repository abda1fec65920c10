package admission

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measured are the metrics of a chain, under upstream's names: of its two steps, and of each plugin in them.
type measured struct {
	steps   *prometheus.HistogramVec
	plugins []*timing
}

// timing is how long one plugin took for one operation, when it refused or when it did not. A write passes some thirty of them, so that they are
// two additions and no more.
type timing struct {
	labels  [4]string // name, type, operation, rejected
	buckets [7]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

// pluginBuckets are upstream's; what takes longer is in the last of timing's.
var pluginBuckets = [...]float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}

var pluginDuration = prometheus.NewDesc("apiserver_admission_controller_admission_duration_seconds",
	"How long each plugin took to change (admit) and to check (validate) what is written.", []string{"name", "type", "operation", "rejected"}, nil)

func (t *timing) observe(took time.Duration) {
	n := 0
	for seconds := took.Seconds(); n < len(pluginBuckets) && seconds > pluginBuckets[n]; n++ {
	}
	t.buckets[n].Add(1)
	t.sum.Add(int64(took))
}

// Describe implements prometheus.Collector.
func (m *measured) Describe(to chan<- *prometheus.Desc) {
	m.steps.Describe(to)
	to <- pluginDuration
}

// Collect implements prometheus.Collector.
func (m *measured) Collect(to chan<- prometheus.Metric) {
	m.steps.Collect(to)
	for _, t := range m.plugins {
		buckets, count := map[float64]uint64{}, uint64(0)
		for n := range t.buckets {
			if count += t.buckets[n].Load(); n < len(pluginBuckets) {
				buckets[pluginBuckets[n]] = count
			}
		}
		if count > 0 {
			to <- prometheus.MustNewConstHistogram(pluginDuration, count, time.Duration(t.sum.Load()).Seconds(), buckets, t.labels[:]...)
		}
	}
}

// step is the chain's plugins that have something to do in a step, one after the other.
func (m *measured) step(c Chain, kind string, of func(Plugin) func(context.Context, *Attributes) error) func(context.Context, *Attributes) error {
	type plugin struct {
		do    func(context.Context, *Attributes) error
		ended map[Operation]*[2]timing // by whether it was refused
	}
	var all []plugin
	for _, p := range c {
		do := of(p)
		if do == nil {
			continue
		}
		ended := map[Operation]*[2]timing{}
		for _, o := range []Operation{Create, Update, Delete, Connect} {
			ended[o] = &[2]timing{}
			for n, rejected := range []bool{false, true} {
				ended[o][n].labels = [4]string{p.Name, kind, string(o), strconv.FormatBool(rejected)}
				m.plugins = append(m.plugins, &ended[o][n])
			}
		}
		all = append(all, plugin{do, ended})
	}
	return func(ctx context.Context, a *Attributes) error {
		last := time.Now()
		for n := range all {
			err := all[n].do(ctx, a)
			now := time.Now()
			t := all[n].ended[a.Operation]
			if err != nil {
				t[1].observe(now.Sub(last))
				return err
			}
			t[0].observe(now.Sub(last))
			last = now
		}
		return nil
	}
}

// Measured is the chain as one plugin whose steps and plugins are measured, and what shows that.
func (c Chain) Measured() (Chain, prometheus.Collector) {
	m := &measured{steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_admission_step_admission_duration_seconds",
		Help: "How long admission took to change (admit) and to check (validate) what is written.", Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}}, []string{"type", "operation", "rejected"})}
	timed := func(step string, do func(context.Context, *Attributes) error) func(context.Context, *Attributes) error {
		ended := map[Operation][2]prometheus.Observer{} // by whether it was refused
		for _, o := range []Operation{Create, Update, Delete, Connect} {
			for n, rejected := range []bool{false, true} {
				of := ended[o]
				of[n] = m.steps.WithLabelValues(step, string(o), strconv.FormatBool(rejected))
				ended[o] = of
			}
		}
		return func(ctx context.Context, a *Attributes) error {
			began := time.Now()
			err := do(ctx, a)
			n := 0
			if err != nil {
				n = 1
			}
			ended[a.Operation][n].Observe(time.Since(began).Seconds())
			return err
		}
	}
	mutate := m.step(c, "admit", func(p Plugin) func(context.Context, *Attributes) error { return p.Mutate })
	validate := m.step(c, "validate", func(p Plugin) func(context.Context, *Attributes) error { return p.Validate })
	return Chain{{Name: "measured", Validate: timed("validate", validate),
		Mutate: timed("admit", func(ctx context.Context, a *Attributes) error { return again(ctx, a, mutate) })}}, m
}
