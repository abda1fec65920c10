package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

// newNode reads words such as "ready=True memory=True cordoned taint:not-ready:NoSchedule".
func newNode(name, words string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "", UID: "u-" + "x", CreationTimestamp: metav1.NewTime(world.Start)}}
	types := map[string]corev1.NodeConditionType{"ready": corev1.NodeReady, "memory": corev1.NodeMemoryPressure, "disk": corev1.NodeDiskPressure,
		"pid": corev1.NodePIDPressure, "network": corev1.NodeNetworkUnavailable}
	for _, word := range strings.Fields(words) {
		if c, status, ok := strings.Cut(word, "="); ok {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: types[c], Status: corev1.ConditionStatus(status),
				LastTransitionTime: metav1.NewTime(world.Start)})
		} else if t, ok := strings.CutPrefix(word, "taint:"); ok {
			key, effect, _ := strings.Cut(t, ":")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "node.kubernetes.io/" + key, Effect: corev1.TaintEffect(effect)})
		} else if word == "cordoned" {
			n.Spec.Unschedulable = true
		}
	}
	return n
}

func show(list []corev1.Taint) string {
	var out []string
	for _, t := range list {
		out = append(out, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
	}
	return strings.Join(out, " ")
}

func TestTaints(t *testing.T) {
	tests := map[string]struct{ node, want string }{
		"a node that became ready loses the taint it was registered with": {"ready=True taint:not-ready:NoSchedule", ""},
		"one that has posted nothing keeps it":                            {"taint:not-ready:NoSchedule", "not-ready:NoSchedule"},
		"not ready":                                                       {"ready=False", "not-ready:NoSchedule not-ready:NoExecute"},
		"unknown":                                                         {"ready=Unknown", "unreachable:NoSchedule unreachable:NoExecute"},
		"from not ready to unknown":                                       {"ready=Unknown taint:not-ready:NoSchedule taint:not-ready:NoExecute", "unreachable:NoSchedule unreachable:NoExecute"},
		"pressures":                                                       {"ready=True memory=True disk=True pid=True network=True", "memory-pressure:NoSchedule disk-pressure:NoSchedule pid-pressure:NoSchedule network-unavailable:NoSchedule"},
		"cordoned":                                                        {"ready=True cordoned", "unschedulable:NoSchedule"},
		"others' taints stay":                                             {"ready=True taint:other:NoExecute taint:unreachable:NoExecute", "other:NoExecute"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode("n", tt.node)
			got, changed := taints(n, wantNoExecute(n), world.Start)
			if show(got) != tt.want || changed != (show(n.Spec.Taints) != tt.want) {
				t.Errorf("got %q (changed %v), want %q", show(got), changed, tt.want)
			}
			n.Spec.Taints = got
			if _, changed := taints(n, wantNoExecute(n), world.Start); changed {
				t.Error("a second look changes something")
			}
		})
	}
}

