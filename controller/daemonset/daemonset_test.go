package daemonset

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/revisions"
)

var app = map[string]string{"app": "log"}

// newSet makes a DaemonSet; update is "OnDelete" or "maxUnavailable/maxSurge".
func newSet(image, update string) *appsv1.DaemonSet {
	set := &appsv1.DaemonSet{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "log", UID: "set", Generation: 1}}
	set.Spec = appsv1.DaemonSetSpec{Selector: &v1.LabelSelector{MatchLabels: app}, RevisionHistoryLimit: ptr.To[int32](2), Template: corev1.PodTemplateSpec{
		ObjectMeta: v1.ObjectMeta{Labels: app}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}}
	set.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	if down, up, rolling := strings.Cut(update, "/"); rolling {
		set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr.To(intstr.Parse(down)), MaxSurge: ptr.To(intstr.Parse(up))}}
	}
	return set
}

// nodes reads words such as "n1 n2:blue n3:NoSchedule=dedicated": a label color, or a taint.
func nodes(words string) (out []*corev1.Node) {
	for _, word := range strings.Fields(words) {
		name, what, _ := strings.Cut(word, ":")
		n := &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: name, Labels: map[string]string{"color": what}}}
		if effect, key, ok := strings.Cut(what, "="); ok {
			n.Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffect(effect)}}
		}
		out = append(out, n)
	}
	return out
}

func show(todo []controller.Action) string {
	var out []string
	for _, a := range todo {
		if p, ok := a.Object.(*corev1.Pod); ok && a.Verb == controller.CreateObject {
			out = append(out, "create on "+nodeOf(p))
		} else if a.Requeue > 0 || ok || a.Verb == controller.SayEvent {
			out = append(out, world.Show([]controller.Action{a}))
		}
	}
	return strings.Join(out, ", ")
}

