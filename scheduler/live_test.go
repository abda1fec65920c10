package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// serve runs a real control plane with its scheduler, without controllers, that forgets all.
func serve(t testing.TB) client.Client {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config{DataDir: t.TempDir()}
	c.Server.Store, c.Server.Listen, c.Server.Advertise =
		"memory", fmt.Sprintf("localhost:%d", free.Addr().(*net.TCPAddr).Port), "192.0.2.1" // an address for examples: nobody calls there
	c.Server.Disable = []string{"controllers", "cloud-controllers"}
	if err := errors.Join(free.Close(), c.Complete()); err != nil {
		t.Fatal(err)
	}
	out := io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := role.NewServer(ctx, &c, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	admin := s.Client("test", "system:masters")
	create(t, admin, client.Namespaces, &corev1.Namespace{ObjectMeta: v1.ObjectMeta{Name: "live"}})
	create(t, admin, client.ServiceAccounts, &corev1.ServiceAccount{ObjectMeta: v1.ObjectMeta{Name: "default", Namespace: "live"}})
	return admin
}

func create[T client.Object](t testing.TB, c client.Client, k client.Kind[T], o T) {
	t.Helper()
	if _, err := k.Create(context.Background(), c, o); err != nil {
		t.Fatal(err)
	}
}

func node(name, cpu string) *corev1.Node {
	return &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}, Status: corev1.NodeStatus{
		Allocatable: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("128Gi"), "pods": resource.MustParse("110")}}}
}

func addNode(t testing.TB, c client.Client, n *corev1.Node) {
	t.Helper()
	create(t, c, client.Nodes, n)
	if _, err := client.Nodes.Merge(context.Background(), c, "", n.Name, "status", map[string]any{"status": n.Status}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Nodes.Merge(context.Background(), c, "", n.Name, "", map[string]any{"spec": map[string]any{"taints": nil}}); err != nil {
		t.Fatal(err) // a new node is tainted not-ready, and no controller takes that away here
	}
}

func pod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: "live", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app:v1",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}}}}
}

// until waits for the view to show what is asked for.
func until[T client.Object](t testing.TB, c client.Client, k client.Kind[T], ok func([]T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	view := k.View(ctx, c, client.Selection{})
	for {
		at := view.Version()
		if ok(view.List("live")) {
			return
		}
		if err := view.WaitVersion(ctx, at+1); err != nil {
			for _, o := range view.List("live") {
				switch o := any(o).(type) {
				case *corev1.Pod:
					t.Errorf("%s on %q: %s", o.Name, o.Spec.NodeName, says(o))
				case *corev1.Event:
					t.Errorf("%s: %s %s", o.InvolvedObject.Name, o.Reason, o.Message)
				}
			}
			t.Fatalf("%s never became so", k.Kind)
		}
	}
}

func says(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

func TestWithARealServer(t *testing.T) {
	c := serve(t)
	addNode(t, c, node("n1", "2"))
	create(t, c, client.Pods, pod("giant", "1000"))
	create(t, c, client.Pods, pod("small", "1"))
	const want = "False Unschedulable 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	until(t, c, client.Pods, func(pods []*corev1.Pod) bool {
		return len(pods) == 2 && says(pods[0]) == want && pods[1].Spec.NodeName == "n1"
	})
	until(t, c, client.Events, func(events []*corev1.Event) bool {
		seen := map[string]bool{}
		for _, e := range events {
			seen[e.InvolvedObject.Name+" "+e.Reason+": "+e.Message] = true
		}
		return seen["small Scheduled: Successfully assigned live/small to n1"] && seen["giant FailedScheduling: "+want[len("False Unschedulable "):]]
	})
	addNode(t, c, node("n2", "1001"))
	until(t, c, client.Pods, func(pods []*corev1.Pod) bool { return pods[0].Spec.NodeName == "n2" })
}

// BenchmarkServer is create to bound of plain pods in a real server's process, 32 creators.
func BenchmarkServer(b *testing.B) {
	for _, nodes := range []int{1000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			c := serve(b)
			for i := range nodes {
				addNode(b, c, node(fmt.Sprint("n", i), "32"))
			}
			b.ReportAllocs()
			b.ResetTimer()
			var group sync.WaitGroup
			for w := range 32 {
				group.Go(func() {
					for i := w; i < b.N; i += 32 {
						if _, err := client.Pods.Create(b.Context(), c, pod(fmt.Sprint("p", i), "100m")); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all, bound := make(chan struct{}), map[string]bool{}
			client.Pods.View(b.Context(), c, client.Selection{}).Subscribe(b.Context(), func(_, p *corev1.Pod) {
				if p != nil && p.Spec.NodeName != "" && !bound[p.Name] {
					if bound[p.Name] = true; len(bound) == b.N {
						close(all)
					}
				}
			})
			group.Wait()
			<-all
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}
