package apiserver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/flow"
)

// metrics are the API server's, under upstream's names and labels where upstream has the concept.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	watchers *prometheus.GaugeVec

	slis   *prometheus.Registry // of /metrics/slis: how health checks came out
	check  *prometheus.GaugeVec
	checks *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total",
			Help: "Requests, by verb, dry run, group, version, resource, scope and HTTP code."},
			[]string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds",
			Help: "How long requests took that are no watch and no tunnel.", Buckets: []float64{0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 1, 2, 5, 10, 30, 60}},
			[]string{"verb", "group", "version", "resource", "subresource", "scope"}),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_current_inflight_requests", Help: "Requests being served now."}, []string{"request_kind"}),
		watchers: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests", Help: "Watches and tunnels open now."},
			[]string{"verb", "group", "version", "resource", "subresource", "scope"}),
		slis:   prometheus.NewRegistry(),
		check:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubernetes_healthcheck", Help: "How a health check came out last: 1 is well."}, []string{"name", "type"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubernetes_healthchecks_total", Help: "Health checks, by how they came out."}, []string{"name", "type", "status"}),
	}
	m.slis.MustRegister(m.check, m.checks, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.requests, m.seconds, m.inflight, m.watchers, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Measure adds others' metrics to what /metrics shows.
func (s *Server) Measure(c ...prometheus.Collector) { s.metrics.registry.MustRegister(c...) }

func handler(of *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(of, promhttp.HandlerOpts{})
}

// checked counts a health check. Source: Kubernetes documentation, Component SLI metrics.
func (m *metrics) checked(kind, name string, err error) {
	well, status := 1.0, "success"
	if err != nil {
		well, status = 0, "error"
	}
	m.check.WithLabelValues(name, kind).Set(well)
	m.checks.WithLabelValues(name, kind, status).Inc()
}

func (t *route) scope() string {
	switch {
	case t.plural == "":
		return ""
	case t.name != "":
		return "resource"
	case t.namespace != "":
		return "namespace"
	}
	return "cluster"
}

// long tells whether the request is a watch or a tunnel: it may last.
func (t *route) long() bool {
	switch t.subresource {
	case "log", "exec", "attach", "portforward", "proxy":
		return true
	}
	return t.verb == "watch"
}

// observed counts a request; call its result when the request is over.
func (m *metrics) observed(t *route, w *statusWriter) func() {
	began := time.Now()
	verb, kind := metricVerb(t.verb), "readOnly"
	if t.applies {
		verb = "APPLY"
	}
	if t.verb == "create" || t.verb == "update" || t.verb == "patch" || t.verb == "delete" || t.verb == "deletecollection" {
		kind = "mutating"
	}
	long := t.long()
	// What no resource answers to is counted as one: clients cannot make up labels.
	group, version, plural, sub := t.group, t.version, t.plural, t.subresource
	if t.plural != "" && t.info == nil {
		group, version, plural, sub = "", "", "", ""
	}
	gauge := m.inflight.WithLabelValues(kind)
	if long {
		gauge = m.watchers.WithLabelValues(verb, group, version, plural, sub, t.scope())
	}
	gauge.Inc()
	return func() {
		gauge.Dec()
		dry := ""
		if t.query.Get("dryRun") != "" {
			dry = "All"
		}
		m.requests.WithLabelValues(verb, dry, group, version, plural, sub, t.scope(), strconv.Itoa(w.code)).Inc()
		if !long {
			m.seconds.WithLabelValues(verb, group, version, plural, sub, t.scope()).Observe(time.Since(began).Seconds())
		}
	}
}

// metricVerb is a verb as upstream's metrics spell it.
func metricVerb(v string) string {
	switch v {
	case "create":
		return "POST"
	case "update":
		return "PUT"
	case "get":
		return "GET"
	case "patch":
		return "PATCH"
	case "delete":
		return "DELETE"
	case "list":
		return "LIST"
	case "watch":
		return "WATCH"
	case "deletecollection":
		return "DELETECOLLECTION"
	}
	return "other"
}

// statusWriter remembers the code of a response, and what the audit trail is to know of the request.
type statusWriter struct {
	http.ResponseWriter
	code  int
	long  bool // a watch or a tunnel
	event audit.Event
	seats flow.Ticket
}

func (w *statusWriter) WriteHeader(code int) {
	if w.code == 0 || w.code < 200 {
		w.code = code
		w.started()
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
		w.started()
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
