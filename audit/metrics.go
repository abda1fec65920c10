package audit

import "github.com/prometheus/client_golang/prometheus"

// metrics have upstream's names.
type metrics struct {
	events, rejected prometheus.Counter
	levels           [len(levels)]prometheus.Counter
	byLevel, errors  *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		events:   prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_audit_event_total", Help: "Audit events that were generated."}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_audit_requests_rejected_total", Help: "Requests refused because they could not be written down."}),
		byLevel:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_level_total", Help: "Requests by the level that the policy has for them."}, []string{"level"}),
		errors:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_error_total", Help: "Audit events that were lost, by what they were lost by."}, []string{"plugin"}),
	}
	for n, name := range levels {
		m.levels[n] = m.byLevel.WithLabelValues(name)
	}
	return m
}

// dropped counts events that a sink lost.
func (m *metrics) dropped(sink string) func(int) {
	c := m.errors.WithLabelValues(sink)
	return func(n int) { c.Add(float64(n)) }
}

// Metrics are the trail's.
func (t *Trail) Metrics() []prometheus.Collector {
	if t == nil {
		return nil
	}
	return []prometheus.Collector{t.metrics.events, t.metrics.rejected, t.metrics.byLevel, t.metrics.errors}
}
