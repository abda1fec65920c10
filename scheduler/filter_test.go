package scheduler

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// world makes a scheduler that has taken in the objects and runs nothing.
func world(nodes []*corev1.Node, pods ...*corev1.Pod) *scheduler {
	s := newScheduler(Config{Client: newCluster(), Log: slog.New(slog.DiscardHandler), Now: time.Now, Seed: 1})
	for _, n := range nodes {
		s.cache.setNode(n)
	}
	for _, p := range pods {
		s.cache.setPod(p)
	}
	return s
}

func taint(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

func tolerates(t corev1.Toleration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Tolerations = append(p.Spec.Tolerations, t) }
}

func hostPort(n int32, ip string, protocol corev1.Protocol) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostPort: n, HostIP: ip, Protocol: protocol})
	}
}

func selects(words string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = pairs(words) }
}

func affinity(terms ...corev1.NodeSelectorTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}}
	}
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func TestFilters(t *testing.T) {
	const no, yes = corev1.TaintEffectNoSchedule, ""
	noExecute := corev1.TaintEffectNoExecute
	in := func(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	named := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}}}
	tests := map[string]struct {
		node *corev1.Node
		on   []*corev1.Pod
		pod  *corev1.Pod
		want string // reasons; a "!" says that preemption cannot help
	}{
		"room for all":                         {newNode("n", "cpu=1 memory=1Gi"), nil, newPod("p", "cpu=1 memory=1Gi"), yes},
		"too little of two":                    {newNode("n", "cpu=2 memory=2Gi"), []*corev1.Pod{newPod("o", "cpu=1 memory=1Gi", on("n"))}, newPod("p", "cpu=2 memory=2Gi"), "Insufficient cpu, Insufficient memory"},
		"more than the node has":               {newNode("n", "cpu=1 memory=1Gi"), nil, newPod("p", "cpu=1001m"), "Insufficient cpu!"},
		"what is not asked for may be overrun": {newNode("n", "cpu=1"), []*corev1.Pod{newPod("o", "cpu=1", on("n"))}, newPod("p", ""), yes},
		"ephemeral storage":                    {newNode("n", "ephemeral-storage=1Gi"), nil, newPod("p", "ephemeral-storage=2Gi"), "Insufficient ephemeral-storage!"},
		"an extended resource that is used":    {newNode("n", "example.com/gpu=1"), []*corev1.Pod{newPod("o", "example.com/gpu=1", on("n"))}, newPod("p", "example.com/gpu=1"), "Insufficient example.com/gpu"},
		"an extended resource that is unknown": {newNode("n", "cpu=1"), nil, newPod("p", "example.com/gpu=1"), "Insufficient example.com/gpu!"},
		"as many pods as allowed":              {newNode("n", "cpu=9 pods=1"), []*corev1.Pod{newPod("o", "", on("n"))}, newPod("p", "cpu=10"), "Too many pods, Insufficient cpu!"},
		"cordoned":                             {newNode("n", "", cordoned), nil, newPod("p", ""), "node(s) were unschedulable!"},
		"cordoned but tolerated": {newNode("n", "", cordoned), nil,
			newPod("p", "", tolerates(corev1.Toleration{Key: "node.kubernetes.io/unschedulable", Operator: corev1.TolerationOpExists})), yes},
		"tainted":                        {newNode("n", "", taint("k", "v", no)), nil, newPod("p", ""), "node(s) had untolerated taint(s)!"},
		"tainted NoExecute":              {newNode("n", "", taint("k", "v", noExecute)), nil, newPod("p", ""), "node(s) had untolerated taint(s)!"},
		"tainted, but only preferably":   {newNode("n", "", taint("k", "v", corev1.TaintEffectPreferNoSchedule)), nil, newPod("p", ""), yes},
		"tolerates the value":            {newNode("n", "", taint("k", "v", no)), nil, newPod("p", "", tolerates(corev1.Toleration{Key: "k", Value: "v"})), yes},
		"tolerates another value":        {newNode("n", "", taint("k", "v", no)), nil, newPod("p", "", tolerates(corev1.Toleration{Key: "k", Value: "w"})), isTainted.text + "!"},
		"tolerates another effect":       {newNode("n", "", taint("k", "v", no)), nil, newPod("p", "", tolerates(corev1.Toleration{Key: "k", Operator: "Exists", Effect: noExecute})), isTainted.text + "!"},
		"tolerates everything":           {newNode("n", "", taint("k", "v", no)), nil, newPod("p", "", tolerates(corev1.Toleration{Operator: "Exists"})), yes},
		"tolerates one of two":           {newNode("n", "", taint("k", "v", no), taint("l", "", no)), nil, newPod("p", "", tolerates(corev1.Toleration{Key: "k", Operator: "Exists"})), isTainted.text + "!"},
		"node selector":                  {newNode("n", "|disk=ssd"), nil, newPod("p", "", selects("disk=ssd")), yes},
		"node selector, other value":     {newNode("n", "|disk=hdd"), nil, newPod("p", "", selects("disk=ssd")), "node(s) didn't match Pod's node affinity/selector!"},
		"affinity: one of the terms":     {newNode("n", "|disk=ssd"), nil, newPod("p", "", affinity(in("x", "Exists"), in("disk", "In", "ssd", "nvme"))), yes},
		"affinity: greater than":         {newNode("n", "|cores=8"), nil, newPod("p", "", affinity(in("cores", "Gt", "8"))), isNotSelected.text + "!"},
		"affinity: by name":              {newNode("n", ""), nil, newPod("p", "", affinity(named)), yes},
		"affinity: by another name":      {newNode("m", ""), nil, newPod("p", "", affinity(named)), isNotSelected.text + "!"},
		"selector and affinity":          {newNode("n", "|a=b"), nil, newPod("p", "", affinity(named), selects("a=c")), isNotSelected.text + "!"},
		"port taken":                     {newNode("n", ""), []*corev1.Pod{newPod("o", "", on("n"), hostPort(80, "", ""))}, newPod("p", "", hostPort(80, "", "TCP")), "node(s) didn't have free ports for the requested pod ports"},
		"port taken for UDP":             {newNode("n", ""), []*corev1.Pod{newPod("o", "", on("n"), hostPort(80, "", "UDP"))}, newPod("p", "", hostPort(80, "", "TCP")), yes},
		"port taken on another address":  {newNode("n", ""), []*corev1.Pod{newPod("o", "", on("n"), hostPort(80, "10.0.0.1", ""))}, newPod("p", "", hostPort(80, "10.0.0.2", "")), yes},
		"port taken on one, wanted all":  {newNode("n", ""), []*corev1.Pod{newPod("o", "", on("n"), hostPort(80, "10.0.0.1", ""))}, newPod("p", "", hostPort(80, "0.0.0.0", "")), hasNoPorts.text},
		"the first filter speaks for it": {newNode("n", "cpu=1", cordoned, taint("k", "v", no)), nil, newPod("p", "cpu=2", hostPort(80, "", "")), isUnschedulable.text + "!"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := world([]*corev1.Node{tt.node}, tt.on...)
			if got := why(s, tt.pod, tt.node.Name); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// why is why a node cannot take a pod, in words.
func why(s *scheduler, p *corev1.Pod, node string) string {
	a := s.cache.newAsk(p)
	s.cache.survey(a)
	var out []string
	for _, r := range s.refusal(a, s.cache.byName[node], nil) {
		if r.final {
			r.text += "!"
		}
		out = append(out, r.text)
	}
	return strings.Join(out, ", ")
}

func TestRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	with := func(f func(*corev1.Pod)) *corev1.Pod { return newPod("p", "cpu=100m memory=10Mi", f) }
	init := func(words string, policy *corev1.ContainerRestartPolicy) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "i", RestartPolicy: policy, Resources: corev1.ResourceRequirements{Requests: list(words)}})
		}
	}
	for name, tt := range map[string]struct {
		pod                          *corev1.Pod
		cpu, memory, weighs, weighsM int64
	}{
		"containers":                     {newPod("p", "cpu=100m memory=10Mi"), 100, 10 << 20, 100, 10 << 20},
		"nothing counts a bit in scores": {newPod("p", ""), 0, 0, 100, 200 << 20},
		"a larger init container":        {with(init("cpu=1", nil)), 1000, 10 << 20, 1000, 200 << 20},
		"a sidecar":                      {with(init("cpu=1 memory=1Mi", &always)), 1100, 11 << 20, 1100, 11 << 20},
		"overhead":                       {with(func(p *corev1.Pod) { p.Spec.Overhead = list("cpu=7m") }), 107, 10 << 20, 107, 10 << 20},
	} {
		c := newCache()
		p := c.newPod(tt.pod)
		if p.requests.cpu != tt.cpu || p.requests.memory != tt.memory {
			t.Errorf("%s: requests %d %d, want %d %d", name, p.requests.cpu, p.requests.memory, tt.cpu, tt.memory)
		}
		if p.weighCPU != tt.weighs || p.weighMemory != tt.weighsM {
			t.Errorf("%s: weighs %d %d, want %d %d", name, p.weighCPU, p.weighMemory, tt.weighs, tt.weighsM)
		}
	}
}

