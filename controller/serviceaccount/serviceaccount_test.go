package serviceaccount

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func TestDecide(t *testing.T) {
	active := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	leaving := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a", DeletionTimestamp: &metav1.Time{Time: world.Start}}}
	tests := map[string]struct {
		view View
		want string
	}{
		"a namespace without account gets it": {View{active, false}, "create ServiceAccount default"},
		"one that has it is left alone":       {View{active, true}, ""},
		"one that ends gets none":             {View{leaving, false}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := world.Show(Decide(tt.view)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
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
		world.Put(w, client.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
		synctest.Wait()
		first := world.Get(w, client.ServiceAccounts, "a", Name)
		if first == nil {
			t.Fatal("no account in a new namespace")
		}
		w.Remove(client.ServiceAccounts.Resource, "a", Name)
		time.Sleep(time.Second)
		synctest.Wait()
		if again := world.Get(w, client.ServiceAccounts, "a", Name); again == nil || again.UID == first.UID {
			t.Errorf("a deleted account is %v", again)
		}
		if n := w.Writes(); n != 2 {
			t.Errorf("%d writes, want 2", n)
		}
	})
}
