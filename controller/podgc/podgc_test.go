package podgc

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

var owner = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "o", UID: "o"}}

func pod(words string) *corev1.Pod {
	return world.Pods(words, owner, corev1.SchemeGroupVersion.WithKind("Node"), nil)[0]
}

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		view View
		want string
	}{
		"deleted before it had a node":   {View{Pod: pod("a:Pending,deleting")}, "delete Pod a"},
		"waits for a node":               {View{Pod: pod("a:Pending")}, ""},
		"node missing for a moment":      {View{Pod: pod("a:Running,@n"), Missing: 10 * time.Second}, "again in 30s"},
		"node missing in our view alone": {View{Pod: pod("a:Running,@n"), Missing: time.Minute}, ""},
		"nobody knows":                   {View{Pod: pod("a:Running,@n"), Missing: time.Minute, Again: true}, "again in 5s"},
		"node gone":                      {View{Pod: pod("a:Running,@n"), Missing: time.Minute, Gone: true}, "patch Pod a, delete Pod a"},
		"node gone, pod finished":        {View{Pod: pod("a:Failed,@n"), Missing: time.Minute, Gone: true}, "delete Pod a"},
		"out of service":                 {View{Pod: pod("a:Running,@n"), Out: true}, ""},
		"out of service and deleted":     {View{Pod: pod("a:Running,@n,deleting"), Out: true}, "patch Pod a, delete Pod a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			todo := Decide(tt.view)
			if got := world.Show(todo); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, a := range todo {
				if a.Verb == "delete" && *a.Delete.GracePeriodSeconds != 0 {
					t.Error("deleted with grace, for which nobody is left")
				}
			}
		})
	}
}

func TestTooMany(t *testing.T) {
	list := world.Pods("a:Succeeded b:Failed c:Failed d:Running e:Succeeded,deleting", owner, corev1.SchemeGroupVersion.WithKind("Node"), nil)
	list[1].CreationTimestamp = metav1.NewTime(world.Start.Add(-time.Hour))
	list[2].Status.Reason = "Evicted"
	for threshold, want := range map[int]string{3: "", 2: "delete Pod c", 1: "delete Pod c, delete Pod b"} {
		if got := world.Show(tooMany(list, threshold)); got != want {
			t.Errorf("threshold %d: got %q, want %q", threshold, got, want)
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		done := make(chan error)
		go func() { done <- Run(t.Context(), w.Env(), 2) }()
		t.Cleanup(func() { <-done })
		world.Put(w, client.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		for _, words := range []string{"a:Running,@n", "b:Running,@never", "c:Succeeded,@n", "d:Failed,@n", "e:Succeeded,@n"} {
			world.Put(w, client.Pods, pod(words))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(world.Names(world.List(w, client.Pods))); got != "[a d e]" {
			t.Errorf("left %s, want a and the two youngest finished", got)
		}
		w.Remove(client.Nodes.Resource, "", "n")
		time.Sleep(30 * time.Second)
		if n := len(world.List(w, client.Pods)); n != 3 {
			t.Errorf("%d left soon after the node went, want all", n)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(world.List(w, client.Pods)); n != 0 {
			t.Errorf("%d left of a node that is gone", n)
		}
	})
}
