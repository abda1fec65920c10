package controller_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

// An object's thousandth event is not written; another object's first is, and so is a later one of its own.
func TestEventsDoNotFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		env := w.Env()
		done := make(chan error)
		go func() { done <- env.Events.Run(t.Context()) }()
		t.Cleanup(func() { <-done })
		on := func(name string) corev1.ObjectReference {
			return corev1.ObjectReference{Kind: "ReplicaSet", Namespace: "ns", Name: name}
		}
		count := func() int { synctest.Wait(); return len(world.List(w, client.Events)) }
		for i := range 1000 {
			env.Events.EventOn(on("web"), corev1.EventTypeNormal, "SuccessfulCreate", fmt.Sprint("Created pod: ", i))
		}
		if n := count(); n != 25 {
			t.Errorf("%d events, want 25", n)
		}
		env.Events.EventOn(on("db"), corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: x")
		time.Sleep(5 * time.Minute)
		env.Events.EventOn(on("web"), corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: x")
		env.Events.EventOn(on("web"), corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: y")
		if n := count(); n != 27 {
			t.Errorf("%d events, want 27", n)
		}
	})
}
