package role

import (
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// encryptionMetrics have upstream's names, for its dashboards.
type encryptionMetrics struct {
	reloads *prometheus.CounterVec
	last    prometheus.Gauge
	info    *prometheus.GaugeVec
}

func newEncryptionMetrics() *encryptionMetrics {
	return &encryptionMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_encryption_config_controller_automatic_reloads_total",
			Help: "Changes of the encryption configuration, used and refused."}, []string{"status"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{Name: "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
			Help: "When the encryption configuration changed last."}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_encryption_config_controller_last_config_info",
			Help: "The hash of the encryption configuration in use."}, []string{"hash"}),
	}
}

func (m *encryptionMetrics) reloaded(hash string) {
	m.reloads.WithLabelValues("success").Inc()
	m.last.SetToCurrentTime()
	m.using(hash)
}

func (m *encryptionMetrics) using(hash string) {
	m.info.Reset()
	m.info.WithLabelValues(hash).Set(1)
}

func (m *encryptionMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.reloads, m.last, m.info}
}

// buildInfo says which version's API is served, and what this program was made with.
func buildInfo(version string) prometheus.Collector {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "What this program is, always 1.", ConstLabels: prometheus.Labels{
		"major": parts[0], "minor": parts[1], "git_version": version, "git_commit": "", "git_tree_state": "", "build_date": "",
		"go_version": runtime.Version(), "compiler": runtime.Compiler, "platform": runtime.GOOS + "/" + runtime.GOARCH}})
	g.Set(1)
	return g
}
