package scheduler

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
)

func scheduled(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

func (c *cluster) want(t *testing.T, pod, node string) {
	t.Helper()
	if got := c.pod(pod).Spec.NodeName; got != node {
		t.Errorf("pod %s is on %q, want %q (%s)", pod, got, node, scheduled(c.pod(pod)))
	}
}

func TestAPodGoesWhereThereIsRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(newNode("small", "cpu=1 memory=1Gi"), newNode("big", "cpu=4 memory=4Gi"), newPod("a", "cpu=2 memory=1Gi"))
		c.start(t)
		c.want(t, "a", "big")
		c.set(newPod("b", "cpu=1 memory=1Gi"))
		c.set(newPod("c", "cpu=1 memory=1Gi"))
		c.set(newPod("d", "cpu=1 memory=1Gi"))
		c.set(newPod("e", "cpu=1 memory=1Gi"))
		settle()
		on := map[string]int{}
		for _, p := range []string{"a", "b", "c", "d", "e"} {
			on[c.pod(p).Spec.NodeName]++
		}
		if fmt.Sprint(on) != "map[:1 big:3 small:1]" {
			t.Errorf("pods are on %v", on)
		}
	})
}

func TestAPodThatFitsNowhereSaysWhyAndIsWokenByWhatHelps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(newNode("n1", "cpu=1 memory=1Gi"), newPod("first", "cpu=1", on("n1")), newPod("a", "cpu=1"))
		c.start(t)
		c.want(t, "a", "")
		const want = "False Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
		if got := scheduled(c.pod("a")); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("condition is %q", got)
		}
		writes := len(c.writes)
		time.Sleep(time.Hour)
		settle()
		if len(c.writes) != writes {
			t.Errorf("idle, but it wrote %q", c.writes[writes:])
		}
		c.delete(newPod("first", ""))
		time.Sleep(maxDelay) // it was tried in vain every now and then
		settle()
		c.want(t, "a", "n1")
	})
}

func TestABindingThatIsRefusedIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(newNode("n1", "cpu=1 memory=1Gi"), newPod("a", "cpu=1"))
		refusals := 0
		c.refuse = func(_ client.Resource, subresource, name string) error {
			if subresource == "binding" && refusals < 2 {
				refusals++
				return apierrors.NewInternalError(fmt.Errorf("no disk"))
			}
			return nil
		}
		c.start(t)
		c.want(t, "a", "")
		if got := scheduled(c.pod("a")); got != "False SchedulerError: bind pod ns/a to node n1: Internal error occurred: no disk" {
			t.Errorf("condition is %q", got)
		}
		time.Sleep(time.Second)
		settle()
		c.want(t, "a", "") // the second time
		time.Sleep(2 * time.Second)
		settle()
		c.want(t, "a", "n1")
	})
}

func TestGatesAndOtherSchedulers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gated := newPod("gated", "cpu=1", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} })
		other := newPod("other", "cpu=1", func(p *corev1.Pod) { p.Spec.SchedulerName = "another" })
		going := newPod("going", "cpu=1", func(p *corev1.Pod) { p.DeletionTimestamp = &v1.Time{Time: time.Now()} })
		c := newCluster(newNode("n1", "cpu=9 memory=1Gi"), gated, other, going)
		c.start(t)
		c.want(t, "gated", "")
		c.want(t, "other", "")
		c.want(t, "going", "")
		gated = gated.DeepCopy()
		gated.Spec.SchedulingGates, gated.Generation = nil, 2
		c.set(gated)
		settle()
		c.want(t, "gated", "n1")
	})
}
