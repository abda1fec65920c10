package replicationcontroller

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

// The conformance texts: a failure is surfaced in the conditions and goes when its cause goes; matching
// orphans are adopted; a pod that no longer matches is released.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		done := make(chan error)
		go func() { done <- Run(t.Context(), w.Env()) }()
		t.Cleanup(func() { <-done })

		web := map[string]string{"app": "web"}
		world.Put(w, client.Pods, &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "orphan", Labels: web}})
		w.Refuse(func(verb controller.Verb, r client.Resource, _ client.Object) error {
			if verb == controller.CreateObject {
				return errors.New("exceeded quota")
			}
			return nil
		})
		world.Put(w, client.ReplicationControllers, &corev1.ReplicationController{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "web"},
			Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](3), Selector: web, Template: &corev1.PodTemplateSpec{ObjectMeta: v1.ObjectMeta{Labels: web}}}})
		get := func() *corev1.ReplicationController { return world.Get(w, client.ReplicationControllers, "ns", "web") }
		time.Sleep(time.Minute)
		if c := get().Status.Conditions; len(c) != 1 || c[0].Type != corev1.ReplicationControllerReplicaFailure || c[0].Message != "exceeded quota" {
			t.Errorf("conditions %v", c)
		}
		if p := world.Get(w, client.Pods, "ns", "orphan"); !v1.IsControlledBy(p, get()) {
			t.Error("the orphan is not adopted")
		}
		w.Refuse(nil)
		time.Sleep(time.Minute)
		if s := get().Status; s.Replicas != 3 || len(s.Conditions) != 0 {
			t.Errorf("status %v", s)
		}
		world.Change(w, client.Pods, "ns", "orphan", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "db"} })
		time.Sleep(time.Minute)
		if p := world.Get(w, client.Pods, "ns", "orphan"); len(p.OwnerReferences) != 0 {
			t.Error("the pod is not released")
		}
		if n := len(world.List(w, client.Pods)); n != 4 {
			t.Errorf("%d pods, want 3 and the released one", n)
		}
		before := w.Writes()
		time.Sleep(time.Hour)
		if n := w.Writes() - before; n != 0 {
			t.Errorf("%d writes while idle", n)
		}
	})
}
