package authz

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are how requests were judged, under upstream's names. A nil one counts nothing.
type Metrics struct {
	attempts  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	decided   *prometheus.CounterVec
	asked     *prometheus.CounterVec
	askedTime *prometheus.HistogramVec
	open      *prometheus.CounterVec
	matched   *prometheus.HistogramVec
	unmatched *prometheus.CounterVec
	failed    *prometheus.CounterVec

	results map[string]result // of attempts and seconds, looked up once
}

type result struct {
	n prometheus.Counter
	t prometheus.Observer
}

// counter counts, or does not where it is nil.
type counter struct{ prometheus.Counter }

func (c counter) inc() {
	if c.Counter != nil {
		c.Inc()
	}
}

// NewMetrics makes them.
func NewMetrics() *Metrics {
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, labels)
	}
	m := &Metrics{results: map[string]result{},
		attempts:  count("authorization_attempts_total", "Requests, by how they were judged: allowed, denied, no-opinion or error.", "result"),
		seconds:   seconds("authorization_duration_seconds", "How long judging took.", "result"),
		decided:   count("apiserver_authorization_decisions_total", "Opinions of each authorizer: allowed or denied.", "type", "name", "decision"),
		asked:     count("apiserver_authorization_webhook_evaluations_total", "Questions to each webhook: success, error, timeout or canceled.", "name", "result"),
		askedTime: seconds("apiserver_authorization_webhook_duration_seconds", "How long they took.", "name", "result"),
		open:      count("apiserver_authorization_webhook_evaluations_fail_open_total", "Those that failed and whose webhook then had no opinion.", "name", "result"),
		matched:   seconds("apiserver_authorization_match_condition_evaluation_seconds", "How long match conditions took.", "type", "name"),
		unmatched: count("apiserver_authorization_match_condition_exclusions_total", "Requests that match conditions kept from an authorizer.", "type", "name"),
		failed:    count("apiserver_authorization_match_condition_evaluation_errors_total", "Requests for which match conditions could not be worked out.", "type", "name"),
	}
	for _, r := range []string{"allowed", "denied", "no-opinion", "error"} {
		m.results[r] = result{m.attempts.WithLabelValues(r), m.seconds.WithLabelValues(r)}
	}
	return m
}

// All are the collectors, to be registered.
func (m *Metrics) All() []prometheus.Collector {
	return []prometheus.Collector{m.attempts, m.seconds, m.decided, m.asked, m.askedTime, m.open, m.matched, m.unmatched, m.failed}
}

func (m *Metrics) decisions(kind, name string) (allowed, denied counter) {
	if m == nil {
		return counter{}, counter{}
	}
	return counter{m.decided.WithLabelValues(kind, name, "allowed")}, counter{m.decided.WithLabelValues(kind, name, "denied")}
}

func (m *Metrics) webhook(name, how string, took time.Duration) {
	if m != nil {
		m.asked.WithLabelValues(name, how).Inc()
		m.askedTime.WithLabelValues(name, how).Observe(took.Seconds())
	}
}

func (m *Metrics) failedOpen(name, how string) {
	if m != nil {
		m.open.WithLabelValues(name, how).Inc()
	}
}

// The following three implement cel.MatcherMetrics.

// RecordAuthorizationMatchConditionEvaluation counts how long conditions took.
func (m *Metrics) RecordAuthorizationMatchConditionEvaluation(_ context.Context, kind, name string, took time.Duration) {
	if m != nil {
		m.matched.WithLabelValues(kind, name).Observe(took.Seconds())
	}
}

// RecordAuthorizationMatchConditionEvaluationFailure counts that they could not be worked out.
func (m *Metrics) RecordAuthorizationMatchConditionEvaluationFailure(_ context.Context, kind, name string) {
	if m != nil {
		m.failed.WithLabelValues(kind, name).Inc()
	}
}

// RecordAuthorizationMatchConditionExclusion counts that they kept a request from an authorizer.
func (m *Metrics) RecordAuthorizationMatchConditionExclusion(_ context.Context, kind, name string) {
	if m != nil {
		m.unmatched.WithLabelValues(kind, name).Inc()
	}
}

// Measured counts how an authorizer judges requests.
func (m *Metrics) Measured(a Authorizer) Authorizer { return measured{a, m} }

type measured struct {
	Authorizer
	m *Metrics
}

// Authorize implements Authorizer.
func (a measured) Authorize(ctx context.Context, q Attributes) (Decision, string, error) {
	began := time.Now()
	d, reason, err := a.Authorizer.Authorize(ctx, q)
	how := "allowed"
	switch {
	case d == Allow:
	case err != nil:
		how = "error"
	case d == Deny:
		how = "denied"
	default:
		how = "no-opinion"
	}
	result := a.m.results[how]
	result.n.Inc()
	result.t.Observe(time.Since(began).Seconds())
	return d, reason, err
}
