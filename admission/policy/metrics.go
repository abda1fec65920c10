package policy

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// Metrics are the policies', with upstream's names, labels and buckets. Source: Kubernetes metrics reference.
type Metrics struct {
	validated, mutated         *prometheus.CounterVec
	validatedTook, mutatedTook *prometheus.HistogramVec
}

// NewMetrics makes them.
func NewMetrics() *Metrics {
	const action, reason, policy, binding = "enforcement_action", "error_type", "policy", "policy_binding"
	buckets := []float64{0.0000005, 0.001, 0.01, 0.1, 1.0}
	return &Metrics{
		validated: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_validating_admission_policy_check_total",
			Help: "What validating policies decided."}, []string{policy, binding, reason, action}),
		validatedTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_validating_admission_policy_check_duration_seconds",
			Help: "How long validating policies took.", Buckets: buckets}, []string{policy, binding, reason, action}),
		mutated: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_mutating_admission_policy_check_total",
			Help: "How often mutating policies were asked."}, []string{policy, binding, reason}),
		mutatedTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_mutating_admission_policy_check_duration_seconds",
			Help: "How long mutating policies took.", Buckets: buckets}, []string{policy, binding, reason}),
	}
}

// All gives them to whoever shows metrics.
func (m *Metrics) All() []prometheus.Collector {
	return []prometheus.Collector{m.validated, m.validatedTook, m.mutated, m.mutatedTook}
}

// decided counts a decision of a validating policy; action is "allow", or a ValidationAction in lower case.
func (m *Metrics) decided(policy, binding, action string, err error, took time.Duration) {
	labels := []string{policy, binding, errorType(err), strings.ToLower(action)}
	m.validated.WithLabelValues(labels...).Inc()
	m.validatedTook.WithLabelValues(labels...).Observe(took.Seconds())
}

func (m *Metrics) changed(policy, binding string, err error, took time.Duration) {
	labels := []string{policy, binding, errorType(err)}
	m.mutated.WithLabelValues(labels...).Inc()
	m.mutatedTook.WithLabelValues(labels...).Observe(took.Seconds())
}

func errorType(err error) string {
	switch {
	case err == nil:
		return "no_error"
	case errors.Is(err, apiservercel.ErrCompilation):
		return "compile_error"
	case errors.Is(err, apiservercel.ErrOutOfBudget), strings.Contains(err.Error(), "cost limit exceeded"): // as cel-go says it, without a type
		return "out_of_budget"
	}
	return "invalid_error"
}
