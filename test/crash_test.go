package test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
)

// rounds is how often a test that repeats itself does: a slice, or all of it with PROVE set.
func rounds(slice, all int) int {
	if os.Getenv("PROVE") != "" {
		return all
	}
	return slice
}

// TestKill9 ends lighter with SIGKILL, again and again, while a rollout is under way and objects are written: what was
// acknowledged is there, what ran runs on as the same processes, and the rollout completes.
func TestKill9(t *testing.T) {
	b := begin(t)
	acknowledged := map[string]string{} // ConfigMap to its value
	pods := client.Pods.View(t.Context(), b.Client, client.Selection{Namespace: ns})
	for round := range rounds(3, 20) {
		image := fmt.Sprintf("guestbook.example/web:v%d", 2-round%2)
		b.Kubectl("-n", ns, "set", "image", "deployment/web", "web="+image)

		// Writers go on until lighter is dead.
		var all sync.WaitGroup
		var mu sync.Mutex
		for w := range 4 {
			all.Go(func() {
				for i := 0; ; i++ {
					name, value := fmt.Sprintf("r%d-w%d-%d", round, w, i), fmt.Sprint(rand.Int64())
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					_, err := client.ConfigMaps.Create(ctx, b.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Data: map[string]string{"v": value}})
					cancel()
					if err != nil {
						return
					}
					mu.Lock()
					acknowledged[name] = value
					mu.Unlock()
				}
			})
		}
		after := time.Duration(rand.IntN(1500)) * time.Millisecond
		time.Sleep(after) // the moment of the crash is the input
		b.Kill()
		all.Wait()

		// What the API had said to run; a container whose start the crash interrupted may have to be started anew.
		said := map[string]bool{}
		for _, p := range pods.List(ns) {
			if s := p.Status.ContainerStatuses; len(s) > 0 && s[0].State.Running != nil {
				said[p.Name] = true
			}
		}
		running := map[int]string{} // process to the cgroup of its container
		for _, p := range b.Containers("") {
			running[p.PID] = p.Cgroup
		}
		began := time.Now()
		b.Up()
		ready := time.Since(began)
		b.Kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=90s")
		t.Logf("round %d: killed after %s with %d objects acknowledged and %d processes; ready in %s, rollout complete in %s",
			round, after, len(acknowledged), len(running), ready, time.Since(began))

		objects, err := client.ConfigMaps.List(t.Context(), b.Client, ns, client.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, m := range objects {
			have[m.Name] = m.Data["v"]
		}
		for name, value := range acknowledged {
			if have[name] != value {
				t.Errorf("round %d: ConfigMap %s was acknowledged with %s and is %q", round, name, value, have[name])
			}
		}
		now := map[int]string{}
		for _, p := range b.Containers("") {
			now[p.PID] = p.Cgroup
		}
		kept := 0
		for _, p := range b.Pods(ns, "app in (web,redis)") {
			if !said[p.Name] {
				continue
			}
			if restarts(p) != 0 {
				t.Errorf("round %d: pod %s counts %d restarts: %+v", round, p.Name, restarts(p), p.Status.ContainerStatuses[0].LastTerminationState)
			}
			if want := of(running, string(p.UID)); len(want) > 0 {
				kept++
				if got := of(now, string(p.UID)); !slices.Equal(want, got) {
					t.Errorf("round %d: pod %s ran as %v and runs as %v", round, p.Name, want, got)
				}
			}
			if p.Labels["app"] == "web" && p.Spec.Containers[0].Image != image {
				t.Errorf("round %d: %s runs %s after the rollout of %s", round, p.Name, p.Spec.Containers[0].Image, image)
			}
		}
		if kept == 0 { // redis at least
			t.Errorf("round %d: no pod was there before and after", round)
		}
		b.Eventually(20*time.Second, "the page", func() error { _, _, err := b.page(b.Machine); return err })
		if t.Failed() {
			return
		}
	}
}

// of are the processes of a pod, by its UID, in order.
func of(running map[int]string, uid string) (pids []int) {
	for _, pid := range slices.Sorted(maps.Keys(running)) {
		if strings.Contains(running[pid], uid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
