package statefulset

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

var app = map[string]string{"app": "db"}

// newSet makes a StatefulSet with edits such as "parallel partition=2".
func newSet(t *testing.T, replicas int32, image, edits string) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "db", UID: "set", Generation: 1}}
	set.Spec = appsv1.StatefulSetSpec{Replicas: ptr.To(replicas), ServiceName: "dbs", Selector: &v1.LabelSelector{MatchLabels: app}, Template: corev1.PodTemplateSpec{
		ObjectMeta: v1.ObjectMeta{Labels: app}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}}
	u := &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](0)}
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: u}
	for _, e := range strings.Fields(edits) {
		name, value, _ := strings.Cut(e, "=")
		n := int32(0)
		fmt.Sscan(value, &n)
		switch name {
		case "parallel":
			set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		case "partition":
			u.Partition = &n
		case "maxUnavailable":
			u.MaxUnavailable = ptr.To(intstr.Parse(value))
		case "onDelete":
			set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
		case "start":
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: n}
		case "minReady":
			set.Spec.MinReadySeconds = n
		case "volume":
			set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: v1.ObjectMeta{Name: value}}}
		default:
			t.Fatalf("no edit %q", name)
		}
	}
	return set
}

func show(todo []controller.Action) string {
	var out []string
	for _, a := range todo {
		if a.Resource.Resource == "pods" || a.Resource.Resource == "persistentvolumeclaims" || a.Requeue > 0 || a.Verb == controller.SayEvent {
			out = append(out, world.Show([]controller.Action{a}))
		}
	}
	return strings.ReplaceAll(strings.Join(out, ", "), " Pod", "")
}

