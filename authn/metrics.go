package authn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
)

// Metrics are how requests were authenticated, under upstream's names. A nil one counts nothing.
type Metrics struct {
	server   string // hash of who counts, a label
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	users    *prometheus.CounterVec
	jwts     *prometheus.HistogramVec
	keysAt   *prometheus.GaugeVec
	keysInfo *prometheus.GaugeVec
	hooks    *prometheus.CounterVec
	hookTime *prometheus.HistogramVec

	results map[string]result // of attempts and seconds, looked up once
}

type result struct {
	n prometheus.Counter
	t prometheus.Observer
}

// NewMetrics makes them; server is the server's identity among several.
func NewMetrics(server string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, labels)
	}
	sum := sha256.Sum256([]byte(server))
	m := &Metrics{server: "sha256:" + hex.EncodeToString(sum[:]),
		attempts: counter("authentication_attempts", "Requests, by how their authentication ended: success, failure or error.", "result"),
		seconds:  seconds("authentication_duration_seconds", "How long authentication took.", "result"),
		users:    counter("authenticated_user_requests", "Requests, by user; users that are not the cluster's own are one.", "username"),
		jwts:     seconds("apiserver_authentication_jwt_authenticator_latency_seconds", "How long a token of an OpenID Connect issuer took that was not known yet.", "result", "jwt_issuer_hash"),
		keysAt: gauge("apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds", "When an issuer's keys were fetched last.",
			"result", "jwt_issuer_hash", "apiserver_id_hash"),
		keysInfo: gauge("apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info", "1 for the keys of an issuer that are in use.",
			"jwt_issuer_hash", "apiserver_id_hash", "hash"),
		hooks:    counter("apiserver_delegated_authn_request_total", "Questions to the token webhook, by HTTP code; <error>: no answer.", "code"),
		hookTime: seconds("apiserver_delegated_authn_request_duration_seconds", "How long the token webhook took.", "code"),
		results:  map[string]result{},
	}
	for _, r := range []string{"success", "failure", "error"} {
		m.results[r] = result{m.attempts.WithLabelValues(r), m.seconds.WithLabelValues(r)}
	}
	return m
}

// All are the collectors, to be registered.
func (m *Metrics) All() []prometheus.Collector {
	return []prometheus.Collector{m.attempts, m.seconds, m.users, m.jwts, m.keysAt, m.keysInfo, m.hooks, m.hookTime}
}

func outcome(err error) string {
	if err != nil {
		return "failure"
	}
	return "success"
}

// jwt counts a token of an issuer.
func (m *Metrics) jwt(issuer string, took time.Duration, err error) {
	if m != nil {
		m.jwts.WithLabelValues(outcome(err), issuer).Observe(took.Seconds())
	}
}

// keys counts a fetch of an issuer's keys.
func (m *Metrics) keys(issuer string, set *keySet, err error) {
	if m == nil {
		return
	}
	m.keysAt.WithLabelValues(outcome(err), issuer, m.server).SetToCurrentTime()
	if err == nil {
		sum := sha256.Sum256(set.raw)
		m.keysInfo.DeletePartialMatch(prometheus.Labels{"jwt_issuer_hash": issuer})
		m.keysInfo.WithLabelValues(issuer, m.server, "sha256:"+hex.EncodeToString(sum[:])).Set(1)
	}
}

// hook counts a question to the webhook.
func (m *Metrics) hook(code string, took time.Duration) {
	if m != nil {
		m.hooks.WithLabelValues(code).Inc()
		m.hookTime.WithLabelValues(code).Observe(took.Seconds())
	}
}

// Measured counts what an authenticator says.
func (m *Metrics) Measured(a Authenticator) Authenticator { return measured{a, m} }

type measured struct {
	Authenticator
	m *Metrics
}

// Authenticate implements Authenticator.
func (a measured) Authenticate(r *http.Request) (*authenticationv1.UserInfo, []string, error) {
	began := time.Now()
	user, audiences, err := a.Authenticator.Authenticate(r)
	how := "success"
	switch {
	case err != nil && !errors.Is(err, errNoCredentials):
		how = "error"
	case user == nil:
		how = "failure"
	default:
		a.m.users.WithLabelValues(known(user.Username)).Inc()
	}
	result := a.m.results[how]
	result.n.Inc()
	result.t.Observe(time.Since(began).Seconds())
	return user, audiences, err
}

// known is a user's name as a label: there is no end to users. Source: kube-apiserver, which names the same ones.
func known(user string) string {
	switch user {
	case "admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default":
		return user
	}
	return "other"
}
