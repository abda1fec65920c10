package apiserver

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/watch"
)

// objects counts what is stored when somebody asks, under the name that dashboards have and the one that follows it.
type objects struct{ s *Server }

var (
	storedNow   = prometheus.NewDesc("apiserver_storage_objects", "Objects that are stored, by resource.", []string{"resource"}, nil)
	storedLater = prometheus.NewDesc("apiserver_resource_objects", "Objects that are stored, by group and resource.", []string{"group", "resource"}, nil)
)

// Describe implements prometheus.Collector.
func (o objects) Describe(to chan<- *prometheus.Desc) {
	to <- storedNow
	to <- storedLater
}

// Collect implements prometheus.Collector.
func (o objects) Collect(to chan<- prometheus.Metric) {
	if o.s.Registry == nil {
		return
	}
	all := slices.Collect(maps.Values(o.s.resources))
	all = slices.AppendSeq(all, maps.Values(o.s.catalog.Load().custom))
	seen := map[*api.Info]bool{}
	for _, i := range all {
		if i = i.Stored; i.Virtual || seen[i] {
			continue
		}
		seen[i] = true
		items, more, _ := o.s.Registry.State.ListPage(i, watch.Filter{}, watch.Page{Limit: 1})
		n := float64(int64(len(items)) + more)
		to <- prometheus.MustNewConstMetric(storedNow, prometheus.GaugeValue, n, i.GroupResource().String())
		to <- prometheus.MustNewConstMetric(storedLater, prometheus.GaugeValue, n, i.Group, i.Resource)
	}
}
