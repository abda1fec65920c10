package disruption

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

var (
	web   = map[string]string{"app": "web"}
	owner = &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "rs", Generation: 1}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](4)}}
	kind  = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

func budget(lowest, most string) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b", UID: "b", Generation: 3},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: web}}}
	if lowest != "" {
		b.Spec.MinAvailable = ptr.To(intstr.Parse(lowest))
	}
	if most != "" {
		b.Spec.MaxUnavailable = ptr.To(intstr.Parse(most))
	}
	return b
}

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		lowest, most, pods, evicted string
		age                         time.Duration // of the eviction
		scale                       int32
		want                        string // allowed: healthy of desired, expected; reason
	}{
		"as many as must be":           {lowest: "2", pods: "a:ready b:ready", scale: 2, want: "0: 2 of 2, 2; InsufficientPods"},
		"one more":                     {lowest: "2", pods: "a:ready b:ready c:ready", scale: 3, want: "1: 3 of 2, 3; SufficientPods"},
		"one is not ready":             {lowest: "2", pods: "a:ready b:ready c:Running", scale: 3, want: "0: 2 of 2, 3; InsufficientPods"},
		"one is going":                 {lowest: "2", pods: "a:ready b:ready c:ready,deleting", scale: 3, want: "0: 2 of 2, 3; InsufficientPods"},
		"percentages round up":         {lowest: "50%", pods: "a:ready b:ready c:ready", scale: 3, want: "1: 3 of 2, 3; SufficientPods"},
		"counting from the scale":      {most: "1", pods: "a:ready b:ready c:ready", scale: 4, want: "0: 3 of 3, 4; InsufficientPods"},
		"most in percent":              {most: "30%", pods: "a:ready b:ready c:ready d:ready", scale: 4, want: "2: 4 of 2, 4; SufficientPods"},
		"no pods":                      {lowest: "1", want: "0: 0 of 1, 0; InsufficientPods"},
		"nobody says how many":         {most: "1", pods: "a:ready", want: `0: 1 of 0, 0; SyncFailed`},
		"an eviction that was allowed": {lowest: "1", pods: "a:ready b:ready", evicted: "a", scale: 2, want: "0: 1 of 1, 2; InsufficientPods"},
		"one that did not happen":      {lowest: "1", pods: "a:ready b:ready", evicted: "a", age: 2 * time.Minute, scale: 2, want: "1: 2 of 1, 2; SufficientPods"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := View{Budget: budget(tt.lowest, tt.most), Pods: world.Pods(tt.pods, owner, kind, web), Now: world.Start}
			if tt.evicted != "" {
				v.Budget.Status.DisruptedPods = map[string]metav1.Time{tt.evicted: metav1.NewTime(world.Start.Add(-tt.age))}
			}
			if tt.scale > 0 {
				v.Scales = map[types.UID]int32{"rs": tt.scale}
			} else {
				v.Alone = world.Names(v.Pods)
			}
			for _, a := range Decide(v) {
				if b, ok := a.Object.(*policyv1.PodDisruptionBudget); ok {
					v.Budget = b
				}
			}
			s := v.Budget.Status
			got := fmt.Sprintf("%d: %d of %d, %d; %s", s.DisruptionsAllowed, s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods, s.Conditions[0].Reason)
			if got != tt.want || s.ObservedGeneration != 3 {
				t.Errorf("got %q (generation %d), want %q", got, s.ObservedGeneration, tt.want)
			}
			for _, a := range Decide(v) {
				if a.Requeue == 0 {
					t.Errorf("a second look: %s", a)
				}
			}
		})
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		done := make(chan error)
		go func() { done <- Run(t.Context(), w.Env()) }()
		t.Cleanup(func() { <-done })
		world.Put(w, client.ReplicaSets, owner)
		world.Put(w, client.PodDisruptionBudgets, budget("", "1"))
		for _, p := range world.Pods("a:ready b:ready c:ready d:ready", owner, kind, web) {
			world.Put(w, client.Pods, p)
		}
		allowed := func(what string, want int32) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := world.Get(w, client.PodDisruptionBudgets, "ns", "b").Status.DisruptionsAllowed; got != want {
				t.Errorf("%s: %d allowed, want %d", what, got, want)
			}
		}
		allowed("all well", 1)
		w.Remove(client.Pods.Resource, "ns", "a")
		allowed("one gone", 0)
		world.Change(w, client.ReplicaSets, "ns", "web", func(s *appsv1.ReplicaSet) { s.Spec.Replicas = ptr.To[int32](3) })
		allowed("fewer wanted", 1)
	})
}