func TestDecide(t *testing.T) {
	readyPod := world.Pods("a:ready", newNode("n", ""), nodeKind, nil)
	later := readyPod[0].DeepCopy()
	later.Status.Conditions[0].LastTransitionTime = metav1.NewTime(world.Start.Add(time.Minute))
	tests := map[string]struct {
		view View
		want string
	}{
		"ready and well":             {View{Node: newNode("n", "ready=True")}, ""},
		"silent":                     {View{Node: newNode("n", "ready=True"), Silent: true}, "update status Node n"},
		"perhaps silent":             {View{Node: newNode("n", "ready=True"), Again: true}, "again in 5s"},
		"not ready, its turn":        {View{Node: newNode("n", "ready=False"), May: true, Pods: readyPod}, "patch Node n, patch Pod a"},
		"not ready, not yet":         {View{Node: newNode("n", "ready=False taint:not-ready:NoSchedule"), Wait: time.Second}, "again in 1s"},
		"nobody is ready":            {View{Node: newNode("n", "ready=False taint:not-ready:NoSchedule taint:not-ready:NoExecute"), AllDown: true}, "patch Node n"},
		"a pod that came back later": {View{Node: newNode("n", "ready=False taint:not-ready:NoSchedule taint:not-ready:NoExecute"), Pods: []*corev1.Pod{later}}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.view.Now = world.Start.Add(time.Hour)
			if got := world.Show(Decide(tt.view)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestZones(t *testing.T) {
	tests := map[string]struct {
		ready, notReady int
		elsewhere       bool // another zone has a ready node
		evictions       int  // begun in 100 s
	}{
		"one of three: at the rate":                         {2, 1, false, 1},
		"many down, half of the zone: at the rate":          {20, 20, false, 11},
		"most of a small zone: none":                        {1, 20, false, 0},
		"most of a large zone: slowly":                      {10, 90, false, 2},
		"the whole zone, others are well: at the rate":      {0, 20, true, 11},
		"the whole cluster: none, it is we who are cut off": {0, 20, false, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			z := newZones()
			for i := range tt.ready {
				z.note(nil, newNode(fmt.Sprint("r", i), "ready=True"))
			}
			for i := range tt.notReady {
				z.note(nil, newNode(fmt.Sprint("n", i), "ready=False"))
			}
			if tt.elsewhere {
				n := newNode("far", "ready=True")
				n.Labels = map[string]string{corev1.LabelTopologyZone: "far"}
				z.note(nil, n)
			}
			begun := map[string]bool{}
			for s := range 101 {
				for i := range tt.notReady {
					name := fmt.Sprint("n", i)
					if ok, _ := z.take(name, world.Start.Add(time.Duration(s)*time.Second)); ok && !begun[name] {
						begun[name] = true
					}
				}
			}
			if len(begun) != tt.evictions {
				t.Errorf("%d evictions, want %d", len(begun), tt.evictions)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	not := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}
	own := corev1.Taint{Key: "mine", Value: "v", Effect: corev1.TaintEffectNoExecute}
	for300 := corev1.Toleration{Key: not.Key, Operator: corev1.TolerationOpExists, Effect: not.Effect, TolerationSeconds: ptr.To[int64](300)}
	tests := map[string]struct {
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		want        string
	}{
		"no taint":                     {nil, nil, "never"},
		"not tolerated":                {[]corev1.Taint{not}, nil, "10s"},
		"tolerated for a while":        {[]corev1.Taint{not}, []corev1.Toleration{for300}, "5m10s"},
		"tolerated for ever":           {[]corev1.Taint{not}, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, "never"},
		"one of two is not tolerated":  {[]corev1.Taint{not, own}, []corev1.Toleration{for300}, "10s"},
		"equal in value":               {[]corev1.Taint{own}, []corev1.Toleration{{Key: "mine", Value: "v"}}, "never"},
		"other value":                  {[]corev1.Taint{own}, []corev1.Toleration{{Key: "mine", Value: "w"}}, "10s"},
		"less than no time is no time": {[]corev1.Taint{own}, []corev1.Toleration{{Key: "mine", Value: "v", TolerationSeconds: ptr.To[int64](-5)}}, "10s"},
		"tolerated for another effect": {[]corev1.Taint{own}, []corev1.Toleration{{Key: "mine", Value: "v", Effect: corev1.TaintEffectNoSchedule}}, "10s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(world.Start)}, Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
			var list []since
			for _, x := range tt.taints {
				list = append(list, since{x, world.Start.Add(10 * time.Second)})
			}
			got := "never"
			if at, ok := deadline(p, list); ok {
				got = at.Sub(world.Start).String()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Ranges are never given twice, whatever sizes nodes bring along.
func TestRanges(t *testing.T) {
	r := newRanges(netip.MustParsePrefix("10.42.0.0/22"), 24)
	r.hold("old", netip.MustParsePrefix("10.42.1.128/25"))
	r.hold("elsewhere", netip.MustParsePrefix("10.9.0.0/24"))
	var got []string
	for _, n := range []string{"a", "b", "b", "c", "d"} {
		p, _ := r.give(n)
		got = append(got, n+"="+p.String())
	}
	r.hold("b", netip.Prefix{})
	p, _ := r.give("d")
	got = append(got, "d="+p.String())
	want := []string{"a=10.42.0.0/24", "b=10.42.2.0/24", "b=10.42.2.0/24", "c=10.42.3.0/24", "d=invalid Prefix", "d=10.42.2.0/24"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// rig is a world with the controller and kubelets that renew their leases every 10 s while they are up.
type rig struct {
	w    *world.World
	up   map[string]bool
	deaf bool // the API does not answer
	poor bool // leases may not be read, as by system:controller:node-controller
}

func (r *rig) beat(t *testing.T) {
	for {
		select {
		case <-t.Context().Done():
			return
		case <-time.After(10 * time.Second):
		}
		for name, up := range r.up {
			if !up {
				continue
			}
			now := metav1.NowMicro()
			l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}, Spec: coordinationv1.LeaseSpec{RenewTime: &now}}
			world.Put(r.w, client.Leases, l)
		}
	}
}

// deaf is a client whose reads fail while the rig is deaf.
type deaf struct {
	client.Client
	r *rig
}

func (d deaf) Get(ctx context.Context, r client.Resource, ns, name string) (client.Object, error) {
	if d.r.deaf {
		return nil, apierrors.NewServiceUnavailable("away")
	}
	if d.r.poor && r.Resource == "leases" {
		return nil, apierrors.NewForbidden(r.GroupResource(), name, nil)
	}
	return d.Client.Get(ctx, r, ns, name)
}

func newRig(t *testing.T, names ...string) *rig {
	r := &rig{w: world.New(time.Now), up: map[string]bool{}}
	for _, name := range names {
		r.up[name] = true
		n := newNode(name, "ready=True")
		n.CreationTimestamp = metav1.Now()
		world.Put(r.w, client.Nodes, n)
	}
	env := r.w.Env()
	env.Client = deaf{r.w, r}
	go env.Events.Run(t.Context())
	go r.beat(t)
	done := make(chan error)
	go func() {
		done <- Run(t.Context(), env, Options{PodCIDR: netip.MustParsePrefix("10.42.0.0/16")})
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) taints(name string) string {
	return show(world.Get(r.w, client.Nodes, "", name).Spec.Taints)
}

func (r *rig) events() (out []string) {
	for _, e := range world.List(r.w, client.Events) {
		out = append(out, e.Reason)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestRunLosesANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "n1", "n2", "n3")
		r.poor = true
		p := world.Pods("a:ready,@n2", newNode("o", ""), nodeKind, nil)[0]
		p.Namespace, p.CreationTimestamp = "ns", metav1.Now()
		p.Status.Conditions[0].LastTransitionTime = metav1.Now()
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: ptr.To[int64](30)}}
		world.Put(r.w, client.Pods, p)
		time.Sleep(time.Minute)
		var ranges []string
		for _, n := range world.List(r.w, client.Nodes) {
			ranges = append(ranges, n.Spec.PodCIDR)
		}
		slices.Sort(ranges)
		if got := fmt.Sprint(ranges); got != "[10.42.0.0/24 10.42.1.0/24 10.42.2.0/24]" {
			t.Errorf("pod addresses %s", got)
		}
		writes := r.w.Writes()
		time.Sleep(10 * time.Minute)
		if n := r.w.Writes() - writes; n > 0 {
			t.Errorf("%d writes although nothing happened", n) // the leases are put, not written through the client
		}
		r.up["n2"] = false
		time.Sleep(25 * time.Second)
		if got := r.taints("n2"); got != "" {
			t.Errorf("taints %q within the grace", got)
		}
		time.Sleep(25 * time.Second)
		n := world.Get(r.w, client.Nodes, "", "n2")
		if c := condition(n, corev1.NodeReady); c.Status != corev1.ConditionUnknown || c.Reason != "NodeStatusUnknown" || c.Message != "Kubelet stopped posting node status." {
			t.Errorf("condition %v", c)
		}
		if got := r.taints("n2"); got != "unreachable:NoSchedule unreachable:NoExecute" {
			t.Errorf("taints %q", got)
		}
		if c := world.Get(r.w, client.Pods, "ns", "a").Status.Conditions[0]; c.Status != corev1.ConditionFalse {
			t.Errorf("pod condition %v", c)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if p := world.Get(r.w, client.Pods, "ns", "a"); p != nil {
			t.Error("pod is still there")
		}
		if got := fmt.Sprint(r.events()); got != "[NodeNotReady RegisteredNode TaintManagerEviction]" {
			t.Errorf("events %s", got)
		}
		world.Change(r.w, client.Nodes, "", "n2", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue })
		r.up["n2"] = true
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.taints("n2"); got != "" {
			t.Errorf("taints %q after it came back", got)
		}
	})
}

func TestRunIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "n1", "n2", "n3")
		time.Sleep(time.Minute)
		writes := r.w.Writes()
		for name := range r.up { // nobody can post while the API is away
			r.up[name] = false
		}
		r.deaf = true
		time.Sleep(10 * time.Minute)
		r.deaf = false
		time.Sleep(25 * time.Second)
		for name := range r.up {
			r.up[name] = true
		}
		time.Sleep(10 * time.Minute)
		if n := r.w.Writes() - writes; n > 0 {
			t.Errorf("%d writes because of an outage", n)
		}
	})
}

func TestPulseAfterAPause(t *testing.T) {
	now := world.Start
	p := newPulse(40*time.Second, func() time.Time { return now })
	p.node(nil, newNode("n", "ready=True"))
	now = now.Add(39 * time.Second)
	if p.late("n") {
		t.Error("late within the grace")
	}
	now = now.Add(time.Second)
	if !p.late("n") {
		t.Error("not late after the grace")
	}
	p.anew()
	if p.late("n") {
		t.Error("late although every node has its grace anew")
	}
}
