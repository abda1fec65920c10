package flow

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics have upstream's names. Source: Kubernetes documentation, API Priority and Fairness, Metrics.
type metrics struct {
	rejected *prometheus.CounterVec
	waited   *prometheus.HistogramVec
	of       map[[2]string]*counts // by schema and level; guarded by the controller's lock
}

// counts are those of one schema at one level, for as long as the process runs.
type counts struct {
	schema, level                         string
	dispatched                            atomic.Int64
	executing, seats, queued, queuedSeats atomic.Int64
	waited                                [2]prometheus.Observer // by those sent away, by those served
}

func newMetrics() *metrics {
	return &metrics{of: map[[2]string]*counts{},
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_flowcontrol_rejected_requests_total",
			Help: "Requests that were sent away, by level, schema and reason."}, []string{"priority_level", "flow_schema", "reason"}),
		waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_flowcontrol_request_wait_duration_seconds",
			Help: "How long requests waited for their seats, by level, schema and whether they were served.", Buckets: []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}},
			[]string{"priority_level", "flow_schema", "execute"})}
}

// countsOf are the counts of a schema at a level; the caller holds the lock.
func (c *Controller) countsOf(schema, level string) *counts {
	key := [2]string{schema, level}
	n := c.metrics.of[key]
	if n == nil {
		n = &counts{schema: schema, level: level, waited: [2]prometheus.Observer{c.metrics.waited.WithLabelValues(level, schema, "false"), c.metrics.waited.WithLabelValues(level, schema, "true")}}
		c.metrics.of[key] = n
	}
	return n
}

// shown is a metric that is read when it is asked for.
type shown[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(T) float64
}

func ofSchema(name, help string, kind prometheus.ValueType, of func(*counts) *atomic.Int64) shown[*counts] {
	return shown[*counts]{prometheus.NewDesc("apiserver_flowcontrol_"+name, help, []string{"priority_level", "flow_schema"}, nil), kind,
		func(c *counts) float64 { return float64(of(c).Load()) }}
}

// seen is a level as it is when it is looked at.
type seen struct {
	own, lends, borrows, limit int64
	target                     float64
	past
}

func ofLevel(name, help string, of func(seen) float64) shown[seen] {
	return shown[seen]{prometheus.NewDesc("apiserver_flowcontrol_"+name, help, []string{"priority_level"}, nil), prometheus.GaugeValue, of}
}

var bySchema = []shown[*counts]{
	ofSchema("dispatched_requests_total", "Requests that were served, by level and schema.", prometheus.CounterValue, func(c *counts) *atomic.Int64 { return &c.dispatched }),
	ofSchema("current_executing_requests", "Requests being served, by level and schema.", prometheus.GaugeValue, func(c *counts) *atomic.Int64 { return &c.executing }),
	ofSchema("current_executing_seats", "Seats in use, by level and schema.", prometheus.GaugeValue, func(c *counts) *atomic.Int64 { return &c.seats }),
	ofSchema("current_inqueue_requests", "Requests that wait, by level and schema.", prometheus.GaugeValue, func(c *counts) *atomic.Int64 { return &c.queued }),
	ofSchema("current_inqueue_seats", "Seats that are waited for, by level and schema.", prometheus.GaugeValue, func(c *counts) *atomic.Int64 { return &c.queuedSeats }),
}

var byLevel = []shown[seen]{
	ofLevel("nominal_limit_seats", "Seats that a level has.", func(s seen) float64 { return float64(s.own) }),
	ofLevel("lower_limit_seats", "Seats of a level's own that nobody may borrow.", func(s seen) float64 { return float64(s.own - s.lends) }),
	ofLevel("upper_limit_seats", "Seats that a level may have with all that it may borrow.", func(s seen) float64 { return float64(s.own + s.borrows) }),
	ofLevel("current_limit_seats", "Seats that a level may use until the next adjustment, with those that it borrows and without those that it lends.", func(s seen) float64 { return float64(s.limit) }),
	ofLevel("demand_seats_average", "Seats in use and waited for, on average over the period before the last adjustment.", func(s seen) float64 { return s.average }),
	ofLevel("demand_seats_stdev", "How much that varied: the standard deviation.", func(s seen) float64 { return s.stdev }),
	ofLevel("demand_seats_high_watermark", "The most seats in use and waited for in the period before the last adjustment.", func(s seen) float64 { return s.peak }),
	ofLevel("demand_seats_smoothed", "The demand for seats, which rises at once and sinks slowly.", func(s seen) float64 { return s.smoothed }),
	ofLevel("target_seats", "Seats that would meet the smoothed demand, at least those that nobody may borrow.", func(s seen) float64 { return s.target }),
}

var fairFrac = prometheus.NewDesc("apiserver_flowcontrol_seat_fair_frac", "What share of their targets those levels got at the last adjustment whom no limit kept from it.", nil, nil)

// Describe implements prometheus.Collector.
func (c *Controller) Describe(to chan<- *prometheus.Desc) {
	c.metrics.rejected.Describe(to)
	c.metrics.waited.Describe(to)
	to <- fairFrac
	for _, m := range bySchema {
		to <- m.desc
	}
	for _, m := range byLevel {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(to chan<- prometheus.Metric) {
	c.metrics.rejected.Collect(to)
	c.metrics.waited.Collect(to)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.metrics.of {
		for _, m := range bySchema {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(n), n.level, n.schema)
		}
	}
	to <- prometheus.MustNewConstMetric(fairFrac, prometheus.GaugeValue, c.fair)
	for _, l := range c.now.Load().levels {
		s := seen{own: l.nominal.Load(), lends: l.lends.Load(), borrows: l.borrows.Load(), limit: l.limit.Load(), target: l.target, past: l.demand.past()}
		for _, m := range byLevel {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(s), l.name)
		}
	}
}
