package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const zone = corev1.LabelTopologyZone

func podTerm(label, app string, change ...func(*corev1.PodAffinityTerm)) corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{TopologyKey: label, LabelSelector: &v1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
	for _, f := range change {
		f(&t)
	}
	return t
}

func near(terms ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	}
}

func apart(terms ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	}
}

func spreads(label string, skew int32, change ...func(*corev1.TopologySpreadConstraint)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		k := corev1.TopologySpreadConstraint{TopologyKey: label, MaxSkew: skew, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &v1.LabelSelector{MatchLabels: p.Labels}}
		for _, f := range change {
			f(&k)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, k)
	}
}

func in(namespace string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Namespace = namespace } }

func ends(p *corev1.Pod) { p.DeletionTimestamp = &v1.Time{} }

// Nodes a1 and a2 are in zone a, b1 in zone b, x in none.
func TestNeighbours(t *testing.T) {
	everywhere := func(t *corev1.PodAffinityTerm) { t.NamespaceSelector = &v1.LabelSelector{} }
	team := func(t *corev1.PodAffinityTerm) {
		t.NamespaceSelector = &v1.LabelSelector{MatchLabels: map[string]string{"team": "red"}}
	}
	const spreadNo, affine, anti, enemy = "node(s) didn't match pod topology spread constraints", "node(s) didn't match pod affinity rules!",
		"node(s) didn't match pod anti-affinity rules", "node(s) didn't satisfy existing pods anti-affinity rules"
	missing := spreadNo + " (missing required label)!"
	db := func(node string, more ...func(*corev1.Pod)) *corev1.Pod {
		return newPod("db-"+node, "|app=db", append(more, on(node))...)
	}
	tests := map[string]struct {
		on   []*corev1.Pod
		pod  *corev1.Pod
		want [4]string // by a1, a2, b1, x
	}{
		"near: the whole zone":                 {[]*corev1.Pod{db("a1")}, newPod("p", "", near(podTerm(zone, "db"))), [4]string{"", "", affine, affine}},
		"near: nobody there":                   {nil, newPod("p", "", near(podTerm(zone, "db"))), [4]string{affine, affine, affine, affine}},
		"near: the first of its kind":          {nil, newPod("p", "|app=db", near(podTerm(zone, "db"))), [4]string{"", "", "", affine}},
		"near: only in its own namespace":      {[]*corev1.Pod{db("a1", in("other"))}, newPod("p", "", near(podTerm(zone, "db"))), [4]string{affine, affine, affine, affine}},
		"near: in all namespaces":              {[]*corev1.Pod{db("a1", in("other"))}, newPod("p", "", near(podTerm(zone, "db", everywhere))), [4]string{"", "", affine, affine}},
		"near: in namespaces with a label":     {[]*corev1.Pod{db("a1", in("red")), db("b1", in("other"))}, newPod("p", "", near(podTerm(zone, "db", team))), [4]string{"", "", affine, affine}},
		"near: both terms by the same pod":     {[]*corev1.Pod{db("a1"), newPod("w", "|app=web", on("a1"))}, newPod("p", "", near(podTerm(zone, "db"), podTerm(zone, "web"))), [4]string{affine, affine, affine, affine}},
		"apart: not on the same node":          {[]*corev1.Pod{db("a1")}, newPod("p", "", apart(podTerm(corev1.LabelHostname, "db"))), [4]string{anti, "", "", ""}},
		"apart: not in the same zone":          {[]*corev1.Pod{db("a1")}, newPod("p", "", apart(podTerm(zone, "db"))), [4]string{anti, anti, "", ""}},
		"apart: those that are there say so":   {[]*corev1.Pod{db("b1", apart(podTerm(zone, "web")))}, newPod("p", "|app=web"), [4]string{"", "", enemy, ""}},
		"apart: said of others":                {[]*corev1.Pod{db("b1", apart(podTerm(zone, "web")))}, newPod("p", "|app=cache"), [4]string{"", "", "", ""}},
		"spread: the fuller zone is closed":    {[]*corev1.Pod{db("a1"), db("a2")}, newPod("p", "|app=db", spreads(zone, 1)), [4]string{spreadNo, spreadNo, "", missing}},
		"spread: a skew of two":                {[]*corev1.Pod{db("a1")}, newPod("p", "|app=db", spreads(zone, 2)), [4]string{"", "", "", missing}},
		"spread: the pod itself may not count": {[]*corev1.Pod{db("a1")}, newPod("p", "|app=web", spreads(zone, 1, func(k *corev1.TopologySpreadConstraint) { k.LabelSelector.MatchLabels = map[string]string{"app": "db"} })), [4]string{"", "", "", missing}},
		"spread: those that end do not count":  {[]*corev1.Pod{db("a1", ends)}, newPod("p", "|app=db", spreads(zone, 1)), [4]string{"", "", "", missing}},
		"spread: fewer domains than wanted":    {[]*corev1.Pod{db("a1"), db("b1")}, newPod("p", "|app=db", spreads(zone, 1, func(k *corev1.TopologySpreadConstraint) { k.MinDomains = ptr.To[int32](3) })), [4]string{spreadNo, spreadNo, spreadNo, missing}},
		"spread: nodes the pod cannot go to":   {[]*corev1.Pod{db("a1")}, newPod("p", "|app=db", selects(zone+"=a"), spreads(zone, 1)), [4]string{"", "", isNotSelected.text + "!", isNotSelected.text + "!"}},
		"spread: they count when told so": {[]*corev1.Pod{db("a1")}, newPod("p", "|app=db", selects(zone+"=a"), spreads(zone, 1, func(k *corev1.TopologySpreadConstraint) {
			k.NodeAffinityPolicy = ptr.To(corev1.NodeInclusionPolicyIgnore)
		})), [4]string{spreadNo, spreadNo, isNotSelected.text + "!", isNotSelected.text + "!"}},
		"spread: only pods of the same revision": {[]*corev1.Pod{db("a1")}, newPod("p", "|app=db rev=2", func(p *corev1.Pod) {
			spreads(zone, 1)(p)
			k := &p.Spec.TopologySpreadConstraints[0]
			k.LabelSelector.MatchLabels = map[string]string{"app": "db"}
			k.MatchLabelKeys = []string{"rev"}
		}), [4]string{"", "", "", missing}},
		"spread: over nodes and zones": {[]*corev1.Pod{db("a1"), db("b1")}, newPod("p", "|app=db", spreads(zone, 1), spreads(corev1.LabelHostname, 1)), [4]string{spreadNo, "", spreadNo, missing}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			nodes := []*corev1.Node{newNode("a1", "|"+zone+"=a"), newNode("a2", "|"+zone+"=a"), newNode("b1", "|"+zone+"=b"), newNode("x", "")}
			s := world(nodes, tt.on...)
			s.cache.setNamespace("red", map[string]string{"team": "red"})
			for i, n := range nodes {
				if got := why(s, tt.pod, n.Name); got != tt.want[i] {
					t.Errorf("on %s: got %q, want %q", n.Name, got, tt.want[i])
				}
			}
		})
	}
}

