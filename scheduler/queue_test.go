package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
)

func TestQueueOrder(t *testing.T) {
	start := time.Unix(1000, 0)
	created := func(s int) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.CreationTimestamp = v1.NewTime(start.Add(time.Duration(s) * time.Second)) }
	}
	c, q := newCache(), newQueue()
	for _, p := range []*corev1.Pod{newPod("late", "", created(2)), newPod("early", "", created(1)), newPod("vip", "", created(3), priority(9)), newPod("gone", "")} {
		q.add(c.newAsk(p), start)
	}
	q.remove("gone")
	var got []string
	for e := q.pop(start); e != nil; e = q.pop(start) {
		got = append(got, e.ask.obj.Name)
		if e.ask.obj.Name == "early" {
			q.putAside(e, byResources, start)
		}
	}
	if s := strings.Join(got, " "); s != "vip early late" {
		t.Errorf("order is %s", s)
	}
	q.wake(byPorts, start)
	if _, ok := q.next(); !ok || len(q.aside.list) != 1 {
		t.Error("woken by what does not help")
	}
	q.wake(byResources, start)
	if at, ok := q.next(); !ok || !at.Equal(start.Add(time.Second)) {
		t.Errorf("its back-off ends at %v %v, want a second later", at, ok)
	}
	if e := q.pop(start.Add(time.Second - 1)); e != nil {
		t.Error("out before its back-off ended")
	}
	for i, want := range []int{2, 4, 8, 10, 10} {
		now := start.Add(time.Duration(i+1) * time.Hour)
		e := q.pop(now)
		q.putAside(e, byResources, now)
		if got := e.ready.Sub(now); got != time.Duration(want)*time.Second {
			t.Errorf("back-off %d is %v, want %ds", i, got, want)
		}
		q.wake(byResources, now)
	}
}

func TestPodsThatFitNowhereDoNotStarveOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(newNode("n1", "cpu=10 memory=10Gi pods=1000"))
		for i := range 300 {
			c.set(newPod(fmt.Sprint("giant-", i), fmt.Sprintf("cpu=%d", 11+i), priority(1000))) // each of a kind of its own
		}
		c.start(t)
		stop := make(chan struct{})
		go func() { // what can help the giants goes on and on
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					c.set(newNode("n1", fmt.Sprintf("cpu=10 memory=%dGi pods=1000", 10+i%2)))
				}
			}
		}()
		time.Sleep(20 * time.Second)
		c.set(newPod("small", "cpu=1"))
		time.Sleep(2 * time.Second)
		c.want(t, "small", "n1")
		close(stop)
	})
}

func TestPreemption(t *testing.T) {
	full := []client.Object{newNode("n1", "cpu=4 memory=4Gi"), newNode("n2", "cpu=4 memory=4Gi")}
	for name, tt := range map[string]struct {
		on      []client.Object
		pod     *corev1.Pod
		node    string // where it ends up
		victims string
	}{
		"the lower priority goes":  {[]client.Object{newPod("a", "cpu=4", on("n1"), priority(5)), newPod("b", "cpu=4", on("n2"), priority(3))}, newPod("p", "cpu=2", priority(9)), "n2", "b"},
		"no more than needed":      {[]client.Object{newPod("a", "cpu=4", on("n1"), priority(9)), newPod("b", "cpu=1", on("n2")), newPod("c", "cpu=3", on("n2"))}, newPod("p", "cpu=2", priority(9)), "n2", "c"},
		"equals stay":              {[]client.Object{newPod("a", "cpu=4", on("n1"), priority(9)), newPod("b", "cpu=4", on("n2"), priority(9))}, newPod("p", "cpu=2", priority(9)), "", ""},
		"budgets are spared":       {[]client.Object{newPod("a", "cpu=4|app=db", on("n1")), newPod("b", "cpu=4", on("n2"), priority(5)), budget("db", 0)}, newPod("p", "cpu=2", priority(9)), "n2", "b"},
		"budgets that allow one":   {[]client.Object{newPod("a", "cpu=4|app=db", on("n1")), newPod("b", "cpu=4", on("n2"), priority(5)), budget("db", 1)}, newPod("p", "cpu=2", priority(9)), "n1", "a"},
		"an enemy of lower rank":   {[]client.Object{newPod("a", "cpu=4", on("n1"), priority(9)), newPod("b", "cpu=1|app=db", on("n2"))}, newPod("p", "cpu=1", priority(9), apart(podTerm(corev1.LabelHostname, "db"))), "n2", "b"},
		"not if it asks for peace": {[]client.Object{newPod("a", "cpu=4", on("n1")), newPod("b", "cpu=4", on("n2"))}, newPod("p", "cpu=2", priority(9), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever) }), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(append(append([]client.Object{}, full...), tt.on...)...)
				c.set(tt.pod)
				c.start(t)
				time.Sleep(5 * time.Second)
				settle()
				c.want(t, "p", tt.node)
				var victims []string
				for _, w := range c.writes {
					if v, ok := strings.CutPrefix(w, "delete "); ok {
						victims = append(victims, v)
					}
				}
				if got := strings.Join(victims, " "); got != tt.victims {
					t.Errorf("victims are %q, want %q (writes: %q)", got, tt.victims, c.writes)
				}
			})
		})
	}
}

