package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// benchNode and benchPod are what the project's benchmark client makes in a real cluster.
func benchNode(i int) *corev1.Node {
	return newNode(fmt.Sprintf("node-%05d", i), fmt.Sprintf("cpu=32 memory=128Gi ephemeral-storage=200Gi|topology.kubernetes.io/zone=zone-%d", i%3))
}

func benchPod(i int, profile string) *corev1.Pod {
	p := newPod(fmt.Sprintf("pod-%06d", i), "cpu=100m memory=64Mi", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": fmt.Sprintf("group-%04d", i/50)}
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	})
	same := &v1.LabelSelector{MatchLabels: p.Labels}
	switch profile {
	case "spread":
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: same}}
	case "affinity":
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: same, TopologyKey: corev1.LabelHostname}}}}
	}
	return p
}

// BenchmarkDecide is the owner's part: taking a pod in, deciding, counting it, and taking in that it is bound.
func BenchmarkDecide(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		for _, profile := range []string{"plain", "spread", "affinity"} {
			b.Run(fmt.Sprintf("%s/%d", profile, nodes), func(b *testing.B) {
				const most = 20000
				pods := make([]*corev1.Pod, min(b.N, most))
				for i := range pods {
					pods[i] = benchPod(i, profile)
				}
				var s *scheduler
				begin := func() {
					s = newScheduler(Config{Client: newCluster(), Log: slog.New(slog.DiscardHandler), Now: time.Now, Seed: 1})
					for i := range nodes {
						s.cache.setNode(benchNode(i))
					}
				}
				begin()
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if i%most == 0 && i > 0 {
						b.StopTimer()
						begin()
						b.StartTimer()
					}
					p := pods[i%most]
					a := s.cache.newAsk(p)
					d := s.decide(a)
					if d.node == nil {
						b.Fatal(d.message())
					}
					s.cache.assume(a.pod, d.node)
					bound := *p
					bound.Spec.NodeName = d.node.name
					s.cache.setPod(&bound)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
			})
		}
	}
}

// BenchmarkRun is all of it with an API server that answers at once: pods until they are bound, per second.
func BenchmarkRun(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		for _, profile := range []string{"plain", "spread", "affinity"} {
			b.Run(fmt.Sprintf("%s/%d", profile, nodes), func(b *testing.B) {
				c := newCluster()
				c.quiet = true
				for i := range nodes {
					c.set(benchNode(i))
				}
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error)
				bound := make(chan types.UID, 1000)
				c.view(client.Pods.Resource).Subscribe(ctx, func(x client.Change) {
					if p, ok := x.New.(*corev1.Pod); ok && p.Spec.NodeName != "" {
						bound <- p.UID
					}
				})
				pods := make([]*corev1.Pod, b.N)
				for i := range pods {
					pods[i] = benchPod(i, profile)
				}
				go func() {
					done <- Run(ctx, Config{Client: c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Seed: 1})
				}()
				b.ReportAllocs()
				b.ResetTimer()
				go func() {
					for _, p := range pods {
						c.set(p)
					}
				}()
				for range pods {
					<-bound
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
				cancel()
				<-done
			})
		}
	}
}
