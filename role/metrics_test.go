package role_test

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// TestMetrics holds names, types and labels of metrics that dashboards and alerts read against those of an upstream server.
func TestMetrics(t *testing.T) {
	p := api(t)
	admin, ns := p.as(t, "admin"), p.namespace(t)
	path := "/api/v1/namespaces/" + ns + "/configmaps"
	admin.do(t, "POST", path, text("v1", "ConfigMap", "a"))
	admin.do(t, "GET", path, "")
	admin.do(t, "GET", path+"?watch=1&timeoutSeconds=1", "")
	admin.do(t, "GET", path+"?watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan", "")
	admin.do(t, "GET", "/api/v1/endpoints", "") // which is deprecated
	admin.do(t, "PUT", path+"/a?dryRun=All", text("v1", "ConfigMap", "a"))
	p.as(t, p.token(t, ns)).do(t, "GET", path, "") // its level has a limit

	families := parsed(t, admin.do(t, "GET", "/metrics", "").body)
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[dto.MetricType]string{dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge", dto.MetricType_HISTOGRAM: "histogram"}
	for line := range strings.Lines(string(want)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := families[fields[0]]
		if f == nil || len(f.Metric) == 0 {
			t.Errorf("%s is missing", fields[0])
			continue
		}
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		if slices.Sort(labels); kinds[f.GetType()] != fields[1] || !slices.Equal(labels, fields[2:]) {
			t.Errorf("%s is a %s with %v, want %v", fields[0], kinds[f.GetType()], labels, fields[1:])
		}
	}
	find := func(name string, of map[string]string) *dto.Metric {
		t.Helper()
		return families.find(t, name, of)
	}
	of := func(verb, scope string) map[string]string {
		return map[string]string{"verb": verb, "scope": scope, "resource": "configmaps", "component": "apiserver"}
	}
	dry := of("PUT", "resource")
	dry["dry_run"] = "All"
	if find("apiserver_request_total", dry).GetCounter().GetValue() < 1 || find("apiserver_request_duration_seconds", dry).GetHistogram().GetSampleCount() < 1 {
		t.Error("no dry run is counted")
	}
	if n := find("apiserver_request_sli_duration_seconds", of("POST", "resource")).GetHistogram().GetSampleCount(); n < 1 {
		t.Error("nothing was made")
	}
	if h := find("apiserver_response_sizes", of("LIST", "namespace")).GetHistogram(); h.GetSampleSum() < 100 {
		t.Errorf("lists have %f bytes", h.GetSampleSum())
	}
	if n := find("apiserver_watch_events_total", map[string]string{"resource": "configmaps"}).GetCounter().GetValue(); n < 1 {
		t.Error("watchers are sent nothing")
	}
	if n := find("apiserver_storage_objects", map[string]string{"resource": "namespaces"}).GetGauge().GetValue(); n < 4 {
		t.Errorf("%f namespaces", n)
	}
	if n := find("apiserver_flowcontrol_dispatched_requests_total", map[string]string{"flow_schema": "service-accounts"}).GetCounter().GetValue(); n < 1 {
		t.Error("the account's request is of no schema")
	}
	for _, step := range []string{"admit", "validate"} {
		name := map[string]string{"admit": "ServiceAccount", "validate": "NamespaceLifecycle"}[step]
		if n := find("apiserver_admission_controller_admission_duration_seconds", map[string]string{"name": name, "type": step, "operation": "CREATE", "rejected": "false"}).GetHistogram().GetSampleCount(); n < 1 {
			t.Errorf("%s: nothing is measured", name)
		}
	}
	if n := find("serviceaccount_valid_tokens_total", nil).GetCounter().GetValue(); n < 1 {
		t.Error("the account's token is not counted")
	}
	if n := find("apiserver_storage_events_received_total", map[string]string{"resource": "configmaps"}).GetCounter().GetValue(); n < 1 {
		t.Error("the store told nothing")
	}
	lists := map[string]string{"resource": "configmaps", "storage": "watchcache"}
	for _, name := range []string{"total", "fetched_objects_total", "evaluated_objects_total", "returned_objects_total"} {
		if n := find("apiserver_storage_list_"+name, lists).GetCounter().GetValue(); n < 1 {
			t.Errorf("apiserver_storage_list_%s is %g", name, n)
		}
	}
	if n := find("rest_client_requests_total", map[string]string{"host": "in-process", "method": "POST", "code": "201"}).GetCounter().GetValue(); n < 10 {
		t.Errorf("the parts made %f objects", n)
	}
	find("apiserver_requested_deprecated_apis", map[string]string{"resource": "endpoints", "version": "v1"})
}

// families are what /metrics shows, by name.
type families map[string]*dto.MetricFamily

func parsed(t *testing.T, page []byte) families {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// find gives the series with these labels, among others; one that is not there is an error, and an empty series.
func (f families) find(t *testing.T, name string, of map[string]string) *dto.Metric {
	t.Helper()
	for _, m := range f[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.Label {
			have[l.GetName()] = l.GetValue()
		}
		fits := true
		for k, v := range of {
			fits = fits && have[k] == v
		}
		if fits {
			return m
		}
	}
	t.Errorf("%s: none is %v of %v", name, of, slices.Sorted(maps.Keys(f)))
	return &dto.Metric{}
}

// TestEtcdMetrics: a server whose store is etcd counts what it asks that.
func TestEtcdMetrics(t *testing.T) {
	endpoint := storetest.Etcd(t)
	s := serve(t, t.TempDir(), func(c *config.Config) { c.Server.Store, c.Server.Etcd.Endpoints = "etcd", []string{endpoint} })
	leases := s.typed.CoordinationV1().Leases("default")
	if _, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := leases.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	page, err := s.typed.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := parsed(t, page)
	for _, operation := range []string{"create", "delete"} {
		of := map[string]string{"operation": operation, "group": "coordination.k8s.io", "resource": "leases"}
		if n := f.find(t, "etcd_requests_total", of).GetCounter().GetValue(); n < 1 {
			t.Errorf("%g requests to %s a Lease", n, operation)
		}
		if n := f.find(t, "etcd_request_duration_seconds", of).GetHistogram().GetSampleCount(); n < 1 {
			t.Errorf("%d times of requests to %s a Lease", n, operation)
		}
	}
	if n := f.find(t, "apiserver_storage_list_total", map[string]string{"storage": "etcd"}).GetCounter().GetValue(); n < 1 {
		t.Error("nothing was loaded")
	}
}
