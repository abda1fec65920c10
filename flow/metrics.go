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
	seatsUsed = prometheus.NewDesc("apiserver_flowcontrol_current_executing_seats", "Seats in use, by level.", []string{"priority_level"}, nil)
	seatsOwn  = prometheus.NewDesc("apiserver_flowcontrol_nominal_limit_seats", "Seats that a level has, by level.", []string{"priority_level"}, nil)
	queued    = prometheus.NewDesc("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait, by level.", []string{"priority_level"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Controller) Describe(to chan<- *prometheus.Desc) {
	c.metrics.rejected.Describe(to)
	to <- seatsUsed
	to <- seatsOwn
	to <- queued
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(to chan<- prometheus.Metric) {
	c.metrics.rejected.Collect(to)
	for _, l := range c.now.Load().levels {
		to <- prometheus.MustNewConstMetric(seatsUsed, prometheus.GaugeValue, float64(l.used.Load()), l.name)
		to <- prometheus.MustNewConstMetric(seatsOwn, prometheus.GaugeValue, float64(l.nominal.Load()), l.name)
		to <- prometheus.MustNewConstMetric(queued, prometheus.GaugeValue, float64(l.waiting.Load()), l.name)
	}
}
