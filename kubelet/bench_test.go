package kubelet

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// TestBudget prints what the kubelet costs: the time of a pod's start outside the runtime, and its CPU and
// memory with 50 idle pods. It takes a minute, and figures are no verdict: it runs only when asked,
// with KUBELET_BUDGET=1.
func TestBudget(t *testing.T) {
	if os.Getenv("KUBELET_BUDGET") == "" {
		t.Skip("runs only when asked: KUBELET_BUDGET=1")
	}
	m := newMachine(t)
	m.begin()
	rt := under.Load()
	var wall, outside []time.Duration
	for i := range 12 {
		name := fmt.Sprint("one", i)
		before := took(rt.cri.Operations())
		began := time.Now()
		m.create(toolPod(name, "wait"))
		m.wait(name, "running", running)
		w := time.Since(began)
		wall = append(wall, w)
		outside = append(outside, w-(took(rt.cri.Operations())-before))
		m.delete(name, 0)
		m.eventually("it is gone", func() bool { return len(rt.all()) == 0 })
	}
	sort.Slice(wall, func(i, j int) bool { return wall[i] < wall[j] })
	sort.Slice(outside, func(i, j int) bool { return outside[i] < outside[j] })
	t.Logf("create to Running: median %v, least %v; outside CRI calls: median %v, least %v", wall[6], wall[0], outside[6], outside[0])
	ops := rt.cri.Operations()
	for _, name := range []string{"RunPodSandbox", "CreateContainer", "StartContainer", "ListPodSandbox", "ListContainers", "ContainerStatus", "PodSandboxStatus", "ImageStatus"} {
		if o := ops[name]; o.Count > 0 {
			t.Logf("%s: %d calls, %v each", name, o.Count, o.Took/time.Duration(o.Count))
		}
	}
	began := time.Now()
	for i := range 50 {
		m.create(toolPod(fmt.Sprint("idle", i), "wait"))
	}
	for i := range 50 {
		m.wait(fmt.Sprint("idle", i), "running", func(p *corev1.Pod) bool { return running(p) })
	}
	t.Logf("50 pods running after %v", time.Since(began))
	runtime.GC()
	time.Sleep(35 * time.Second)
	cpu, at := usage(), time.Now()
	time.Sleep(30 * time.Second)
	t.Logf("idle CPU: %.2f %% of a core", 100*(usage()-cpu).Seconds()/time.Since(at).Seconds())
	status, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(l, "Rss") {
			t.Log(l)
		}
	}
	var ms runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&ms)
	t.Logf("live heap (with the test's cluster and image of %d KiB) %d KiB, goroutines %d", len(toolTar)/1024, ms.HeapAlloc/1024, runtime.NumGoroutine())
	for i := range 50 {
		m.delete(fmt.Sprint("idle", i), 0)
	}
	m.eventually("all are gone", func() bool { return len(rt.all()) == 0 })
}

func took(ops map[string]cri.Operation) (sum time.Duration) {
	for _, o := range ops {
		sum += o.Took
	}
	return sum
}

func usage() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
