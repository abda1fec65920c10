package replicaset

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

var web = map[string]string{"app": "web"}

func newSet(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "web", UID: "set", Generation: 1},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(replicas), Selector: &v1.LabelSelector{MatchLabels: web},
			Template: corev1.PodTemplateSpec{ObjectMeta: v1.ObjectMeta{Labels: web, Finalizers: []string{"a/b"}}}},
	}
}

func TestDecide(t *testing.T) {
	const now = 10 * time.Second // after Start
	tests := map[string]struct {
		replicas, minReady int32
		deleting           bool
		pods, want         string
	}{
		"missing pods are created":            {2, 0, false, "", "create Pod, create Pod"},
		"failed pods do not count":            {1, 0, false, "a:Failed", "create Pod"},
		"terminating pods do not count":       {1, 0, false, "a:Running,deleting", "create Pod"},
		"enough is enough":                    {1, 0, false, "a:Running", ""},
		"unassigned pods go first":            {1, 0, false, "a:Pending,@n b:Pending", "delete Pod b"},
		"pending pods go before running ones": {1, 0, false, "a:Running,@n b:Pending,@n", "delete Pod b"},
		"then those that are not ready":       {1, 0, false, "a:ready,@n b:Running,@n", "delete Pod b"},
		"then those on a crowded node":        {2, 0, false, "a:ready,@n1 b:ready,@n2 c:ready,@n2", "delete Pod b"},
		"an orphan is adopted":                {1, 0, false, "a:Running,orphan", "patch Pod a"},
		"a dying orphan is left alone":        {1, 0, false, "a:Running,orphan,deleting", "create Pod"},
		"what no longer matches is let go":    {1, 0, false, "a:Running,other", "patch Pod a, create Pod"},
		"a set that is deleted does nothing":  {3, 0, true, "a:Running,orphan b:Running,other", ""},
		"a ready pod is waited for":           {1, 30, false, "a:ready", "again in 20s"},
		"an available pod is not waited for":  {1, 10, false, "a:ready", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := newSet(tt.replicas)
			set.Spec.MinReadySeconds = tt.minReady
			if tt.deleting {
				set.DeletionTimestamp = &v1.Time{Time: world.Start}
			}
			v := View{Set: set, Kind: Kind, Pods: world.Pods(tt.pods, set, Kind, web), Now: world.Start.Add(now)}
			for _, a := range Decide(v) { // the status is TestStatus's
				if a.Verb == controller.UpdateStatus {
					set.Status = a.Object.(*appsv1.ReplicaSet).Status
				}
			}
			if got := world.Show(Decide(v)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The status counts what the decision makes as if it were there: it is written after that.
func TestStatus(t *testing.T) {
	set := newSet(4)
	set.Generation = 7
	set.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue}}
	v := View{Set: set, Kind: Kind, Pods: world.Pods("a:ready b:Running c:Running,deleting d:Failed e:ready", set, Kind, web), Now: world.Start.Add(time.Second)}
	todo := Decide(v)
	got := todo[len(todo)-1].Object.(*appsv1.ReplicaSet).Status
	want := appsv1.ReplicaSetStatus{Replicas: 4, FullyLabeledReplicas: 4, ReadyReplicas: 2, AvailableReplicas: 2, TerminatingReplicas: ptr.To[int32](1), ObservedGeneration: 7}
	if got.String() != want.String() {
		t.Errorf("got  %v\nwant %v", got.String(), want.String())
	}
}

// The whole controller, on a world in memory.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		env := w.Env()
		go env.Events.Run(t.Context())
		done := make(chan error)
		go func() { done <- Run(t.Context(), env) }()
		t.Cleanup(func() { <-done })
		settle := func() { time.Sleep(time.Minute); synctest.Wait() }

		refusal := errors.New("exceeded quota")
		refused := 0
		w.Refuse(func(verb controller.Verb, r client.Resource, _ client.Object) error {
			if verb == controller.CreateObject && r.Resource == "pods" {
				refused++
				return refusal
			}
			return nil
		})
		world.Put(w, client.ReplicaSets, newSet(100))
		settle()
		set := world.Get(w, client.ReplicaSets, "ns", "web")
		if c := set.Status.Conditions; len(c) != 1 || c[0].Reason != "FailedCreate" || c[0].Message != "exceeded quota" {
			t.Fatalf("conditions %v", c)
		}
		synctest.Wait()
		if refused > 20 {
			t.Errorf("asked %d times within a minute for what is refused", refused)
		}
		w.Refuse(nil)
		settle()
		pods := world.List(w, client.Pods)
		if len(pods) != 100 {
			t.Fatalf("%d pods, want 100", len(pods))
		}
		p := pods[0]
		if ref := v1.GetControllerOf(p); ref == nil || ref.UID != "set" || !*ref.BlockOwnerDeletion || p.GenerateName != "web-" || p.Finalizers[0] != "a/b" {
			t.Errorf("pod %+v", p.ObjectMeta)
		}
		time.Sleep(time.Hour) // until the set may have events again
		world.Change(w, client.ReplicaSets, "ns", "web", func(s *appsv1.ReplicaSet) { s.Spec.Replicas = ptr.To[int32](30) })
		for _, p := range pods {
			p = p.DeepCopy()
			p.Finalizers = nil
			world.Put(w, client.Pods, p)
		}
		settle()
		for _, p := range world.List(w, client.Pods) {
			p = p.DeepCopy()
			world.SetReady(p, time.Now())
			world.Put(w, client.Pods, p)
		}
		settle()
		set = world.Get(w, client.ReplicaSets, "ns", "web")
		if s := set.Status; s.Replicas != s.AvailableReplicas || s.Replicas != 30 || len(s.Conditions) != 0 || s.ObservedGeneration != 2 {
			t.Errorf("status %v", s)
		}
		before := w.Writes()
		time.Sleep(time.Hour)
		if n := w.Writes() - before; n != 0 {
			t.Errorf("%d writes while idle", n)
		}
		reasons := map[string]bool{}
		for _, e := range world.List(w, client.Events) {
			reasons[e.Reason] = true
		}
		for _, want := range []string{"SuccessfulCreate", "FailedCreate", "SuccessfulDelete"} {
			if !reasons[want] {
				t.Errorf("no event %s", want)
			}
		}
	})
}
