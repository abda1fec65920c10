package apiserver

import "github.com/prometheus/client_golang/prometheus"

// objects counts what is stored when somebody asks, under the name that dashboards have and the one that follows it, and what
// lists took of it. Memory is what upstream calls its watch cache; what lists took of the store itself is store/measured's.
type objects struct{ s *Server }

var (
	storedNow   = prometheus.NewDesc("apiserver_storage_objects", "Objects that are stored, by resource.", []string{"resource"}, nil)
	storedLater = prometheus.NewDesc("apiserver_resource_objects", "Objects that are stored, by group and resource.", []string{"group", "resource"}, nil)
	received    = prometheus.NewDesc("apiserver_storage_events_received_total", "Events that came from the store.", []string{"group", "resource"}, nil)

	fromMemory = prometheus.Labels{"storage": "watchcache"}
	// No index is named: which of them serves a list is decided anew for each.
	listTotal     = prometheus.NewDesc("apiserver_storage_list_total", "Lists, by where their objects came from.", []string{"group", "index", "resource"}, fromMemory)
	listFetched   = prometheus.NewDesc("apiserver_storage_list_fetched_objects_total", "Objects that were read for lists.", []string{"group", "index", "resource"}, fromMemory)
	listEvaluated = prometheus.NewDesc("apiserver_storage_list_evaluated_objects_total", "Objects that were held against the selectors of lists.", []string{"group", "resource"}, fromMemory)
	listReturned  = prometheus.NewDesc("apiserver_storage_list_returned_objects_total", "Objects that lists gave.", []string{"group", "resource"}, fromMemory)

	cacheLists    = prometheus.NewDesc("apiserver_cache_list_total", "Lists that were answered from memory.", []string{"group", "index", "resource"}, nil)
	cacheFetched  = prometheus.NewDesc("apiserver_cache_list_fetched_objects_total", "Objects in memory that were read for lists.", []string{"group", "index", "resource"}, nil)
	cacheReturned = prometheus.NewDesc("apiserver_cache_list_returned_objects_total", "Objects in memory that lists gave.", []string{"group", "resource"}, nil)
)

// Describe implements prometheus.Collector.
func (o objects) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storedNow, storedLater, received, listTotal, listFetched, listEvaluated, listReturned, cacheLists, cacheFetched, cacheReturned} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (o objects) Collect(to chan<- prometheus.Metric) {
	if o.s.Registry == nil {
		return
	}
	for _, c := range o.s.Registry.State.Counts() {
		plain := []string{c.Info.Group, c.Info.Resource}
		gauge := func(d *prometheus.Desc, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(c.Objects), labels...)
		}
		gauge(storedNow, c.Info.GroupResource().String())
		gauge(storedLater, plain...)
		counter := func(n uint64, labels []string, all ...*prometheus.Desc) {
			for _, d := range all {
				to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
			}
		}
		if c.Events > 0 {
			counter(c.Events, plain, received)
		}
		if c.Lists == 0 {
			continue
		}
		indexed := []string{c.Info.Group, "", c.Info.Resource}
		counter(c.Lists, indexed, listTotal, cacheLists)
		counter(c.Walked, indexed, listFetched, cacheFetched)
		counter(c.Walked, plain, listEvaluated)
		counter(c.Listed, plain, listReturned, cacheReturned)
	}
}