func TestReconcile(t *testing.T) {
	tests := map[string]struct {
		nodes, pods, update string // a pod whose name begins with o is of an older template
		edit                func(*appsv1.DaemonSet)
		want                string
	}{
		"one on every node":                 {nodes: "n1 n2 n3", pods: "a:ready,@n2", want: "create on n1, create on n3"},
		"only where the selector says":      {nodes: "n1:blue n2:red", edit: func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeSelector = map[string]string{"color": "blue"} }, want: "create on n1"},
		"away from where it no longer says": {nodes: "n1:red", pods: "a:ready,@n1", edit: func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeSelector = map[string]string{"color": "blue"} }, want: "delete Pod a"},
		"on the named node alone":           {nodes: "n1 n2", edit: func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeName = "n2" }, want: "create on n2"},
		"not on a tainted node":             {nodes: "n1:NoSchedule=dedicated", want: ""},
		"but it may stay there":             {nodes: "n1:NoSchedule=dedicated", pods: "a:ready,@n1", want: ""},
		"unless the taint drives it out":    {nodes: "n1:NoExecute=dedicated", pods: "a:ready,@n1", want: "delete Pod a"},
		"on a node that is not ready":       {nodes: "n1:NoExecute=node.kubernetes.io/not-ready", want: "create on n1"},
		"on a cordoned node":                {nodes: "n1:NoSchedule=node.kubernetes.io/unschedulable", want: "create on n1"},
		"without network":                   {nodes: "n1:NoSchedule=node.kubernetes.io/network-unavailable", want: ""},
		"unless it needs none":              {nodes: "n1:NoSchedule=node.kubernetes.io/network-unavailable", edit: func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.HostNetwork = true }, want: "create on n1"},
		"one too many goes":                 {nodes: "n1", pods: "a:ready,@n1 b:ready,@n1", want: "delete Pod b"},
		"a dying pod is waited for":         {nodes: "n1", pods: "a:ready,@n1,deleting", want: ""},
		"a failed pod is taken away":        {nodes: "n1", pods: "a:Failed,@n1", want: "event FailedDaemonPod, delete Pod a"},
		"a succeeded pod too":               {nodes: "n1", pods: "a:Succeeded,@n1", want: "event SucceededDaemonPod, delete Pod a"},
		"an update takes one at a time":     {nodes: "n1 n2", pods: "o1:ready,@n1 o2:ready,@n2", update: "1/0", want: "delete Pod o1"},
		"and waits for it":                  {nodes: "n1 n2", pods: "a:Running,@n1 o2:ready,@n2", update: "1/0", want: ""},
		"gone counts as unavailable":        {nodes: "n1 n2", pods: "o2:ready,@n2", update: "1/0", want: "create on n1"},
		"broken old pods go at once":        {nodes: "n1 n2 n3", pods: "o1:Running,@n1 o2:Running,@n2 o3:ready,@n3", update: "1/0", want: "delete Pod o1, delete Pod o2"},
		"half of them, rounded up":          {nodes: "n1 n2 n3", pods: "o1:ready,@n1 o2:ready,@n2 o3:ready,@n3", update: "50%/0", want: "delete Pod o1, delete Pod o2"},
		"surge: the new beside the old":     {nodes: "n1 n2", pods: "o1:ready,@n1 o2:ready,@n2", update: "0/1", want: "create on n1"},
		"surge: is waited for":              {nodes: "n1 n2", pods: "o1:ready,@n1 a:Running,@n1 o2:ready,@n2", update: "0/1", want: ""},
		"surge: then the old goes":          {nodes: "n1 n2", pods: "o1:ready,@n1 a:ready,@n1 o2:ready,@n2", update: "0/1", want: "delete Pod o1, create on n2"},
		"on delete: nothing by itself":      {nodes: "n1", pods: "o1:ready,@n1", update: "OnDelete", want: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := newSet("v1", tt.update)
			if tt.edit != nil {
				tt.edit(set)
			}
			v := View{Set: set, Nodes: nodes(tt.nodes), Now: world.Start}
			for _, word := range strings.Fields(tt.pods) {
				hash := owner(set).Hash()
				if word[0] == 'o' {
					hash = "old"
				}
				v.Pods = append(v.Pods, world.Pods(word, set, kind, world.Labels(app, appsv1.DefaultDaemonSetUniqueLabelKey, hash))...)
			}
			if got := show(reconcile(v)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAFailingNodeIsTriedEverMoreRarely(t *testing.T) {
	set, d, now := newSet("v1", "1/0"), newDelays(), world.Start
	var waits []string
	for i := range 5 {
		p := world.Pods(fmt.Sprintf("p%d:Failed,@n1", i), set, kind, app)
		at := d.of("k", p, now)[p[0].UID]
		if again := d.of("k", p, now.Add(time.Second))[p[0].UID]; !again.Equal(at) {
			t.Error("a second look at the same failure waits longer")
		}
		waits = append(waits, at.Sub(now).String())
		now = at
	}
	if got := strings.Join(waits, " "); got != "0s 1s 2s 4s 8s" {
		t.Errorf("waits %s", got)
	}
}

// look is the view of the whole world.
func look(w *world.World, now time.Time) View {
	v := View{Set: world.Get(w, client.DaemonSets, "ns", "log"), Nodes: world.List(w, client.Nodes), Pods: world.List(w, client.Pods),
		Revisions: world.List(w, client.ControllerRevisions), Now: now}
	v.Namesake = world.Get(w, client.ControllerRevisions, "ns", owner(v.Set).Name())
	return v
}

// While templates change, never more nodes are without an available pod than maxUnavailable says, no node has two
// pods (without surge), and in the end (B0) there is nothing left to do.
func TestUpdatesStayWithinBounds(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 4))
		now, n := world.Start, 1+r.IntN(6)
		w := world.New(func() time.Time { return now })
		w.Slow = true
		down, up := 1+r.IntN(3), 0
		if r.IntN(2) == 0 {
			down, up = 0, 1+r.IntN(3)
		}
		for i := range n {
			world.Put(w, client.Nodes, nodes(fmt.Sprint("n", i))[0])
		}
		world.Put(w, client.DaemonSets, newSet("v0", fmt.Sprintf("%d/%d", down, up)))
		full := false
		turn := func() bool {
			now = now.Add(time.Second)
			if todo := reconcile(look(w, now)); len(todo) > 0 && r.IntN(3) > 0 {
				if err := w.Do(todo); err != nil {
					t.Fatal(err)
				}
				return true
			}
			for _, i := range r.Perm(len(world.List(w, client.Pods))) {
				p := world.List(w, client.Pods)[i].DeepCopy()
				switch {
				case p.DeletionTimestamp != nil:
					w.Remove(client.Pods.Resource, p.Namespace, p.Name)
					return true
				case !pods.Ready(p):
					p.Spec.NodeName = nodeOf(p)
					world.SetReady(p, now)
					world.Put(w, client.Pods, p)
					return true
				}
			}
			return len(reconcile(look(w, now))) > 0
		}
		check := func() {
			ready, extra := map[string]bool{}, 0
			for _, p := range world.List(w, client.Pods) {
				if pods.Active(p) && pods.Ready(p) {
					ready[nodeOf(p)] = true
				}
				if pods.Active(p) {
					extra++
				}
			}
			if full && len(ready) < n-down || extra > n+up {
				t.Fatalf("seed %d: %d of %d nodes have an available pod, %d pods, maxUnavailable %d, maxSurge %d", seed, len(ready), n, extra, down, up)
			}
		}
		settle := func() {
			for i := 0; turn(); i++ {
				if check(); i > 2000 {
					t.Fatalf("seed %d: it never settles: %s", seed, show(reconcile(look(w, now))))
				}
			}
		}
		settle()
		full = true
		for range 3 {
			world.Change(w, client.DaemonSets, "ns", "log", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("v", r.IntN(3)) })
			for range r.IntN(12) {
				turn()
				check()
			}
		}
		settle()
		set := world.Get(w, client.DaemonSets, "ns", "log")
		if s := set.Status; int(s.UpdatedNumberScheduled) != n || int(s.NumberAvailable) != n || s.NumberUnavailable != 0 || len(world.List(w, client.Pods)) != n {
			t.Fatalf("seed %d: %v", seed, s)
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		var wg sync.WaitGroup
		wg.Go(func() { _ = Run(t.Context(), w.Env()) })
		t.Cleanup(wg.Wait)
		client.Pods.View(t.Context(), w, client.Selection{}).Subscribe(t.Context(), func(_, p *corev1.Pod) {
			if p != nil && !pods.Ready(p) {
				p = p.DeepCopy()
				p.Spec.NodeName = nodeOf(p)
				world.SetReady(p, time.Now())
				world.Put(w, client.Pods, p)
			}
		})
		world.Put(w, client.Nodes, nodes("n1")[0])
		world.Put(w, client.DaemonSets, newSet("v1", "1/0"))
		time.Sleep(time.Minute)
		world.Put(w, client.Nodes, nodes("n2")[0])
		for _, image := range []string{"v2", "v3", "v4", "v3"} {
			world.Change(w, client.DaemonSets, "ns", "log", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = image })
			time.Sleep(time.Minute)
		}
		var history []string
		for _, r := range revisions.Sort(world.List(w, client.ControllerRevisions)) {
			template, err := revisions.Template(r)
			if err != nil {
				t.Fatal(err)
			}
			history = append(history, fmt.Sprintf("%d=%s", r.Revision, template.Spec.Containers[0].Image))
		}
		if got := strings.Join(history, " "); got != "2=v2 4=v4 5=v3" {
			t.Errorf("history %s", got)
		}
		s := world.Get(w, client.DaemonSets, "ns", "log").Status
		if s.DesiredNumberScheduled != 2 || s.NumberAvailable != 2 || s.UpdatedNumberScheduled != 2 || s.ObservedGeneration != 5 {
			t.Errorf("status %v", s)
		}
		before := w.Writes()
		time.Sleep(time.Hour)
		if n := w.Writes() - before; n != 0 {
			t.Errorf("%d writes while idle", n)
		}
	})
}