func budget(app string, allowed int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: app},
		Spec:   policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &v1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed}}
}

func TestRoomIsKeptWhileVictimsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(newNode("n1", "cpu=4 memory=4Gi"), newPod("victim", "cpu=4", on("n1")), newPod("vip", "cpu=3", priority(9)))
		c.slowDeath = true
		c.start(t)
		if got := c.pod("vip").Status.NominatedNodeName; got != "n1" {
			t.Errorf("room is kept on %q, want n1", got)
		}
		var marks []string
		for _, k := range c.pod("victim").Status.Conditions {
			marks = append(marks, fmt.Sprintf("%s=%s %s: %s", k.Type, k.Status, k.Reason, k.Message))
		}
		if fmt.Sprint(marks) != "[DisruptionTarget=True PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod]" {
			t.Errorf("the victim says %q", marks)
		}
		c.set(newPod("late", "cpu=2", priority(1)))
		c.delete(newPod("victim", ""))
		time.Sleep(3 * time.Second)
		settle()
		c.want(t, "vip", "n1")
		c.want(t, "late", "")
	})
}

func TestClaims(t *testing.T) {
	claims := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
		}
	}
	pvc := func(name, class, volume string) *corev1.PersistentVolumeClaim {
		p := &corev1.PersistentVolumeClaim{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, VolumeName: volume}}
		if volume != "" {
			p.Status.Phase = corev1.ClaimBound
		}
		return p
	}
	pv := &corev1.PersistentVolume{ObjectMeta: v1.ObjectMeta{Name: "v-b"}, Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: zone, Operator: "In", Values: []string{"b"}}}}}}}}}
	bubble(t, func(t *testing.T) {
		later := &storagev1.StorageClass{ObjectMeta: v1.ObjectMeta{Name: "later"}, VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)}
		c := newCluster(newNode("a", "cpu=4|"+zone+"=a"), newNode("b", "cpu=4|"+zone+"=b"), later, pv, pvc("there", "", "v-b"), pvc("now", "", ""), pvc("later", "later", ""),
			newPod("none", "", claims("x")), newPod("now", "", claims("now")), newPod("there", "", claims("there")), newPod("later", "", claims("later"), selects(zone+"=b")))
		c.start(t)
		for pod, want := range map[string]string{
			"none": `False Unschedulable: 0/2 nodes are available: persistentvolumeclaim "x" not found. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.`,
			"now":  "False Unschedulable: 0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
		} {
			if got := scheduled(c.pod(pod)); got != want {
				t.Errorf("%s says\n%s, want\n%s", pod, got, want)
			}
		}
		c.want(t, "there", "b")
		c.want(t, "later", "")
		got := c.view(client.PersistentVolumeClaims.Resource).Get("ns", "later").(*corev1.PersistentVolumeClaim)
		if got.Annotations[selectedNode] != "b" {
			t.Errorf("the claim's node is %q, want b", got.Annotations[selectedNode])
		}
		bound := got.DeepCopy()
		bound.ResourceVersion, bound.Spec.VolumeName, bound.Status.Phase = "", "v-b", corev1.ClaimBound
		c.set(bound)
		c.set(pvc("x", "", "v-b"))
		time.Sleep(2 * time.Second)
		settle()
		c.want(t, "later", "b")
		c.want(t, "none", "b")
	})
}
