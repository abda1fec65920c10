package webhook

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/admission"
)

// Metrics are the webhooks', with upstream's names and labels. Source: Kubernetes metrics reference.
type Metrics struct {
	duration  *prometheus.HistogramVec
	rejected  *prometheus.CounterVec
	open      *prometheus.CounterVec
	requests  *prometheus.CounterVec
	condition *prometheus.CounterVec
	excluded  *prometheus.CounterVec
	evaluated *prometheus.HistogramVec
	own       *prometheus.CounterVec
}

// NewMetrics makes them.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_admission_webhook_admission_duration_seconds",
			Help: "How long webhooks took.", Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25}}, []string{"name", "type", "operation", "rejected"}),
		rejected: counter("apiserver_admission_webhook_rejection_count", "Requests that webhooks refused, and why.",
			"name", "type", "operation", "error_type", "rejection_code"),
		open:     counter("apiserver_admission_webhook_fail_open_count", "Requests that went on although a webhook could not be asked.", "name", "type"),
		requests: counter("apiserver_admission_webhook_request_total", "Requests that webhooks were asked about.", "name", "type", "operation", "code", "rejected"),
		condition: counter("apiserver_admission_match_condition_evaluation_errors_total", "Match conditions that could not be evaluated.",
			"name", "kind", "type", "operation"),
		excluded: counter("apiserver_admission_match_condition_exclusions_total", "Requests that match conditions left out.", "name", "kind", "type", "operation"),
		evaluated: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_admission_match_condition_evaluation_seconds",
			Help: "How long match conditions took.", Buckets: []float64{0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25}}, []string{"name", "kind", "type", "operation"}),
		own: counter("lighter_admission_webhook_blocks_itself_total", "How often it was said that a webhook refuses what its own Service needs.", "configuration", "name"),
	}
}

// All gives them to whoever shows metrics.
func (m *Metrics) All() []prometheus.Collector {
	return []prometheus.Collector{m.duration, m.rejected, m.open, m.requests, m.condition, m.excluded, m.evaluated, m.own}
}

func sort(h *hook) string {
	if h.mutating {
		return "admit"
	}
	return "validating"
}

func (m *Metrics) observe(h *hook, a *admission.Attributes, took time.Duration, code string, rejected bool) {
	yes := "false"
	if rejected {
		yes = "true"
	}
	m.duration.WithLabelValues(h.name, sort(h), string(a.Operation), yes).Observe(took.Seconds())
	m.requests.WithLabelValues(h.name, sort(h), string(a.Operation), code, yes).Inc()
}

// asked counts a webhook that answered.
func (m *Metrics) asked(h *hook, a *admission.Attributes, took time.Duration, err error, allowed bool) {
	m.observe(h, a, took, code(err), !allowed)
	if allowed {
		return
	}
	kind, was := "no_error", code(err)
	var s apierrors.APIStatus
	if !errors.As(err, &s) || s.Status().Reason == "InternalError" {
		kind, was = "apiserver_internal_error", "0"
	}
	m.rejected.WithLabelValues(h.name, sort(h), string(a.Operation), kind, was).Inc()
}

func (m *Metrics) failedOpen(h *hook, a *admission.Attributes, took time.Duration) {
	m.observe(h, a, took, "500", false)
	m.open.WithLabelValues(h.name, sort(h)).Inc()
	m.rejected.WithLabelValues(h.name, sort(h), string(a.Operation), "calling_webhook_error", "0").Inc()
}

func (m *Metrics) failedClosed(h *hook, a *admission.Attributes, took time.Duration) {
	m.observe(h, a, took, "500", true)
	m.rejected.WithLabelValues(h.name, sort(h), string(a.Operation), "calling_webhook_error", "0").Inc()
}

// judged counts what a webhook's match conditions said.
func (m *Metrics) judged(h *hook, a *admission.Attributes, took time.Duration, matches bool, err error) {
	labels := []string{h.name, "webhook", sort(h), string(a.Operation)}
	m.evaluated.WithLabelValues(labels...).Observe(took.Seconds())
	switch {
	case err != nil:
		m.condition.WithLabelValues(labels...).Inc()
	case !matches:
		m.excluded.WithLabelValues(labels...).Inc()
	}
}

func (m *Metrics) blocked(h *hook) { m.own.WithLabelValues(h.configuration.GetName(), h.name).Inc() }
