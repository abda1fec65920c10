package clienttest_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client/clienttest"
)

func pod(namespace, name, node, owner string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	if owner != "" {
		yes := true
		p.OwnerReferences = []v1.OwnerReference{{UID: "other"}, {UID: "u-1", Controller: &yes}}
	}
	return p
}

func names(pods []*corev1.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Namespace+"/"+p.Name)
	}
	return strings.Join(out, " ")
}

func TestReads(t *testing.T) {
	pods, view := clienttest.Typed(pod("b", "x", "n1", ""), pod("a", "z", "n2", "u-1"), pod("a", "y", "n1", "u-1"))
	for what, tt := range map[string]struct{ got, want string }{
		"all, in order":        {names(pods.List("")), "a/y a/z b/x"},
		"of one namespace":     {names(pods.List("a")), "a/y a/z"},
		"by node":              {names(pods.By("node", "n1")), "a/y b/x"},
		"by controlling owner": {names(pods.OwnedBy("u-1")), "a/y a/z"},
		"not by a mere owner":  {names(pods.OwnedBy("other")), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", what, tt.got, tt.want)
		}
	}
	view.Delete("a", "z")
	if _, ok := pods.Get("a", "z"); ok || pods.Version() != 4 {
		t.Errorf("after the delete: there=%v version=%d, want false 4", ok, pods.Version())
	}
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		pods, view := clienttest.Typed(pod("a", "one", "", ""))
		var seen []string
		pods.Subscribe(ctx, func(old, new *corev1.Pod) {
			switch {
			case old == nil:
				seen = append(seen, "added "+new.Name)
			case new == nil:
				seen = append(seen, "deleted "+old.Name)
			default:
				seen = append(seen, "changed "+new.Name+" "+old.Spec.NodeName+">"+new.Spec.NodeName)
			}
		})
		view.Set(pod("a", "two", "", ""))
		view.Set(pod("a", "two", "n1", ""))
		view.Delete("a", "one")
		synctest.Wait()
		want := []string{"added one", "added two", "changed two >n1", "deleted one"}
		if !slices.Equal(seen, want) {
			t.Errorf("got %q, want %q", seen, want)
		}
		done := make(chan error)
		go func() { done <- view.WaitVersion(ctx, 5) }()
		synctest.Wait()
		view.Set(pod("a", "three", "", ""))
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		view.Set(pod("a", "four", "", ""))
		if len(seen) != 5 {
			t.Errorf("told after the end: %q", seen)
		}
		if err := view.WaitVersion(ctx, 99); err != context.Canceled {
			t.Errorf("got %v, want canceled", err)
		}
	})
}
