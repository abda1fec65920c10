package apiserver

import (
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/flow"
)

// metrics are the API server's, under upstream's names and labels where upstream has the concept.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	sli        *prometheus.HistogramVec
	sizes      *prometheus.HistogramVec
	inflight   *prometheus.GaugeVec
	watchers   *prometheus.GaugeVec
	events     *prometheus.CounterVec
	eventSizes *prometheus.HistogramVec
	deprecated *prometheus.GaugeVec
	expiring   prometheus.Histogram
	fellBehind *prometheus.CounterVec
	watchLists *prometheus.HistogramVec

	mu  sync.RWMutex
	all map[seriesKey]*series // what requests of one kind count in: looked up once, not once for each metric

	slis   *prometheus.Registry // of /metrics/slis: how health checks came out
	check  *prometheus.GaugeVec
	checks *prometheus.CounterVec
}

// seriesKey is what upstream tells requests apart by.
type seriesKey struct{ verb, dry, group, version, resource, subresource, scope string }

type series struct {
	key                 seriesKey
	seconds, sli, sizes prometheus.Observer // the last of reads alone
	last                atomic.Pointer[coded]
}

// coded is the counter of the code that was answered last, which is mostly the next one as well.
type coded struct {
	code    int
	counter prometheus.Counter
}

// component is upstream's name for what serves resources.
func (k seriesKey) component() string {
	if k.resource == "" {
		return ""
	}
	return "apiserver"
}

func (m *metrics) series(k seriesKey) *series {
	m.mu.RLock()
	s := m.all[k]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.all[k]; s == nil {
		s = &series{key: k, seconds: m.seconds.WithLabelValues(k.verb, k.dry, k.group, k.version, k.resource, k.subresource, k.scope, k.component()),
			sli: m.sli.WithLabelValues(k.verb, k.group, k.version, k.resource, k.subresource, k.scope, k.component())}
		if k.verb == "GET" || k.verb == "LIST" {
			s.sizes = m.sizes.WithLabelValues(k.verb, k.group, k.version, k.resource, k.subresource, k.scope, k.component())
		}
		m.all[k] = s
	}
	return s
}

func (m *metrics) count(s *series, code int) {
	c := s.last.Load()
	if c == nil || c.code != code {
		k := s.key
		c = &coded{code, m.requests.WithLabelValues(k.verb, k.dry, k.group, k.version, k.resource, k.subresource, k.scope, k.component(), strconv.Itoa(code))}
		s.last.Store(c)
	}
	c.counter.Inc()
}

// Buckets are upstream's, but for two below its first one: most of our requests take less than that.
var (
	slow   = []float64{0.001, 0.0025, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}
	large  = []float64{1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}
	grown  = prometheus.ExponentialBuckets(1024, 2, 8)
	ending = []float64{0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000, 15552000, 31104000}
)

func newMetrics() *metrics {
	of := []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	dry := []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}
	kind := []string{"group", "version", "resource"}
	histogram := func(name, help string, buckets []float64, labels []string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(), slis: prometheus.NewRegistry(), all: map[seriesKey]*series{},
		requests:   counter("apiserver_request_total", "Requests, by verb, dry run, group, version, resource, scope and HTTP code.", append(dry[:len(dry):len(dry)], "code")...),
		seconds:    histogram("apiserver_request_duration_seconds", "How long requests took that are no watch and no tunnel.", slow, dry),
		sli:        histogram("apiserver_request_sli_duration_seconds", "How long such requests took without the time that they waited for seats.", slow[4:], of),
		sizes:      histogram("apiserver_response_sizes", "Bytes of the answers to reads.", large, of),
		inflight:   gauge("apiserver_current_inflight_requests", "Requests being served now.", "request_kind"),
		watchers:   gauge("apiserver_longrunning_requests", "Watches and tunnels open now.", of...),
		events:     counter("apiserver_watch_events_total", "Events sent to watchers.", kind...),
		eventSizes: histogram("apiserver_watch_events_sizes", "Bytes of events sent to watchers.", grown, kind),
		deprecated: gauge("apiserver_requested_deprecated_apis", "Deprecated versions that were asked for, and the release that serves them no more.", "group", "version", "resource", "subresource", "removed_release"),
		expiring:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "apiserver_client_certificate_expiration_seconds", Help: "How much longer the certificates of requests are good.", Buckets: ending}),
		fellBehind: counter("apiserver_terminated_watchers_total", "Watches that ended because they fell behind.", "group", "resource"),
		watchLists: histogram("apiserver_watch_list_duration_seconds", "How long watches that begin with a list took until that was sent.", slow[4:], []string{"group", "version", "resource", "scope"}),
		check:      gauge("kubernetes_healthcheck", "How a health check came out last: 1 is well.", "name", "type"),
		checks:     counter("kubernetes_healthchecks_total", "Health checks, by how they came out.", "name", "type", "status"),
	}
	m.slis.MustRegister(m.check, m.checks, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.requests, m.seconds, m.sli, m.sizes, m.inflight, m.watchers, m.events, m.eventSizes, m.deprecated, m.expiring, m.fellBehind, m.watchLists,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watched counts the events that go to one watcher.
type watched struct {
	events prometheus.Counter
	sizes  prometheus.Observer
}

func (m *metrics) watched(i *api.Info) watched {
	return watched{m.events.WithLabelValues(i.Group, i.Version, i.Resource), m.eventSizes.WithLabelValues(i.Group, i.Version, i.Resource)}
}

func (w watched) sent(bytes int) {
	w.events.Inc()
	w.sizes.Observe(float64(bytes))
}

var removal = regexp.MustCompile(`unavailable in v(\d+\.\d+)\+`)

// asked notes that somebody uses a version that will go.
func (m *metrics) asked(t *route, warning string) {
	release := ""
	if found := removal.FindStringSubmatch(warning); found != nil {
		release = found[1]
	}
	m.deprecated.WithLabelValues(t.info.Group, t.info.Version, t.info.Resource, t.subresource, release).Set(1)
}

// shown counts the certificate of whoever came with one and no other proof.
func (m *metrics) shown(r *http.Request) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && r.Header["Authorization"] == nil {
		m.expiring.Observe(time.Until(r.TLS.PeerCertificates[0].NotAfter).Seconds())
	}
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
	case t.name != "" || t.verb == "create":
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
	key := seriesKey{verb: verb, group: group, version: version, resource: plural, subresource: sub, scope: t.scope()}
	gauge := m.inflight.WithLabelValues(kind)
	if long {
		gauge = m.watchers.WithLabelValues(verb, group, version, plural, sub, key.scope, key.component())
	}
	gauge.Inc()
	return func() {
		gauge.Dec()
		if t.query.Get("dryRun") != "" {
			key.dry = "All"
		}
		s := m.series(key)
		m.count(s, w.code)
		if long {
			return
		}
		took := time.Since(began)
		s.seconds.Observe(took.Seconds())
		s.sli.Observe((took - w.seats.Waited).Seconds())
		if s.sizes != nil {
			s.sizes.Observe(float64(w.sent))
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
	sent  int64 // bytes of the body
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
	w.sent += int64(len(b))
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
