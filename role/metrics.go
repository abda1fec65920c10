package role

import (
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/lighter-k8s/lighter/config"
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

// celMetrics are those of CEL that the published packages measure, and keep in a registry of their own.
type celMetrics struct{}

// Describe implements prometheus.Collector: what it has is known when it is asked for.
func (celMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (celMetrics) Collect(to chan<- prometheus.Metric) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return // others' metrics, of which these are the only ones that anybody looks at
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "apiserver_cel_") {
			continue
		}
		for _, m := range f.Metric {
			h := m.GetHistogram()
			buckets := map[float64]uint64{}
			for _, b := range h.GetBucket() {
				buckets[b.GetUpperBound()] = b.GetCumulativeCount()
			}
			to <- prometheus.MustNewConstHistogram(prometheus.NewDesc(f.GetName(), f.GetHelp(), nil, nil), h.GetSampleCount(), h.GetSampleSum(), buckets)
		}
	}
}

// storeSize is what the store has on this machine's disk; nothing of a store that is elsewhere.
func storeSize(c *config.Config) prometheus.Collector {
	dir := filepath.Join(c.DataDir, "server", "store")
	if c.Server.Store == "etcd" {
		dir = filepath.Join(c.DataDir, "server", "etcd", "member", "snap", "db")
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "apiserver_storage_size_bytes", Help: "Bytes that the store has on the disk of this machine.",
		ConstLabels: prometheus.Labels{"storage_cluster_id": c.Server.Store}}, func() (bytes float64) {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // it is gone meanwhile, or was never there
			}
			if i, err := d.Info(); err == nil {
				bytes += float64(i.Size())
			}
			return nil
		})
		return bytes
	})
}