func TestScores(t *testing.T) {
	image := func(size int64) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"app:v1"}, SizeBytes: size}}
		}
	}
	prefers := func(words string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for k, v := range pairs(words) {
				p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
					{Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: k, Operator: "In", Values: []string{v}}}}}}}}
			}
		}
	}
	rather := func(weight int32, t corev1.PodAffinityTerm) func(*corev1.Pod) {
		w := []corev1.WeightedPodAffinityTerm{{Weight: max(weight, -weight), PodAffinityTerm: t}}
		return func(p *corev1.Pod) {
			if p.Spec.Affinity = (&corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: w}}); weight < 0 {
				p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: w}}
			}
		}
	}
	soft := func(k *corev1.TopologySpreadConstraint) { k.WhenUnsatisfiable = corev1.ScheduleAnyway }
	const room = "cpu=10 memory=10Gi"
	for name, tt := range map[string]struct {
		nodes []*corev1.Node
		on    []*corev1.Pod
		pod   *corev1.Pod
		want  string // scores in the order of nodes
	}{
		"more free is better":          {[]*corev1.Node{newNode("a", room), newNode("b", room)}, []*corev1.Pod{newPod("x", "cpu=5 memory=5Gi", on("a"))}, newPod("p", "cpu=1 memory=1Gi"), "[140 190]"},
		"evenly used is better":        {[]*corev1.Node{newNode("a", "cpu=10 memory=10Gi"), newNode("b", "cpu=10 memory=10Gi")}, []*corev1.Pod{newPod("x", "cpu=5 memory=1Gi", on("a")), newPod("y", "cpu=3 memory=3Gi", on("b"))}, newPod("p", "cpu=1 memory=2Gi"), "[140 150]"},
		"a taint that prefers nobody":  {[]*corev1.Node{newNode("a", room), newNode("b", room, taint("k", "", "PreferNoSchedule"))}, nil, newPod("p", "cpu=1 memory=1Gi"), "[490 190]"},
		"preferred nodes":              {[]*corev1.Node{newNode("a", room+"|disk=ssd"), newNode("b", room)}, nil, newPod("p", "cpu=1 memory=1Gi", prefers("disk=ssd")), "[390 190]"},
		"preferred neighbours":         {[]*corev1.Node{newNode("a", room+"|"+zone+"=a"), newNode("b", room+"|"+zone+"=b")}, []*corev1.Pod{newPod("x", "|app=db", on("a"))}, newPod("p", "cpu=1 memory=1Gi", rather(10, podTerm(zone, "db"))), "[388 190]"},
		"neighbours better avoided":    {[]*corev1.Node{newNode("a", room+"|"+zone+"=a"), newNode("b", room+"|"+zone+"=b")}, []*corev1.Pod{newPod("x", "|app=db", on("a"))}, newPod("p", "cpu=1 memory=1Gi", rather(-10, podTerm(zone, "db"))), "[188 390]"},
		"wanted by those there":        {[]*corev1.Node{newNode("a", room+"|"+zone+"=a"), newNode("b", room+"|"+zone+"=b")}, []*corev1.Pod{newPod("x", "", on("a"), near(podTerm(zone, "web")))}, newPod("p", "cpu=1 memory=1Gi|app=web"), "[388 190]"},
		"rather spread":                {[]*corev1.Node{newNode("a", room), newNode("b", room)}, []*corev1.Pod{newPod("x", "|app=db", on("a"))}, newPod("p", "cpu=1 memory=1Gi|app=db", spreads(corev1.LabelHostname, 1, soft)), "[188 390]"},
		"an image that is there":       {[]*corev1.Node{newNode("a", room, image(1000<<20)), newNode("b", room)}, nil, newPod("p", "cpu=1 memory=1Gi", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "app:v1" }), "[238 190]"},
		"a small image does not count": {[]*corev1.Node{newNode("a", room, image(10<<20)), newNode("b", room)}, nil, newPod("p", "cpu=1 memory=1Gi", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "app:v1" }), "[190 190]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(tt.nodes, tt.on...)
			a := s.cache.newAsk(tt.pod)
			s.cache.survey(a)
			if got := fmt.Sprint(s.cache.score(a, s.cache.order)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
