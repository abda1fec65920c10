package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
	"github.com/lighter-k8s/lighter/kubelet/server"
)

// metrics are the figures of /metrics and, for the kind "resource", of /metrics/resource.
func (k *Kubelet) metrics(ctx context.Context, kind string) ([]byte, error) {
	switch kind {
	case "":
		return further(k.own(), k.Measures)
	case "resource":
		return k.resources(ctx)
	}
	return nil, &server.Error{Code: http.StatusNotFound, Message: "404 page not found"}
}

// own are the kubelet's own figures.
func (k *Kubelet) own() []byte {
	var b bytes.Buffer
	family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	ops := k.cri.Operations()
	names := slices.Sorted(maps.Keys(ops))
	family("kubelet_runtime_operations_total", "counter", "[ALPHA] Cumulative number of runtime operations by operation type.")
	for _, n := range names {
		fmt.Fprintf(&b, "kubelet_runtime_operations_total{operation_type=%q} %d\n", snake(n), ops[n].Count)
	}
	family("kubelet_runtime_operations_errors_total", "counter", "[ALPHA] Cumulative number of runtime operation errors by operation type.")
	for _, n := range names {
		if ops[n].Errors > 0 {
			fmt.Fprintf(&b, "kubelet_runtime_operations_errors_total{operation_type=%q} %d\n", snake(n), ops[n].Errors)
		}
	}
	family("lighter_kubelet_runtime_operations_seconds_total", "counter", "Time spent in runtime operations by operation type.")
	for _, n := range names {
		fmt.Fprintf(&b, "lighter_kubelet_runtime_operations_seconds_total{operation_type=%q} %g\n", snake(n), ops[n].Took.Seconds())
	}
	pods, containers := 0, 0
	for _, w := range k.all() {
		if seen := w.snapshot.Load(); seen != nil {
			if box := seen.Current(); box != nil && box.Ready {
				pods++
			}
			for i := range seen.Containers {
				if seen.Containers[i].State == cri.Running {
					containers++
				}
			}
		}
	}
	family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.")
	fmt.Fprintf(&b, "kubelet_node_name{node=%q} 1\n", k.NodeName)
	family("kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox")
	fmt.Fprintf(&b, "kubelet_running_pods %d\n", pods)
	family("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running")
	fmt.Fprintf(&b, "kubelet_running_containers{container_state=\"running\"} %d\n", containers)
	return b.Bytes()
}

// further adds what others count.
func further(text []byte, measures []prometheus.Collector) ([]byte, error) {
	all := prometheus.NewRegistry()
	for _, m := range measures {
		if err := all.Register(m); err != nil {
			return nil, err
		}
	}
	families, err := all.Gather()
	b := bytes.NewBuffer(text)
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(b, f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), err
}

// snake is a CRI method's name as upstream's metrics write it: RunPodSandbox is run_podsandbox.
func snake(method string) string {
	method = strings.ReplaceAll(method, "PodSandbox", "Podsandbox")
	var b strings.Builder
	for i, r := range method {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// resources are what the node, its pods and their containers use, with the names that upstream gives them.
func (k *Kubelet) resources(ctx context.Context) ([]byte, error) {
	v, err := k.summary(ctx)
	if err != nil {
		return nil, err
	}
	s := v.(*stats.Summary)
	var b bytes.Buffer
	family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	family("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds")
	fmt.Fprintf(&b, "node_cpu_usage_seconds_total %g\n", float64(*s.Node.CPU.UsageCoreNanoSeconds)/1e9)
	family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes")
	fmt.Fprintf(&b, "node_memory_working_set_bytes %d\n", *s.Node.Memory.WorkingSetBytes)
	each := func(name, kind, help string, f func(c *stats.ContainerStats) (float64, bool)) {
		family(name, kind, help)
		for _, p := range s.Pods {
			for i := range p.Containers {
				if v, ok := f(&p.Containers[i]); ok {
					fmt.Fprintf(&b, "%s{container=%q,namespace=%q,pod=%q} %g\n", name, p.Containers[i].Name, p.PodRef.Namespace, p.PodRef.Name, v)
				}
			}
		}
	}
	each("container_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds", func(c *stats.ContainerStats) (float64, bool) {
		if c.CPU == nil || c.CPU.UsageCoreNanoSeconds == nil {
			return 0, false
		}
		return float64(*c.CPU.UsageCoreNanoSeconds) / 1e9, true
	})
	each("container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes", func(c *stats.ContainerStats) (float64, bool) {
		if c.Memory == nil || c.Memory.WorkingSetBytes == nil {
			return 0, false
		}
		return float64(*c.Memory.WorkingSetBytes), true
	})
	return b.Bytes(), nil
}
