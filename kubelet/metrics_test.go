package kubelet

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestFurtherMetrics(t *testing.T) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "asked_total", Help: "Requests."}, []string{"code"})
	c.WithLabelValues("200").Add(2)
	for range 2 { // as often as somebody looks
		got, err := further([]byte("own 1\n"), []prometheus.Collector{c})
		if want := "own 1\n# HELP asked_total Requests.\n# TYPE asked_total counter\nasked_total{code=\"200\"} 2\n"; err != nil || string(got) != want {
			t.Fatalf("%v: %q, want %q", err, got, want)
		}
	}
}
