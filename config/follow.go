package config

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Followed is a file that is used anew when it changes, under upstream's metrics. One goroutine uses it.
type Followed struct {
	path   string
	change func(ctx context.Context, data []byte) error
	log    *slog.Logger

	now, failed string // hashes: of what is used, and of what could not be

	server string
	loads  *prometheus.CounterVec
	at     *prometheus.GaugeVec
	info   *prometheus.GaugeVec
}

// followEvery is how often a file is looked at. patience bounds one use.
const (
	followEvery = 5 * time.Second
	patience    = 30 * time.Second
)

// Follow gives a file's content to begin now: an error is that of a file that cannot be used. change gets what it becomes later, and leaves what
// was there when it fails. what is the first part of the metrics' names; server who counts among several.
func Follow(path, what, server string, begin func(data []byte) error, change func(ctx context.Context, data []byte) error, log *slog.Logger) (*Followed, error) {
	f := &Followed{path: path, change: change, log: log, server: hashOf([]byte(server)),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: what + "_automatic_reloads_total", Help: "How often the file was read anew: status success or failure."}, []string{"status", "apiserver_id_hash"}),
		at:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: what + "_automatic_reload_last_timestamp_seconds", Help: "When that was last, by status."}, []string{"status", "apiserver_id_hash"}),
		info:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: what + "_last_config_info", Help: "1 for the hash of the file that is in use."}, []string{"apiserver_id_hash", "hash"})}
	data, err := os.ReadFile(path)
	if err == nil {
		err = begin(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.used(hashOf(data))
	return f, nil
}

// Metrics are the collectors, to be registered.
func (f *Followed) Metrics() []prometheus.Collector {
	return []prometheus.Collector{f.loads, f.at, f.info}
}

func (f *Followed) used(hash string) {
	f.now, f.failed = hash, ""
	f.info.Reset()
	f.info.WithLabelValues(f.server, hash).Set(1)
}

// Run looks at the file until ctx ends.
func (f *Followed) Run(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.look(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// look uses the file if it has changed. One that cannot be used is tried again each time, since what it names may come to be there; it is
// logged and counted once.
func (f *Followed) look(ctx context.Context) {
	data, err := os.ReadFile(f.path)
	hash := hashOf(data)
	if err == nil && hash == f.now {
		f.failed = ""
		return
	}
	if err == nil {
		late, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err = f.change(late, data)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if f.failed != hash {
			f.failed = hash
			f.count("failure")
			f.log.Error("changed configuration not used, the one before stays", "object", f.path, "err", err)
		}
		return
	}
	f.used(hash)
	f.count("success")
	f.log.Info("changed configuration in use", "object", f.path)
}

func (f *Followed) count(status string) {
	f.loads.WithLabelValues(status, f.server).Inc()
	f.at.WithLabelValues(status, f.server).SetToCurrentTime()
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
