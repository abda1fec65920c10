package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// unavailable and lost have upstream's names.
var (
	unavailable = prometheus.NewDesc("aggregator_unavailable_apiservice", "APIServices that cannot be served now: 1.", []string{"name"}, nil)
	lost        = prometheus.CounterOpts{Name: "aggregator_unavailable_apiservice_total", Help: "How often APIServices became unavailable, by name and reason."}
)

// Metrics are those of all APIServices.
func (s *Services) Metrics() []prometheus.Collector {
	s.lost = prometheus.NewCounterVec(lost, []string{"name", "reason"})
	return []prometheus.Collector{availability{s}, s.lost}
}

type availability struct{ s *Services }

func (a availability) Describe(to chan<- *prometheus.Desc) { to <- unavailable }

func (a availability) Collect(to chan<- prometheus.Metric) {
	for _, o := range a.s.View.List("") {
		value := 0.0
		if available(o) == apiregistrationv1.ConditionFalse {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(unavailable, prometheus.GaugeValue, value, o.Name)
	}
}

// available is what the object says; "": nothing yet.
func available(o *apiregistrationv1.APIService) apiregistrationv1.ConditionStatus {
	for _, c := range o.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			return c.Status
		}
	}
	return ""
}

// count notes that a service becomes unavailable.
func (s *Services) count(o *apiregistrationv1.APIService, is apiregistrationv1.APIServiceCondition) {
	if s.lost != nil && is.Status == apiregistrationv1.ConditionFalse && available(o) != is.Status {
		s.lost.WithLabelValues(o.Name, is.Reason).Inc()
	}
}
