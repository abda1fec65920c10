package rootca

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
	"github.com/lighter-k8s/lighter/pki"
)

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		done := make(chan error)
		authority, err := pki.NewAuthority("test")
		if err != nil {
			t.Fatal(err)
		}
		ca := &authority.Trust
		next, err := authority.Begin()
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- Run(t.Context(), w.Env(), ca) }()
		t.Cleanup(func() { <-done })
		now := metav1.Now()
		world.Put(w, client.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
		world.Put(w, client.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "leaving", DeletionTimestamp: &now}})
		steps := []struct {
			what string
			do   func()
		}{
			{"a new namespace", func() {}},
			{"after a change", func() {
				world.Change(w, client.ConfigMaps, "a", Name, func(c *corev1.ConfigMap) { c.Data = map[string]string{"ca.crt": "other", "more": "x"} })
			}},
			{"after a deletion", func() { w.Remove(client.ConfigMaps.Resource, "a", Name) }},
			{"after the description went", func() {
				world.Change(w, client.ConfigMaps, "a", Name, func(c *corev1.ConfigMap) { c.Annotations = nil })
			}},
			{"after another authority is trusted beside", func() {
				if err := authority.Adopt(next); err != nil {
					t.Fatal(err)
				}
			}},
		}
		for n, step := range steps {
			step.do()
			time.Sleep(time.Second)
			synctest.Wait()
			got := world.Get(w, client.ConfigMaps, "a", Name)
			if got == nil || len(got.Data) != 1 || got.Data["ca.crt"] != string(ca.PEM()) || got.Annotations[description] != descriptionText {
				t.Errorf("%s: got %v", step.what, got)
			}
			if w.Writes() != n+1 {
				t.Errorf("%s: %d writes, want %d", step.what, w.Writes(), n+1)
			}
		}
		if got := world.Get(w, client.ConfigMaps, "leaving", Name); got != nil {
			t.Error("a namespace that ends got one")
		}
	})
}