func TestMessages(t *testing.T) {
	big := func(name string) *corev1.Node { return newNode(name, "cpu=4 memory=4Gi") }
	for name, tt := range map[string]struct {
		s    *scheduler
		pod  *corev1.Pod
		want string
	}{
		"no nodes": {world(nil), newPod("p", ""), "no nodes available to schedule pods"},
		"ordered as text": {world([]*corev1.Node{big("a"), newNode("b", "cpu=9", taint("k", "v", "NoSchedule")), newNode("c", "cpu=9", taint("k", "v", "NoSchedule"))}),
			newPod("p", "cpu=1000"), "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). " +
				"preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
		"nobody to preempt": {world([]*corev1.Node{big("a"), big("b")}, newPod("x", "cpu=3", on("a")), newPod("y", "cpu=3", on("b"))),
			newPod("p", "cpu=2"), "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."},
		"those to preempt are too small": {world([]*corev1.Node{big("a")}, newPod("x", "cpu=3", on("a"), priority(10)), newPod("y", "cpu=1", on("a"))),
			newPod("p", "cpu=2", priority(5)), "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu."},
		"may not preempt": {world([]*corev1.Node{big("a")}, newPod("x", "cpu=3", on("a"))),
			newPod("p", "cpu=2", priority(5), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever) }),
			"0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."},
		"a DaemonSet's pod speaks of all nodes": {world([]*corev1.Node{newNode("a", "cpu=1"), newNode("b", "cpu=1"), newNode("n", "cpu=1")}),
			newPod("p", "cpu=2", affinity(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n"}}}})),
			"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
	} {
		t.Run(name, func(t *testing.T) {
			a := tt.s.cache.newAsk(tt.pod)
			d := tt.s.decide(a)
			if d.node != nil || d.nodes > 0 && tt.s.preempt(a, &d) != nil {
				t.Fatal("it found a way")
			}
			if got := d.message(); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