func TestReconcile(t *testing.T) {
	tests := map[string]struct {
		replicas    int32
		edits, pods string // a pod's number, ! after it: of the older revision
		want        string
	}{
		"the first comes first":                       {3, "", "", "create db-0"},
		"the next waits until it is ready":            {3, "", "0:Running", ""},
		"and then comes":                              {3, "", "0:ready", "create db-1"},
		"or after minReadySeconds":                    {3, "minReady=30", "0:ready", "again in 20s"},
		"a hole is filled first":                      {3, "", "1:ready 2:ready", "create db-0"},
		"all at once in parallel":                     {3, "parallel", "1:Running", "create db-0, create db-2"},
		"counting may begin elsewhere":                {2, "start=5", "5:ready", "create db-6"},
		"a failed pod is replaced":                    {2, "", "0:Failed 1:ready", "event RecreatingFailedPod, delete db-0"},
		"a dying pod is waited for":                   {2, "", "0:ready,deleting", ""},
		"also in parallel":                            {2, "parallel", "0:ready,deleting", "create db-1"},
		"the highest goes first":                      {1, "", "0:ready 1:ready 2:ready", "delete db-2"},
		"one at a time":                               {1, "", "0:ready 1:ready 2:ready,deleting", ""},
		"not while a lower one is not ready":          {1, "", "0:Running 1:ready 2:ready", ""},
		"an unready one waits for a lower unready":    {1, "", "0:ready 1:Running 2:Running", ""},
		"all at once in parallel, too":                {1, "parallel", "0:ready 1:ready 2:Running", "delete db-2, delete db-1"},
		"ordinals below the start go":                 {1, "start=1", "0:ready 1:ready", "delete db-0"},
		"an update begins at the top":                 {3, "", "0!:ready 1!:ready 2!:ready", "delete db-2"},
		"goes on when that is ready":                  {3, "", "0!:ready 1!:ready 2:ready", "delete db-1"},
		"not before":                                  {3, "parallel", "0!:ready 1!:ready 2:Running", ""},
		"down to the partition":                       {3, "partition=2", "0!:ready 1!:ready 2:ready", ""},
		"below which the old revision is made again":  {3, "partition=2", "1!:ready 2:ready", "create db-0 (old)"},
		"several at a time":                           {4, "maxUnavailable=50%", "0!:ready 1!:ready 2!:ready 3!:ready", "delete db-3, delete db-2"},
		"counting those that are not there":           {4, "parallel maxUnavailable=2", "0!:ready 1!:ready 2!:ready 3:Running", "delete db-2"},
		"a broken old pod does not cost more":         {3, "parallel", "0!:ready 1!:ready 2!:Running", "delete db-2"},
		"on delete: nothing by itself":                {2, "onDelete", "0!:ready 1!:ready", ""},
		"on delete: the new revision where it is not": {2, "onDelete", "0!:ready", "create db-1"},
		"claims come with the pod":                    {1, "volume=data", "", "create PersistentVolumeClaim data-db-0, create db-0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := newSet(t, tt.replicas, "v2", tt.edits)
			revision := func(s *appsv1.StatefulSet) *appsv1.ControllerRevision {
				r, _, _ := owner(s).Current(nil, nil)
				return r
			}
			old, now := revision(newSet(t, 0, "v1", "")), revision(set)
			now.Revision = 2
			v := View{Set: set, Revisions: []*appsv1.ControllerRevision{now, old}, Now: world.Start.Add(10 * time.Second)}
			if strings.Contains(tt.pods, "!") {
				set.Status.CurrentRevision = old.Name
			}
			for _, word := range strings.Fields(tt.pods) {
				number, state, _ := strings.Cut(word, ":")
				r := now
				if strings.HasSuffix(number, "!") {
					number, r = strings.TrimSuffix(number, "!"), old
				}
				var n int
				fmt.Sscan(number, &n)
				labels := world.Labels(app, appsv1.StatefulSetRevisionLabel, r.Name)
				for k, val := range identity(set, n) {
					labels[k] = val
				}
				v.Pods = append(v.Pods, world.Pods("db-"+number+":"+state, set, kind, labels)...)
			}
			todo := reconcile(v)
			got := show(todo)
			for _, a := range todo {
				if p, ok := a.Object.(*corev1.Pod); ok && a.Verb == controller.CreateObject && revisionOf(p) == old.Name && p.Spec.Containers[0].Image == "v1" {
					got += " (old)"
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPod(t *testing.T) {
	set := newSet(t, 1, "v1", "volume=data")
	p := newPod(set, &set.Spec.Template, "db-abc", 12)
	if p.Name != "db-12" || p.Spec.Hostname != "db-12" || p.Spec.Subdomain != "dbs" || p.Labels["statefulset.kubernetes.io/pod-name"] != "db-12" ||
		p.Labels["apps.kubernetes.io/pod-index"] != "12" || p.Labels["controller-revision-hash"] != "db-abc" || p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-12" {
		t.Errorf("pod %+v", p)
	}
	for name, want := range map[string]bool{"db-0": true, "db-10": true, "db-01": false, "db--1": false, "db-x": false, "other-1": false, "db": false} {
		if _, ok := ordinalOf(set, name); ok != want {
			t.Errorf("%s is a pod of db: %v", name, ok)
		}
	}
}

// With ordered pods, at every moment: no pod is made while a lower one is not ready, at most one is missing in an
// update; and in the end (B0) there is nothing left to do.
func TestOrder(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		now := world.Start
		w := world.New(func() time.Time { return now })
		w.Slow = true
		world.Put(w, client.StatefulSets, newSet(t, int32(1+r.IntN(5)), "v0", ""))
		decide := func() []controller.Action {
			v := View{Set: world.Get(w, client.StatefulSets, "ns", "db"), Pods: world.List(w, client.Pods), Revisions: world.List(w, client.ControllerRevisions), Now: now}
			v.Namesake = world.Get(w, client.ControllerRevisions, "ns", owner(v.Set).Name())
			return reconcile(v)
		}
		turn := func() bool {
			now = now.Add(time.Second)
			todo := decide()
			if len(todo) > 0 && r.IntN(3) > 0 {
				for _, a := range todo {
					if p, ok := a.Object.(*corev1.Pod); ok && a.Verb == controller.CreateObject {
						n, _ := ordinalOf(world.Get(w, client.StatefulSets, "ns", "db"), p.Name)
						for i := range n {
							if !healthy(world.Get(w, client.Pods, "ns", fmt.Sprint("db-", i))) {
								t.Fatalf("seed %d: %s is made while db-%d is not ready", seed, p.Name, i)
							}
						}
					}
				}
				if err := w.Do(todo); err != nil {
					t.Fatal(err)
				}
				return true
			}
			for _, p := range world.List(w, client.Pods) {
				p = p.DeepCopy()
				switch {
				case p.DeletionTimestamp != nil:
					w.Remove(client.Pods.Resource, p.Namespace, p.Name)
					return true
				case !pods.Ready(p):
					world.SetReady(p, now)
					world.Put(w, client.Pods, p)
					return true
				}
			}
			return len(todo) > 0
		}
		for range 4 {
			for range r.IntN(15) {
				turn()
			}
			world.Change(w, client.StatefulSets, "ns", "db", func(s *appsv1.StatefulSet) {
				if r.IntN(2) == 0 {
					s.Spec.Replicas = ptr.To(int32(r.IntN(6)))
				} else {
					s.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("v", r.IntN(3))
				}
			})
		}
		for i := 0; turn(); i++ {
			if i > 1000 {
				t.Fatalf("seed %d: it never settles: %s", seed, show(decide()))
			}
		}
		set := world.Get(w, client.StatefulSets, "ns", "db")
		if n, s := *set.Spec.Replicas, set.Status; s.Replicas != n || s.UpdatedReplicas != n || s.CurrentRevision != s.UpdateRevision || int(n) != len(world.List(w, client.Pods)) {
			t.Fatalf("seed %d: %v, want %d", seed, s, n)
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		env := w.Env()
		var wg sync.WaitGroup
		wg.Go(func() { _ = env.Events.Run(t.Context()) })
		wg.Go(func() { _ = Run(t.Context(), env) })
		t.Cleanup(wg.Wait)
		client.Pods.View(t.Context(), w, client.Selection{}).Subscribe(t.Context(), func(_, p *corev1.Pod) {
			if p != nil && !pods.Ready(p) {
				time.Sleep(time.Second)
				p = p.DeepCopy()
				world.SetReady(p, time.Now())
				world.Put(w, client.Pods, p)
			}
		})
		world.Put(w, client.StatefulSets, newSet(t, 3, "v1", ""))
		time.Sleep(time.Minute)
		world.Change(w, client.StatefulSets, "ns", "db", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "v2" })
		time.Sleep(time.Minute)
		for _, p := range world.List(w, client.Pods) {
			if p.Spec.Containers[0].Image != "v2" {
				t.Errorf("%s is of %s", p.Name, p.Spec.Containers[0].Image)
			}
		}
		s := world.Get(w, client.StatefulSets, "ns", "db").Status
		if s.AvailableReplicas != 3 || s.CurrentRevision != s.UpdateRevision || s.CurrentReplicas != 3 || *s.CollisionCount != 0 {
			t.Errorf("status %v", s)
		}
		if n := len(revisions.Sort(world.List(w, client.ControllerRevisions))); n != 2 {
			t.Errorf("%d revisions", n)
		}
		before := w.Writes()
		time.Sleep(time.Hour)
		if n := w.Writes() - before; n != 0 {
			t.Errorf("%d writes while idle", n)
		}
		said := map[string]bool{}
		for _, e := range world.List(w, client.Events) {
			said[e.Reason+" "+e.Message] = true
		}
		for _, want := range []string{"SuccessfulCreate create Pod db-0 in StatefulSet db successful", "SuccessfulDelete delete Pod db-2 in StatefulSet db successful"} {
			if !said[want] {
				t.Errorf("no event %q", want)
			}
		}
	})
}
