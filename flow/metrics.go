package flow

import "github.com/prometheus/client_golang/prometheus"

// metrics have upstream's names.
type metrics struct {
	rejected *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_flowcontrol_rejected_requests_total",
		Help: "Requests that were sent away, by level, schema and reason."}, []string{"priority_level", "flow_schema", "reason"})}
}

var (
	seatsUsed  = prometheus.NewDesc("apiserver_flowcontrol_current_executing_seats", "Seats in use, by level.", []string{"priority_level"}, nil)
	seatsOwn   = prometheus.NewDesc("apiserver_flowcontrol_nominal_limit_seats", "Seats that a level has, by level.", []string{"priority_level"}, nil)
	seatsLeast = prometheus.NewDesc("apiserver_flowcontrol_lower_limit_seats", "Seats of a level's own that nobody may borrow, by level.", []string{"priority_level"}, nil)
	seatsMost  = prometheus.NewDesc("apiserver_flowcontrol_upper_limit_seats", "Seats that a level may have with all that it may borrow, by level.", []string{"priority_level"}, nil)
	seatsNow   = prometheus.NewDesc("apiserver_flowcontrol_current_limit_seats", "Seats that a level may have at this moment, by level: its own, and those of others that nobody uses.", []string{"priority_level"}, nil)
	queued     = prometheus.NewDesc("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait, by level.", []string{"priority_level"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Controller) Describe(to chan<- *prometheus.Desc) {
	c.metrics.rejected.Describe(to)
	to <- seatsUsed
	to <- seatsOwn
	to <- seatsLeast
	to <- seatsMost
	to <- seatsNow
	to <- queued
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(to chan<- prometheus.Metric) {
	c.metrics.rejected.Collect(to)
	now := c.now.Load()
	for _, l := range now.levels {
		own, lends := l.nominal.Load(), l.lends.Load()
		gauge := func(of *prometheus.Desc, seats int64) {
			to <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, float64(seats), l.name)
		}
		gauge(seatsUsed, l.used.Load())
		gauge(seatsOwn, own)
		gauge(seatsLeast, own-lends)
		gauge(seatsMost, max(own, min(own+l.borrows.Load(), int64(c.seats))))
		gauge(seatsNow, own+l.borrowable(now))
		gauge(queued, l.waiting.Load())
	}
}
